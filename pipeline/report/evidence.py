"""What was measured for a claim, with every seed, and the verdict on it.

Figures are means over runs with different seeds, differences and ratios means over pairs with the same seed, which
begin with the same baseline. A verdict is made only where the 95 % interval of the mean leaves the claimed figure out.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pandas as pd
from scipy.stats import t

from pipeline.report.comparisons import SETTING

CONFIDENCE = 0.95
HOLDS, FAILS, UNDECIDED, UNMEASURED = "holds", "does not hold", "not decided", "not measured here"


class Figure(NamedTuple):
    """What was measured with every seed: `values` by seed, none where nothing was; `stage` made it.

    step: the least by which two measurements can differ. Runs that are alike by chance have no smaller spread.
    """

    values: pd.Series
    stage: str = ""
    step: float = 0.0

    def less(self, other: Figure) -> Figure:
        """The difference to another figure, over the seeds that both have."""
        return Figure((self.values - other.values).dropna(), _both(self, other))

    def over(self, other: Figure) -> Figure:
        """The ratio to another figure, over the seeds that both have."""
        return Figure((self.values / other.values).dropna(), _both(self, other))

    @property
    def mean(self) -> float:
        """NaN where nothing was measured."""
        return float(self.values.mean())

    @property
    def spread(self) -> float:
        """The standard deviation; NaN for a single run."""
        return float(self.values.std())

    @property
    def interval(self) -> float:
        """Half the width of the interval that holds the mean of all seeds' runs, Student's t; NaN for a single run."""
        count = len(self.values)
        if count < 2:
            return math.nan
        return float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * max(self.spread, self.step) / math.sqrt(count)


NOTHING = Figure(pd.Series(dtype=float))


def _both(one: Figure, other: Figure) -> str:
    return ", ".join(dict.fromkeys(stage for stage in (one.stage, other.stage) if stage))


def verdict(figure: Figure, least: float) -> str:
    """Whether a figure is at least `least`, as far as its interval lets one tell."""
    if not len(figure.values):
        return UNMEASURED
    margin = figure.mean - least
    if abs(margin) > figure.interval:
        return HOLDS if margin > 0 else FAILS
    return UNDECIDED


def figure_of(runs: pd.DataFrame, column: str, stage: str, **setting: Any) -> Figure:
    """The figure of the runs with this setting; nothing where there are none, or where they differ in another."""
    chosen = runs
    for key, value in setting.items():
        chosen = chosen[chosen[key] == value]
    if not len(chosen) or len(chosen[SETTING].drop_duplicates()) > 1:
        return NOTHING
    return figure_of_setting(chosen, column, stage)


def figure_of_setting(runs: pd.DataFrame, column: str, stage: str) -> Figure:
    """Of runs of one setting; one that is there twice counts once."""
    return Figure(runs.drop_duplicates("seed").set_index("seed")[column].astype(float), stage)


def mean_over_deltas(explored: pd.DataFrame, column: str, **setting: Any) -> Figure:
    """The mean of a column over all deltas of the runs of `explored` with this setting."""
    chosen = explored[explored["method"] == "WFN"]
    for key, value in setting.items():
        chosen = chosen[chosen[key] == value]
    if not len(chosen):
        return NOTHING
    return Figure(chosen.pivot_table(column, "seed", "delta").dropna().mean(axis="columns"), "explore")
