"""The device to work on, through Lightning Fabric, and training a baseline on it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.nn.functional import cross_entropy

from pipeline.config import Finetune, Hardware, InputError, Settings
from pipeline.data import Dataset
from pipeline.progress import Steps

RISING_SHARE = 0.2  # of the one-cycle schedule

EPOCH_COLUMNS = ("epoch", "loss", "seconds")
Epoch = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How to train: a title for the progress line, epochs, images per batch, optimiser and its schedule per step.

    first_epoch: number of the first epoch, where training goes on that began with another plan.
    before_step, after_step: called around every step of the optimiser, for weights that live elsewhere.
    """

    title: str
    epochs: int
    batch_size: int
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    first_epoch: int = 0
    before_step: Callable[[], None] = lambda: None
    after_step: Callable[[], None] = lambda: None


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


def train(
    fabric: Fabric,
    model: nn.Module,
    dataset: Dataset,
    plan: Plan,
    generator: torch.Generator,
    on_epoch: Callable[[int, Epoch], None],
) -> list[Epoch]:
    """Train `model`, set up by the fabric, in place on cross-entropy as `plan` says.

    Returns one row per epoch (epoch, loss, seconds); each also goes to `on_epoch` with its number.
    """
    epoch_steps = dataset.batch_count(plan.batch_size)
    model.train()
    rows: list[Epoch] = []
    with Steps(plan.title, plan.epochs * epoch_steps) as progress:
        for epoch in range(plan.first_epoch, plan.first_epoch + plan.epochs):
            start, total = time.perf_counter(), 0.0
            for batch in dataset.training_batches(plan.batch_size, generator):
                plan.optimizer.zero_grad()
                loss = cross_entropy(model(batch.pixels), batch.labels)
                fabric.backward(loss)
                plan.before_step()
                plan.optimizer.step()
                plan.schedule.step()
                plan.after_step()
                progress.advance()
                total += finite(loss.detach(), plan.title)
            values = epoch, total / epoch_steps, round(time.perf_counter() - start, 3)
            row = dict(zip(EPOCH_COLUMNS, values, strict=True))
            rows.append(row)
            on_epoch(epoch, row)
            progress.say(f"{plan.title}: epoch {epoch + 1}: loss {row['loss']:.4f}, {row['seconds']:.1f} s")
    return rows


def finite(loss: torch.Tensor, title: str) -> float:
    """A loss as a number. Raises InputError for one that is not finite: what was trained is lost then."""
    value = float(loss)
    if not math.isfinite(value):
        raise InputError(f"{title}: the loss is {value}; a smaller learning rate (lr) in the profile may help")
    return value


def optimizer_for(parameters: list[nn.Parameter], settings: Finetune) -> torch.optim.Optimizer:
    """The optimiser that `settings` name, over `parameters`."""
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
    return torch.optim.SGD(parameters, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)


def pretrain(
    fabric: Fabric,
    model: nn.Module,
    dataset: Dataset,
    settings: Settings,
    generator: torch.Generator,
    on_epoch: Callable[[int, Epoch], None],
) -> list[Epoch]:
    """Train a baseline in place: AdamW, one cycle. Arguments and result are those of `train`."""
    chosen = settings.pretrain
    optimizer = torch.optim.AdamW(model.parameters(), lr=chosen.lr, weight_decay=chosen.weight_decay)
    steps = chosen.epochs * dataset.batch_count(chosen.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=chosen.lr, total_steps=max(2, steps), pct_start=RISING_SHARE
    )
    plan = Plan("pretrain", chosen.epochs, chosen.batch_size, optimizer, schedule)
    return train(fabric, model, dataset, plan, generator, on_epoch)
