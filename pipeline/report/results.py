"""What a report is made of: the finished runs of a profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.base.results import Run


@dataclass(frozen=True)
class Results:
    """Everything that a report is made of.

    Sizes are in the runs' metrics (`with_size`). baselines: one for each repeat, that of `pretrain` first. fixed: the
    run of stage `fix` first, then its repeats and the sweep.
    made: every run as its folder tells it, by its DVC stage, in the order of the pipeline. card: of the data set. file:
    that of `fix`, packed. commit: of the code that made the report. variants, quantised, explored: those of these
    stages. rates: the choice of learning rates. published: the file of published figures. Without any of these: the
    page of one network.
    """

    baselines: Sequence[Run]
    fixed: Sequence[Run]
    made: Mapping[str, Run]
    card: Mapping[str, Any]
    file: Path
    commit: str
    variants: Sequence[Run] = ()
    quantised: Sequence[Run] = ()
    explore_baselines: Sequence[Run] = ()
    explored: Sequence[Run] = ()
    rates: pd.DataFrame | None = None
    published: Path | None = None

    @property
    def alone(self) -> bool:
        """Whether there is nothing to compare the fixed network with but its baseline."""
        return not (self.variants or self.quantised or self.explored or len(self.fixed) > 1)

    @property
    def test_images(self) -> int:
        """How many images top-1 is measured on."""
        return int(self.card["test"]["images"])

    @property
    def trained(self) -> list[Run]:
        """Every fixed network of the baseline's kind that was trained in its rounds."""
        return [*self.fixed, *(run for run in self.variants if len(run.settings["fixing"]["fractions"]) > 1)]

    @property
    def idle_share(self) -> float:
        """Share of the network's weights that meet nothing but padding."""
        layout = self.baselines[0].layers
        return 0.0 if layout is None else float(layout["idle"].sum() / layout["weights"].sum())


def with_size(run: Run, packed: Path | None) -> Run:
    """A run whose metrics say the bytes of its packed file as well; of a float network, which has none, its own."""
    size = packed.stat().st_size if packed else run.metrics["float_bytes"]
    return replace(run, metrics=run.metrics | {"packed_bytes": size})
