"""Which runs a pipeline has, as dvc.yaml has them: their stages and their folders.

Taken from the settings: folders of values that have left the grid may still lie around. And no setting stands in a
command line of dvc.yaml, where a shell would read it.
"""

from pathlib import Path
from typing import NamedTuple

from pipeline.base.errors import InputError
from pipeline.base.naming import first_of
from pipeline.base.results import writable
from pipeline.base.settings import Settings

# Each with a folder for every profile: networks and tables; packed networks; the report; a fixed network and its page.
RUNS, PACKED, REPORTS, HOME = Path("runs"), Path("packed"), Path("reports"), Path("home")
DATA = Path("data")  # what stage `data` writes, beside the runs


class Made(NamedTuple):
    """A run: the DVC stage that makes it, and the folder that it has inside the profile's."""

    stage: str
    folder: Path


def baselines(settings: Settings) -> list[Made]:
    """What `pretrain` and its repeats write, in this order."""
    return [_baseline(repeat) for repeat in (0, *settings.repeats)]


def _baseline(repeat: int) -> Made:
    return Made(f"baselines@{repeat}" if repeat else "pretrain", Path("baselines", f"repeat-{repeat}"))


def fixed(settings: Settings) -> list[Made]:
    """What `fix`, its repeats and every cell of `sweep` write, in this order."""
    return [
        Made("fix", Path("fix")),
        *(Made(f"repeats@{repeat}", Path("repeats", f"repeat-{repeat}")) for repeat in settings.repeats),
        *(
            Made(
                f"sweep@{name}",
                Path("sweep", f"delta-{cell.delta!r}_alpha-{cell.alpha!r}_repeat-{cell.seed - settings.seed}"),
            )
            for name, cell in settings.swept().items()
        ),
    ]


def variants(settings: Settings) -> list[Made]:
    """What stage `variants` writes."""
    return [Made(f"variants@{name}", Path("variants", name)) for name in settings.variants]


def quantised(settings: Settings) -> list[Made]:
    """What every `quantise` stage writes."""
    return [Made(f"quantise@{name}", Path("quantise", name)) for name in settings.baselines.quantisers]


def explore_baselines(settings: Settings) -> list[Made]:
    """The small networks that `explore` fixes, one for each of its repeats."""
    return [Made(f"explore@{name}", Path("explore", name)) for name in settings.explore_baselines()]


def explored(settings: Settings) -> list[Made]:
    """Every network that `explore` fixes."""
    return [Made(f"explore@{name}", Path("explore", name)) for name in settings.explored()]


def is_float(made: Made, settings: Settings) -> bool:
    """Whether a run's network has its weights as they were trained."""
    return made in (*baselines(settings), *explore_baselines(settings))


def all_runs(settings: Settings) -> list[Made]:
    """Every run of the pipeline, in its order."""
    compared = [*fixed(settings), *variants(settings), *quantised(settings)]
    return [*baselines(settings), *compared, *explore_baselines(settings), *explored(settings)]


class Places(NamedTuple):
    """The folders of a run: the data set, the baseline network of its repeat, and where the run is written."""

    data: Path
    baseline: Path
    out: Path


def places(settings: Settings, stage: str, runs: Path | None, out: Path | None) -> Places:
    """The folders of a stage's run, in the folder of the profile's runs unless others are given.

    Raises InputError for a stage that has no run, and where its files could not be written.
    """
    runs = runs or RUNS / settings.profile
    own = {made.stage: made.folder for made in all_runs(settings)}
    if stage not in own:
        kind = stage.partition("@")[0]
        near = [known for known in own if known.partition("@")[0] == kind] or list(own)
        raise InputError(f"--stage {stage}: no such stage; allowed: {first_of(near)}")
    begins_with = _baseline(settings.for_stage(stage).seed - settings.seed)
    return Places(runs / DATA, runs / begins_with.folder, writable(out or runs / own[stage]))
