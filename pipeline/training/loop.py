"""The training loop: every network here, of any method, is trained by it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.base.errors import DivergedError, InputError
from pipeline.base.settings import Finetune, Hardware
from pipeline.training.averaging import Average
from pipeline.training.device import backward, seed_epoch, share_of, summed, unwrapped
from pipeline.training.last_good import LastGood
from pipeline.training.work import Row, Work

RISING_SHARE = 0.2  # of the one-cycle schedule

EPOCH_COLUMNS = ("epoch", "loss", "seconds")


@dataclass(frozen=True)
class Plan:
    """How to train: epochs, images per batch, the optimiser and the schedule that is stepped after it, if any.

    title: tells this training from the others of the same work. rate_key: the setting of its learning rate, for people.
    ema: decay of the moving average that the network is given at the end; 0 for none. clip_norm: largest norm of all
    gradients together.
    before_step: called with each batch's loss when its gradients are there; it may change them, and returns numbers,
    0-dimensional, whose means become columns of the epoch's row. after_step: called after the optimiser's step.
    logged: whether epochs are steps of the live run.
    """

    title: str
    rate_key: str
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

    Raises DivergedError at the end of an epoch whose loss, or network, is not finite: that of the epoch before is then
    in a file that the message names. InputError for a network that cannot be trained.
    """
    ended = work.ended(plan.title)
    training = _Training(work, plan)
    if ended is not None:
        training.rows = ended
    elif (state := work.unfinished(plan.title)) is not None:
        training.resume(state)
    first = len(work.epochs)
    work.progress.begin(len(training.rows) * training.batches)
    if training.rows:
        work.progress.say(f"{plan.title}: goes on after epoch {first + len(training.rows)}")
    for place, row in enumerate(training.rows):
        _log(work, plan, first + place, row)
    if ended is not None:
        return training.rows
    if len(training.rows) < plan.epochs:
        _check_trainable(work, plan)
        good = LastGood(work)
    while len(training.rows) < plan.epochs:
        number = first + len(training.rows)
        try:
            row, top1 = training.epoch(number)
        except ValueError as error:
            raise _too_few_images(plan, work.settings.hardware, error) from error
        training.rows.append(row)
        where = f"{plan.title}: epoch {len(training.rows)}/{plan.epochs}"
        if work.job.epochs > plan.epochs:
            where += f" ({number + 1}/{work.job.epochs} in all)"
        bad = next((f"the {name} is {value}" for name, value in row.items() if not math.isfinite(value)), None)
        if not good.take() or bad:
            raise DivergedError(f"{where}: {bad or 'the weights are not finite'}; {_advice(work, plan, good)}")
        _log(work, plan, number, row)
        said = [f"{where}: loss {row['loss']:.4f}", f"training top-1 {top1:.2f}", f"{row['seconds']:.1f} s"]
        work.keep(training.state)
        work.progress.say(", ".join([*said, work.progress.left()]))
    training.finish_()
    work.trainings[plan.title] = training.rows
    return training.rows


def _check_trainable(work: Work, plan: Plan) -> None:
    if not any(parameter.requires_grad for parameter in work.model.parameters()):
        raise InputError(f"{plan.title}: all weights of {work.settings.model.name} are frozen; some must be trainable")


def _too_few_images(plan: Plan, hardware: Hardware, error: ValueError) -> ValueError | InputError:
    """What to say where batch-norm, given a single image, refuses to work; any other error as it is."""
    if "more than 1 value per channel" not in str(error):
        return error
    return InputError(
        f"{plan.title}: batches of {plan.batch_size} images in {hardware.processes * hardware.accumulate} parts "
        "(hardware.devices x nodes x accumulate): batch-norm needs two images in each at least"
    )


def _advice(work: Work, plan: Plan, good: LastGood) -> str:
    """Where the network of the epoch before is, and what to try."""
    tries = [f"a smaller learning rate ({plan.rate_key})"]
    tries += ["a smaller finetune.clip_norm"] if plan.clip_norm < math.inf else []
    tries += ["hardware.precision = 32-true"] if work.settings.hardware.precision != "32-true" else []
    return f"try {', '.join(tries)}; the network before this epoch {good.write()}"


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

    def epoch(self, number: int) -> tuple[Row, float]:
        """Train over all images once; returns the row of this epoch, and its top-1: percent of its varied images."""
        work, plan, start = self._work, self._plan, time.perf_counter()
        work.network.train()
        seed_epoch(work.fabric, work.settings.seed, number)
        sums: dict[str, Tensor] = {}
        seen = torch.zeros(2, dtype=torch.int64, device=work.fabric.device)  # images right, and images
        exact = torch.float32 if work.fabric.device.type == "mps" else torch.float64  # which Apple's GPUs do not have
        for batch in work.dataset.training_batches(plan.batch_size, work.generator, share_of(work.fabric)):
            plan.optimizer.zero_grad()
            loss, hits = backward(work.fabric, work.network, batch, work.settings.hardware.accumulate)
            seen += torch.stack([hits, torch.full_like(hits, len(batch))])
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
        right, images = summed(work.fabric, seen).tolist()
        values = number, means.pop("loss"), round(time.perf_counter() - start, 3)
        return dict(zip(EPOCH_COLUMNS, values, strict=True)) | means, right / images * 100

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
    schedule = one_cycle(optimizer, chosen.lr, steps)
    plan = Plan("pretrain", "pretrain.lr", chosen.epochs, chosen.batch_size, optimizer, schedule, chosen.ema)
    return train(work, plan)


def one_cycle(optimizer: torch.optim.Optimizer, rate: float, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """A learning rate that rises to `rate` and falls to nearly nothing over so many steps, at least one."""
    steps = max(2, steps)
    # torch divides by the length of the rise, one step less than its share: of so few steps that this is 0, none rises.
    rising = RISING_SHARE if RISING_SHARE * steps != 1 else 0.0
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps, pct_start=rising)
