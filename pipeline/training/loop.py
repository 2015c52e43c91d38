"""The training loop: every network here, of any method, is trained by it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.base.errors import DivergedError
from pipeline.base.settings import Finetune
from pipeline.training.averaging import Average
from pipeline.training.device import backward, share_of, unwrapped
from pipeline.training.work import Row, Work

RISING_SHARE = 0.2  # of the one-cycle schedule

EPOCH_COLUMNS = ("epoch", "loss", "seconds")


@dataclass(frozen=True)
class Plan:
    """How to train: epochs, images per batch, the optimiser and the schedule that is stepped after it, if any.

    title: tells this training from the others of the same work. ema: decay of the moving average that the network is
    given at the end; 0 for none. clip_norm: largest norm of all gradients together.
    before_step: called with each batch's loss when its gradients are there; it may change them, and returns numbers,
    0-dimensional, whose means become columns of the epoch's row. after_step: called after the optimiser's step.
    logged: whether epochs are steps of the live run.
    """

    title: str
    epochs: int
    batch_size: int
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None
    ema: float = 0.0
    clip_norm: float = math.inf
    before_step: Callable[[Tensor], Mapping[str, Tensor]] = lambda _: {}
    after_step: Callable[[], None] = lambda: None
    logged: bool = True


def train(work: Work, plan: Plan) -> list[Row]:
    """Train the work's network in place on cross-entropy as `plan` says.

    Returns one row per epoch (epoch, loss, seconds, and what `before_step` returns), numbered on from earlier trainings
    of the same work. Goes on where the work was broken off; of a training that had ended then, the rows are returned.

    Raises DivergedError at the end of an epoch whose loss is not finite.
    """
    ended = work.ended(plan.title)
    training = _Training(work, plan)
    if ended is not None:
        training.rows = ended
    elif (state := work.unfinished(plan.title)) is not None:
        training.resume(state)
    first = len(work.epochs)
    work.progress.advance(len(training.rows) * training.batches)
    if training.rows:
        work.progress.say(f"{plan.title}: goes on after epoch {first + len(training.rows)}")
    for place, row in enumerate(training.rows):
        _log(work, plan, first + place, row)
    while len(training.rows) < (plan.epochs if ended is None else 0):
        number = first + len(training.rows)
        row = training.epoch(number)
        training.rows.append(row)
        _log(work, plan, number, row)
        work.progress.say(
            f"{plan.title}: epoch {len(training.rows)}/{plan.epochs}: loss {row['loss']:.4f}, {row['seconds']:.1f} s"
        )
        work.keep(training.state)
    if ended is None:
        training.finish_()
        work.trainings[plan.title] = training.rows
    return training.rows


def _log(work: Work, plan: Plan, number: int, row: Row) -> None:
    if plan.logged:
        work.live.log_step(number, row)


class _Training:
    """A training with all that it needs to go on."""

    def __init__(self, work: Work, plan: Plan) -> None:
        self._work, self._plan = work, plan
        self._average = Average(unwrapped(work.network), plan.ema) if plan.ema else None
        self._trained = [each for group in plan.optimizer.param_groups for each in group["params"]]
        self.batches = work.dataset.batch_count(plan.batch_size)
        self.rows: list[Row] = []

    def state(self) -> dict[str, Any]:
        """For a checkpoint; `resume` takes it. What is trained may lie outside of the network."""
        schedule = self._plan.schedule
        return {
            "title": self._plan.title,
            "rows": self.rows,
            "trained": [parameter.detach() for parameter in self._trained],
            "optimizer": self._plan.optimizer.state_dict(),
            "schedule": schedule.state_dict() if schedule else None,
            "average": self._average.state() if self._average else None,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.rows = state["rows"]
        with torch.no_grad():
            for parameter, value in zip(self._trained, state["trained"], strict=True):
                parameter.copy_(value)
        self._plan.optimizer.load_state_dict(state["optimizer"])
        if self._plan.schedule:
            self._plan.schedule.load_state_dict(state["schedule"])
        if self._average:
            self._average.resume(state["average"])

    def epoch(self, number: int) -> Row:
        """Train over all images once; returns the row of this epoch."""
        work, plan, start = self._work, self._plan, time.perf_counter()
        work.network.train()
        sums: dict[str, Tensor] = {}
        exact = torch.float32 if work.fabric.device.type == "mps" else torch.float64  # which Apple's GPUs do not have
        for batch in work.dataset.training_batches(plan.batch_size, work.generator, share_of(work.fabric)):
            plan.optimizer.zero_grad()
            loss = backward(work.fabric, work.network, batch, work.settings.hardware.accumulate)
            for name, value in {"loss": loss, **plan.before_step(loss)}.items():
                # Nothing is looked at before the epoch has ended: that would wait for the device at every step.
                sums[name] = sums.get(name, 0.0) + value.to(exact)
            if plan.clip_norm < math.inf:
                nn.utils.clip_grad_norm_(self._trained, plan.clip_norm)
            plan.optimizer.step()
            if plan.schedule:
                plan.schedule.step()
            plan.after_step()
            if self._average:
                self._average.update()
            work.progress.advance()
        means = {name: float(value) / self.batches for name, value in sums.items()}
        bad = next((name for name, value in means.items() if not math.isfinite(value)), None)
        if bad:
            raise DivergedError(
                f"{plan.title}: epoch {number + 1}: the {bad} is {means[bad]}; a smaller learning rate (lr) in the "
                "profile may help"
            )
        values = number, means.pop("loss"), round(time.perf_counter() - start, 3)
        return dict(zip(EPOCH_COLUMNS, values, strict=True)) | means

    def finish_(self) -> None:
        """Leave the network as it is to be used."""
        if self._average:
            self._average.install_()


def optimizer_for(parameters: list[nn.Parameter], settings: Finetune) -> torch.optim.Optimizer:
    """The optimiser that `settings` name, over `parameters`; Adam in its fused form, a tenth of a step faster."""
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
    return torch.optim.SGD(parameters, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)


def pretrain(work: Work) -> list[Row]:
    """Train a baseline in place: AdamW, one cycle; one row per epoch."""
    chosen = work.settings.pretrain
    optimizer = torch.optim.AdamW(work.network.parameters(), lr=chosen.lr, weight_decay=chosen.weight_decay, fused=True)
    steps = chosen.epochs * work.dataset.batch_count(chosen.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=chosen.lr, total_steps=max(2, steps), pct_start=RISING_SHARE
    )
    return train(work, Plan("pretrain", chosen.epochs, chosen.batch_size, optimizer, schedule, chosen.ema))
