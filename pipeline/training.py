"""The device to work on, through Lightning Fabric, and training a baseline on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.nn.functional import cross_entropy

from pipeline.config import Hardware, InputError, Settings
from pipeline.data import Dataset, batch_count, training_batches
from pipeline.progress import Steps

RISING_SHARE = 0.2  # of the one-cycle schedule

EPOCH_COLUMNS = ("epoch", "loss", "seconds")
Epoch = dict[str, Any]


def launch(hardware: Hardware, seed: int) -> Fabric:
    """The device to work on, with torch's own random state seeded (dropout and the like draw from it).

    Raises InputError for an accelerator that this machine does not have.
    """
    try:
        fabric = Fabric(accelerator=hardware.accelerator, devices=1, precision=hardware.precision)
        fabric.launch()
    except (RuntimeError, ValueError) as error:
        raise InputError(f"hardware.accelerator = {hardware.accelerator!r}: not available here ({error})") from error
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    return fabric


def pretrain(
    fabric: Fabric,
    model: nn.Module,
    dataset: Dataset,
    settings: Settings,
    generator: torch.Generator,
    on_epoch: Callable[[int, Epoch], None],
) -> list[Epoch]:
    """Train `model`, set up by the fabric, in place: AdamW, one cycle, cross-entropy.

    Returns one row per epoch (epoch, loss, seconds); each also goes to `on_epoch` with its number.
    """
    training = settings.pretrain
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.lr, weight_decay=training.weight_decay)
    epoch_steps = batch_count(dataset, training.batch_size)
    steps = training.epochs * epoch_steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=training.lr, total_steps=max(2, steps), pct_start=RISING_SHARE
    )
    model.train()
    rows: list[Epoch] = []
    with Steps("pretrain", steps) as progress:
        for epoch in range(training.epochs):
            start, total = time.perf_counter(), 0.0
            for batch in training_batches(dataset, settings.data, training.batch_size, generator):
                optimizer.zero_grad()
                loss = cross_entropy(model(batch.pixels), batch.labels)
                fabric.backward(loss)
                optimizer.step()
                schedule.step()
                progress.advance()
                total += float(loss.detach())
            values = epoch, total / epoch_steps, round(time.perf_counter() - start, 3)
            row = dict(zip(EPOCH_COLUMNS, values, strict=True))
            rows.append(row)
            on_epoch(epoch, row)
            progress.say(
                f"pretrain: epoch {epoch + 1}/{training.epochs}: loss {row['loss']:.4f}, {row['seconds']:.1f} s"
            )
    return rows
