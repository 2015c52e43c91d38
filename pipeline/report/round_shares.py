"""What the rounds of fixing show of one network: shares that the paper makes claims about."""

from __future__ import annotations

import math

import pandas as pd

from pipeline.base.results import Run

LATE = 0.99  # share of the weights that is fixed when the last rounds begin: three of ten rounds
FEW = 4  # values


def simple(run: Run) -> float:
    """Share of the fixed weights that are zero or one power of two."""
    return float(_centres(run).query("term_count <= 1")["share"].sum())


def most_used(run: Run) -> float:
    """Share of the fixed weights that have one of the few most used values."""
    return float(_centres(run)["share"].nlargest(FEW).sum())


def late_centres(run: Run) -> float:
    """Share of the centres that were not there yet when the last rounds began; NaN of a run of one round."""
    early, last = (row["centres"] for row in _ends(run))
    return max(0.0, 1 - early / last) if _has_rounds(run) else math.nan


def late_sums(run: Run) -> float:
    """Share, of the weights that are sums of several powers of two, that were not yet when the last rounds began.

    NaN where there are none, and of a run of one round.
    """
    return _late(run, ["order_0", "order_1"])


def late_long_sums(run: Run) -> float:
    """The same of sums of three powers or more."""
    return _late(run, ["order_0", "order_1", "order_2"])


def _late(run: Run, shorter: list[str]) -> float:
    # Shares of a sum of floats: what lies below a billionth is rounding.
    early, last = (round(1 - sum(row[order] for order in shorter), 9) * row["fixed"] for row in _ends(run))
    return max(0.0, 1 - early / last) if last > 0 and _has_rounds(run) else math.nan


def _has_rounds(run: Run) -> bool:
    assert run.iterations is not None
    return len(run.iterations) > 1


def _ends(run: Run) -> tuple[pd.Series, pd.Series]:
    """The round after which the last rounds begin, the first at the latest, and the last one."""
    assert run.iterations is not None
    rows = run.iterations
    return rows.iloc[max(0, int((rows["fraction"] <= LATE).sum()) - 1)], rows.iloc[-1]


def _centres(run: Run) -> pd.DataFrame:
    assert run.centres is not None
    return run.centres
