"""What is there of a network so far: its finished runs, as the report of a profile has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.base.errors import InputError
from pipeline.base.results import Run, read_run
from pipeline.base.settings import Settings
from pipeline.report.results import with_size

BASELINES = ("pretrain", "baselines")  # kinds of stages


@dataclass(frozen=True)
class Network:
    """A network of the plan.

    settings: of the work on it; None where none was begun. made: its finished runs by their DVC stage, in the order of
    the pipeline. missing: stages whose runs are not there. page: its report, once all are there. test_images: how many
    top-1 is measured on; train_images: how many it was trained on; 0 where no data set was prepared.
    """

    name: str
    settings: Settings | None = None
    made: Mapping[str, Run] | None = None
    missing: tuple[str, ...] = ()
    page: Path | None = None
    test_images: int = 0
    train_images: int = 0

    @property
    def runs(self) -> Mapping[str, Run]:
        """Those that are finished."""
        return self.made or {}

    def of(self, *kinds: str) -> list[Run]:
        """Finished runs of these kinds of stages."""
        return [run for stage, run in self.runs.items() if stage.partition("@")[0] in kinds]

    @property
    def baselines(self) -> list[Run]:
        """One for every seed."""
        return self.of(*BASELINES)

    @property
    def fixed(self) -> list[Run]:
        """By WFN, with every delta and seed."""
        return self.of("fix", "repeats", "sweep")

    @property
    def quantised(self) -> list[Run]:
        """By APoT, one for every seed."""
        return self.of("quantise")


def with_baselines(made: Mapping[str, Run]) -> dict[str, Run]:
    """Those runs whose baseline, of the same seed, is there as well; without it there is nothing to compare with."""
    begun = {run.settings["seed"] for stage, run in made.items() if stage.partition("@")[0] in BASELINES}
    return {stage: run for stage, run in made.items() if run.settings["seed"] in begun}


def finished(folder: Path, packed: Path | None) -> Run | None:
    """A run whose metrics say the bytes of its packed file as well; None where it is not there as a whole.

    packed: None for a float network, which has none. NaN bytes where the file is not there yet.
    """
    try:
        run = read_run(folder)
    except (FileNotFoundError, InputError):  # not made yet; broken off while DVC copied it, which does it again
        return None
    if packed is not None and not packed.exists():
        return replace(run, metrics=run.metrics | {"packed_bytes": math.nan})
    return with_size(run, packed)
