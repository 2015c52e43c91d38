"""Which runs a pipeline has, as dvc.yaml has them: their stages and their folders.

Taken from the settings: folders of values that have left the grid may still lie around.
"""

import itertools
from pathlib import Path
from typing import NamedTuple

from pipeline.base.settings import Settings


class Made(NamedTuple):
    """A run: the DVC stage that makes it, and the folder that it has inside the profile's."""

    stage: str
    folder: Path


def baseline() -> Made:
    """What stage `pretrain` writes."""
    return Made("pretrain", Path("baseline"))


def fixed(settings: Settings) -> list[Made]:
    """What `fix`, its repeats and every cell of `sweep` write, in this order."""
    grid = settings.grid
    return [
        Made("fix", Path("fix")),
        *(Made(f"repeats@{repeat}", Path("repeats", f"repeat-{repeat}")) for repeat in settings.repeats),
        *(
            Made(
                f"sweep@{delta!r}-{alpha!r}-{repeat}",
                Path("sweep", f"delta-{delta!r}_alpha-{alpha!r}_repeat-{repeat}"),
            )
            for delta, alpha, repeat in itertools.product(grid.delta, grid.alpha, grid.repeats)
        ),
    ]


def variants(settings: Settings) -> list[Made]:
    """What stage `variants` writes."""
    return [Made(f"variants@{name}", Path("variants", name)) for name in settings.variants]


def quantised(settings: Settings) -> list[Made]:
    """What every `quantise` stage writes."""
    return [Made(f"quantise@{name}", Path("quantise", name)) for name in settings.baselines.quantisers]


def explore_baseline() -> Made:
    """The small network that `explore` fixes."""
    return Made("explore@baseline", Path("explore", "baseline"))


def explored(settings: Settings) -> list[Made]:
    """Every network that `explore` fixes."""
    return [Made(f"explore@{name}", Path("explore", name)) for name in settings.explored()]


def all_runs(settings: Settings) -> list[Made]:
    """Every run of the pipeline, in its order."""
    compared = [*fixed(settings), *variants(settings), *quantised(settings)]
    return [baseline(), *compared, explore_baseline(), *explored(settings)]
