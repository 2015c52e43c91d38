"""What the plan will do and cost, before it begins: networks, epochs, images, time where it is known, disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.ahead.forecast import Places, epochs_of, forecast
from pipeline.base.settings import Settings
from pipeline.paper.plan import DELTAS, TRAIN, Plan

FLOAT_BYTES = 4
# A checkpoint has the weights, Adam's two moments, what is fixed at which value, and more: measured 4.5 times.
CHECKPOINT = 5
COPIES = 2  # of every result: in its folder and in DVC's cache


def images_of(root: Path, classes: Sequence[str], mini: int | None) -> int:
    """How many training images there will be at most; counted by their names, none is opened."""
    found = (sum(1 for _ in (root / TRAIN / name).iterdir()) for name in classes)
    return sum(count if mini is None else min(count, mini) for count in found)


def cost(
    plan: Plan, works: Mapping[str, tuple[Settings, Sequence[str], Places]], images: int, parameters: Sequence[int]
) -> list[str]:
    """Lines that say it.

    works: by network its settings, the stages of all its results, and where an earlier run of it is. images: for
    training. parameters: weights of each network.
    """
    counts = [len(stages) for _, stages, _ in works.values()]
    epochs = sum(sum(epochs_of(settings, stages).values()) for settings, stages, _ in works.values())
    sizes = [FLOAT_BYTES * each for each in parameters]
    results = COPIES * sum(count * size for count, size in zip(counts, sizes, strict=True))
    lines = [
        f"the paper's tables: {', '.join(works)}; each at δ = {', '.join(f'{each:g}' for each in DELTAS)}, and by "
        f"APoT; {plan.seeds} run{'' if plan.seeds == 1 else 's, with different seeds,'} of each",
        *(line for settings, stages, places in works.values() for line in forecast(settings, stages, places)[:2]),
        f"in all {sum(counts)} results, at most {epochs:,} epochs of {images:,} training images",
        f"disk: no picture is copied; results take about {_size(results)}, half of it DVC's cache; "
        f"a checkpoint about {_size(CHECKPOINT * max(sizes))}, deleted at the end",
    ]
    if plan.seeds == 1:
        lines.append("one run of each has no spread: no claim is decided by it (SEEDS=3 would)")
    return [*lines, *([plan.mark] if plan.mark else [])]


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
