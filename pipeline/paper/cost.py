"""What the plan will do and cost, before it begins: networks, epochs, images, time, disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.ahead.forecast import Places, epochs_of, forecast, seconds_of
from pipeline.base.settings import Settings
from pipeline.paper.pace import Trial
from pipeline.paper.plan import DELTAS, TRAIN, VAL, Plan
from pipeline.watching.progress import duration

FLOAT_BYTES = 4
# A checkpoint has the weights, Adam's two moments, what is fixed at which value, and more: measured 4.5 times.
CHECKPOINT = 5
COPIES = 2  # of every result: in its folder and in DVC's cache


def images_of(root: Path, classes: Sequence[str], mini: int | None) -> int:
    """How many training images there will be at most; counted by their names, none is opened."""
    found = (sum(1 for _ in (root / TRAIN / name).iterdir()) for name in classes)
    return sum(count if mini is None else min(count, mini) for count in found)


class Work(NamedTuple):
    """Of one network: its settings, the stages of all its results, where an earlier run of it is, and how many weights.

    missing: of these stages those that have not been made. trial: how fast training goes; None where an earlier run
    tells.
    """

    settings: Settings
    stages: Sequence[str]
    places: Places
    parameters: int
    missing: Sequence[str]
    trial: Trial | None = None

    @property
    def epochs(self) -> int:
        """Of training, if nothing is there yet."""
        return sum(epochs_of(self.settings, self.stages).values())

    def lines(self, images: int) -> list[str]:
        """What is to be done, and how long that takes."""
        what, how_long, *_ = forecast(self.settings, self.stages, self.places)
        if self.trial is not None:
            how_long = self.trial.said
        if self.trial is not None and self.trial.seconds is not None:
            epochs = sum(epochs_of(self.settings, self.missing).values())
            training = duration(self.trial.seconds * epochs * images)
            how_long += f", at least {training} of training; fixing, measuring, a look at every picture come on top"
        return [what, how_long]


def timed_before(settings: Settings, stages: Sequence[str], places: Places) -> bool:
    """Whether an earlier run tells how long these results take."""
    return seconds_of(settings, epochs_of(settings, stages), places.report) is not None


def last_change(root: Path, classes: Sequence[str]) -> float:
    """When a picture came or went the last time, seconds since 1970, as the folders say."""
    parts = [root / part for part in (TRAIN, VAL)]
    return max(each.stat().st_mtime for part in parts for each in (part, *(part / name for name in classes)))


def cost(plan: Plan, works: Mapping[str, Work], images: int) -> list[str]:
    """Lines that say it. images: for training."""
    sizes = {network: FLOAT_BYTES * work.parameters for network, work in works.items()}
    count, epochs = (
        sum(each) for each in zip(*((len(work.stages), work.epochs) for work in works.values()), strict=True)
    )
    results = COPIES * sum(len(work.stages) * sizes[network] for network, work in works.items())
    lines = [
        f"the paper's tables: {', '.join(works)}; each at δ = {', '.join(f'{each:g}' for each in DELTAS)}, and by "
        f"APoT; {plan.seeds} run{'' if plan.seeds == 1 else 's, with different seeds,'} of each",
        *(line for work in works.values() for line in work.lines(images)),
        f"in all {count} results, at most {epochs:,} epochs of {images:,} training images",
        f"disk: no picture is copied; results take about {_size(results)}, half of it DVC's cache; "
        f"a checkpoint about {_size(CHECKPOINT * max(sizes.values()))}, deleted at the end",
    ]
    if plan.seeds == 1:
        lines.append("one run of each has no spread: no claim is decided by it (SEEDS=3 would)")
    return [*lines, *([plan.mark] if plan.mark else [])]


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
