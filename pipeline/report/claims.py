"""What the paper claims, and whether what was measured here bears it out.

Figures are means over runs with different seeds, differences and ratios means over pairs with the same seed, which
begin with the same baseline. A verdict is made only where the 95 % interval of the mean leaves the claimed figure out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd
from scipy.stats import t

from pipeline.base.results import Run
from pipeline.base.settings import Settings
from pipeline.report.tables import AS_IS, BASELINE, EUCLIDEAN, FLOAT_BATCH_NORM, SETTING

CONFIDENCE = 0.95
LOSS = 0.3  # points of top-1: what "lossless" is taken to allow
APOT_BITS = 3  # the width that the paper compares with
FEWER, LOWER = 56, 1.9  # times: unique weights and entropy, abstract; counted as the paper's tables count
MOST = 0.5  # share
LATE = 0.9  # share of the weights that is fixed when the last rounds begin
FEW = 4  # values

LOSSLESS = "No loss of top-1"
OURS = "not the paper's"  # a source
RELATIVE = "Relative distance beats the euclidean one at the same δ"

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


class Tally(NamedTuple):
    """How many claims that were measured hold, do not, and are not decided."""

    held: int
    failed: int
    undecided: int

    @property
    def answer(self) -> str:
        """Whether the paper holds, in a few words."""
        if not self.held + self.failed:
            return "Not decided" if self.undecided else "Not measured"
        return f"{self.held} of {sum(self)} claims hold"

    @property
    def others(self) -> str:
        """What became of the claims that do not hold."""
        fail, are = "does" if self.failed == 1 else "do", "is" if self.undecided == 1 else "are"
        return f"{self.failed} {fail} not, {self.undecided} {are} not decided by these runs"


def tally(claims: pd.DataFrame) -> Tally:
    """Of the paper's own claims, of a table as `claims` makes it."""
    verdicts = claims.loc[claims["source"] != OURS, "verdict"]
    return Tally(*(int((verdicts == verdict).sum()) for verdict in (HOLDS, FAILS, UNDECIDED)))


def claims(
    settings: Settings, compared: pd.DataFrame, runs: Sequence[Run], explored: pd.DataFrame, test_images: int
) -> pd.DataFrame:
    """One row per claim: its source, what was measured and over how many runs, what it asks for at least, the verdict.

    compared: as `tables.compared_runs` makes it. runs: of the main setting, with different seeds. explored: as
    `tables.explored_runs` makes it.
    """
    delta, alpha = settings.delta, settings.alpha
    setting = f"δ = {delta:g}"

    def wfn(column: str, delta: float = delta, alpha: float = alpha) -> Figure:
        stage = "fix, repeats" if (delta, alpha) == (settings.delta, settings.alpha) else "sweep, variants"
        return figure_of(compared, column, stage, method="WFN", delta=delta, alpha=alpha)

    def ratio(column: str) -> Figure:
        return figure_of(compared, column, "quantise", method="APoT", bits=APOT_BITS).over(wfn(column))

    def between_deltas(column: str) -> Figure:
        return wfn(column, fine).less(wfn(column, coarse)) if fine < coarse else NOTHING

    def small(column: str, change: str = AS_IS, alpha: float = alpha) -> Figure:
        return mean_over_deltas(explored, column, change=change, alpha=alpha)

    def over_seeds(count: Callable[[Run], float]) -> Figure:
        counts = {run.settings["seed"]: count(run) for run in runs}
        return Figure(pd.Series(counts, dtype=float).dropna(), "fix, repeats")

    def float_norm(column: str) -> Figure:
        return small(column, FLOAT_BATCH_NORM)

    pull = wfn("entropy", alpha=0.0).less(wfn("entropy")) if alpha > 0 else NOTHING
    deltas = sorted(compared.loc[(compared["method"] == "WFN") & (compared["alpha"] == alpha), "delta"])
    fine, coarse = deltas[0], deltas[-1]
    beside, unit = against_smaller(compared, delta, alpha)
    apot = f"APoT, {APOT_BITS} bits"
    rounds, settings_, front = "figure of the rounds", "figure of the settings", "figure of accuracy against size"
    # What is claimed, where, the figure that shows it, and at least what that has to be, in its unit.
    found = [
        (f"{LOSSLESS} at {setting}, within {LOSS} points", "abstract", wfn("drop"), -LOSS, "points"),
        (f"{FEWER} times fewer values than {apot}", "abstract", ratio("unique_as_published"), FEWER, "times"),
        (f"{LOWER} times less entropy than {apot}", "abstract", ratio("entropy_as_published"), LOWER, "times"),
        (f"{FEWER} times fewer values, counted in the whole network", OURS, ratio("unique"), FEWER, "times"),
        (f"{LOWER} times less entropy, of the whole network", OURS, ratio("entropy"), LOWER, "times"),
        (f"{LOWER} times less entropy of indices, without APoT's scales", OURS, ratio("index_entropy"), LOWER, "times"),
        ("Most weights are zero or one power of two", rounds, over_seeds(simple), MOST, "share"),
        ("Most sums of several powers come in the last rounds", rounds, over_seeds(late_sums), MOST, "share"),
        ("Most centres come in the last rounds", rounds, over_seeds(late_centres), MOST, "share"),
        (f"The {FEW} most used values hold most weights", rounds, over_seeds(most_used), MOST, "share"),
        (f"α = {alpha:g} lowers the entropy", settings_, pull, 0, "bits"),
        (f"δ = {coarse:g} is smaller than {fine:g}", front, between_deltas("megabytes"), 0, "MB"),
        (f"δ = {coarse:g} costs top-1 against {fine:g}", front, between_deltas("top1"), 0, "points"),
        (f"{RELATIVE}: top-1", "ablation", small("top1").less(small("top1", EUCLIDEAN)), 0, "points"),
        (f"{RELATIVE}: entropy", "ablation", small("entropy", EUCLIDEAN).less(small("entropy")), 0, "bits"),
        ("Batch-norm left float: more values", settings_, float_norm("unique").over(small("unique")), 1, "times"),
        ("Fixing batch-norm costs no top-1", settings_, small("top1").less(float_norm("top1")), -LOSS, "points"),
        (f"No smaller network beats {setting}", front, beside, 0, unit),
    ]
    one_image = {"points": 100 / test_images}
    measured = [
        (text, source, figure._replace(step=one_image.get(unit, 0.0)), least, unit)
        for text, source, figure, least, unit in found
    ]
    rows = [
        {
            "claim": text,
            "source": source,
            "measured": figure.mean,
            "measured_spread": figure.spread,
            "interval": figure.interval,
            "runs": len(figure.values),
            "least": least,
            "unit": unit,
            "verdict": verdict(figure, least),
            "made_by": figure.stage,
        }
        for text, source, figure, least, unit in measured
    ]
    return pd.DataFrame(rows)


def figure_of(runs: pd.DataFrame, column: str, stage: str, **setting: Any) -> Figure:
    """The figure of the runs with this setting; nothing where there are none, or where they differ in another."""
    chosen = runs
    for key, value in setting.items():
        chosen = chosen[chosen[key] == value]
    if not len(chosen) or len(chosen[SETTING].drop_duplicates()) > 1:
        return NOTHING
    return _figure(chosen, column, stage)


def _figure(runs: pd.DataFrame, column: str, stage: str) -> Figure:
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
    # Shares of a sum of floats: what lies below a billionth is rounding.
    early, last = (round(1 - row["order_0"] - row["order_1"], 9) * row["fixed"] for row in _ends(run))
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


def against_smaller(compared: pd.DataFrame, delta: float, alpha: float) -> tuple[Figure, str]:
    """Top-1 of WFN less the best of the other methods' networks that are not larger, in points.

    Where there is none: how much larger the smallest of them is, in MB. Fixed in other rounds it is WFN still.
    """

    def own(column: str) -> Figure:
        return figure_of(compared, column, "fix, repeats", method="WFN", delta=delta, alpha=alpha)

    rows = compared[~compared["method"].str.startswith("WFN") & (compared["method"] != BASELINE)]
    others = [group for _, group in rows.groupby(SETTING, dropna=False)]
    if not others:
        return NOTHING, "points"
    smaller = [each for each in others if _figure(each, "megabytes", "").mean <= own("megabytes").mean]
    if not smaller:
        smallest = min(others, key=lambda each: _figure(each, "megabytes", "").mean)
        return _figure(smallest, "megabytes", "quantise").less(own("megabytes")), "MB"
    best = max(smaller, key=lambda each: _figure(each, "top1", "").mean)
    return own("top1").less(_figure(best, "top1", "quantise")), "points"
