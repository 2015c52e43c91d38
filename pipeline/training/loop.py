"""The training loop on plain cross-entropy, and training a baseline with it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from pipeline.base.errors import InputError
from pipeline.base.settings import Finetune, Settings
from pipeline.data.dataset import Dataset
from pipeline.training.averaging import Average
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.device import backward, share_of, unwrapped
from pipeline.watching.progress import Steps

RISING_SHARE = 0.2  # of the one-cycle schedule

EPOCH_COLUMNS = ("epoch", "loss", "seconds")
Epoch = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How to train: a title for the progress line, epochs, images per batch, optimiser and its schedule per step.

    parts: how many parts a batch is worked on in. first_epoch: number of the first epoch, where training goes on that
    began with another plan.
    ema: decay of the moving average that the network is given at the end; 0 for none.
    before_step, after_step: called around every step of the optimiser, for weights that live elsewhere.
    """

    title: str
    epochs: int
    batch_size: int
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    parts: int = 1
    first_epoch: int = 0
    ema: float = 0.0
    before_step: Callable[[], None] = lambda: None
    after_step: Callable[[], None] = lambda: None


def train(
    fabric: Fabric,
    network: nn.Module,
    dataset: Dataset,
    plan: Plan,
    generator: torch.Generator,
    on_epoch: Callable[[int, Epoch], None],
    checkpoint: Checkpoint | None = None,
) -> list[Epoch]:
    """Train `network`, set up by the fabric, in place on cross-entropy as `plan` says.

    Returns one row per epoch (epoch, loss, seconds); each also goes to `on_epoch` with its number. Goes on from the
    checkpoint, where there is one.
    """
    epoch_steps = dataset.batch_count(plan.batch_size)
    rows: list[Epoch] = []
    average = Average(unwrapped(network), plan.ema) if plan.ema else None
    state = checkpoint.load() if checkpoint else None
    if state is not None:
        rows = state["rows"]
        network.load_state_dict(state["network"])
        plan.optimizer.load_state_dict(state["optimizer"])
        plan.schedule.load_state_dict(state["schedule"])
        generator.set_state(state["generator"])
        if average:
            average.resume(state["average"])
        for row in rows:
            on_epoch(row["epoch"], row)
    network.train()
    quiet = not fabric.is_global_zero
    with Steps(plan.title, plan.epochs * epoch_steps, len(rows) * epoch_steps, quiet) as progress:
        if rows:
            progress.say(f"{plan.title}: goes on after epoch {len(rows)}")
        for epoch in range(plan.first_epoch + len(rows), plan.first_epoch + plan.epochs):
            start, total = time.perf_counter(), 0.0
            for batch in dataset.training_batches(plan.batch_size, generator, share_of(fabric)):
                plan.optimizer.zero_grad()
                loss = backward(fabric, network, batch, plan.parts)
                plan.before_step()
                plan.optimizer.step()
                plan.schedule.step()
                plan.after_step()
                if average:
                    average.update()
                progress.advance()
                total += finite(loss, plan.title)
            values = epoch, total / epoch_steps, round(time.perf_counter() - start, 3)
            row = dict(zip(EPOCH_COLUMNS, values, strict=True))
            rows.append(row)
            on_epoch(epoch, row)
            progress.say(f"{plan.title}: epoch {epoch + 1}: loss {row['loss']:.4f}, {row['seconds']:.1f} s")
            if checkpoint and checkpoint.due():
                checkpoint.save(
                    {
                        "rows": rows,
                        "network": network.state_dict(),
                        "optimizer": plan.optimizer.state_dict(),
                        "schedule": plan.schedule.state_dict(),
                        "average": average.state() if average else None,
                        "generator": generator.get_state(),
                    }
                )
    if average:
        average.install_()
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
    network: nn.Module,
    dataset: Dataset,
    settings: Settings,
    generator: torch.Generator,
    on_epoch: Callable[[int, Epoch], None],
    checkpoint: Checkpoint | None = None,
) -> list[Epoch]:
    """Train a baseline in place: AdamW, one cycle. Arguments and result are those of `train`."""
    chosen = settings.pretrain
    optimizer = torch.optim.AdamW(network.parameters(), lr=chosen.lr, weight_decay=chosen.weight_decay)
    steps = chosen.epochs * dataset.batch_count(chosen.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=chosen.lr, total_steps=max(2, steps), pct_start=RISING_SHARE
    )
    parts = settings.hardware.accumulate
    plan = Plan("pretrain", chosen.epochs, chosen.batch_size, optimizer, schedule, parts, ema=chosen.ema)
    return train(fabric, network, dataset, plan, generator, on_epoch, checkpoint)
