"""What the paper claims, and whether what was measured here bears it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd

from pipeline.base.results import Run
from pipeline.base.settings import Settings
from pipeline.report.comparisons import AS_IS, BASELINE, EUCLIDEAN, FLOAT_BATCH_NORM, SETTING
from pipeline.report.evidence import (
    FAILS,
    HOLDS,
    NOTHING,
    UNDECIDED,
    Figure,
    figure_of,
    figure_of_setting,
    mean_over_deltas,
    verdict,
)
from pipeline.report.round_shares import (
    FEW,
    LATE,
    late_centres,
    late_long_sums,
    late_sums,
    most_used,
    simple,
)

LOSS = 0.3  # points of top-1: what "lossless" is taken to allow
APOT_BITS = 3  # the width that the paper compares with
# Times, abstract: unique weights and entropy, counted as the paper's tables count. They are of the network below, whose
# thousands of float batch-norm weights and biases make nearly all of APoT's values; another has another share of them.
FEWER, LOWER = 56, 1.9
CLAIMED_FOR = "resnet18"
MOST = 0.5  # share
PULLED = 1  # bits a weight that the pull has to take off

LOSSLESS = "No loss of top-1"
OURS = "not the paper's"  # a source
RELATIVE = "Relative distance beats the euclidean one"


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

    compared: as `comparisons.compared_runs` makes it. runs: of the main setting, with different seeds. explored: as
    `comparisons.explored_runs` makes it.
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

    def small(column: str, change: str = AS_IS) -> Figure:
        """Over the δ that the main network has, at most: beyond them a network may be lost, and a mean with it."""
        return mean_over_deltas(explored[explored["delta"] <= coarse], column, change=change, alpha=alpha)

    def over_seeds(count: Callable[[Run], float]) -> Figure:
        counts = {run.settings["seed"]: count(run) for run in runs}
        return Figure(pd.Series(counts, dtype=float).dropna(), "fix, repeats")

    def float_norm(column: str) -> Figure:
        return small(column, FLOAT_BATCH_NORM)

    def by_pull(column: str) -> Figure:
        return wfn(column, alpha=0.0).less(wfn(column)) if alpha > 0 else NOTHING

    deltas = sorted(compared.loc[(compared["method"] == "WFN") & (compared["alpha"] == alpha), "delta"])
    fine, coarse = deltas[0], deltas[-1]
    apot = f"APoT, {APOT_BITS} bits"
    own_network = settings.model.name.removesuffix(".tv_in1k") == CLAIMED_FOR
    fewer, lower = (FEWER, LOWER) if own_network else (1, 1)
    more, less = (f"{FEWER} times f", f"{LOWER} times l") if own_network else ("F", "L")
    late = f"after {LATE:.0%} are fixed"
    rounds, settings_, front = "figure of the rounds", "figure of the settings", "figure of accuracy against size"
    # What is claimed, where, the figure that shows it, and at least what that has to be, in its unit.
    found = [
        (f"{LOSSLESS} at {setting}, within {LOSS} points", "abstract", wfn("drop"), -LOSS, "points"),
        (f"{more}ewer values than {apot}", "abstract", ratio("unique_as_published"), fewer, "times"),
        (f"{less}ess entropy than {apot}", "abstract", ratio("entropy_as_published"), lower, "times"),
        (f"{more}ewer values, counted in the whole network", OURS, ratio("unique"), fewer, "times"),
        (f"Fewer values than {apot}, without batch-norm", OURS, ratio("unique_no_bn"), 1, "times"),
        ("The same, without first and last layer, too", OURS, ratio("unique_no_bn_first_last"), 1, "times"),
        (f"{less}ess entropy, of the whole network", OURS, ratio("entropy"), lower, "times"),
        (f"{less}ess entropy, of the weights that act", OURS, ratio("entropy_acting"), lower, "times"),
        (f"{less}ess entropy of indices, without APoT's scales", OURS, ratio("index_entropy"), lower, "times"),
        (f"Smaller than {apot}, by the paper's coder", OURS, ratio("lzw_megabytes"), 1, "times"),
        ("Most weights are zero or one power of two", rounds, over_seeds(simple), MOST, "share"),
        (f"Most sums of several powers come {late}", rounds, over_seeds(late_sums), MOST, "share"),
        (f"Most sums of three powers or more come {late}", OURS, over_seeds(late_long_sums), MOST, "share"),
        (f"Most centres come {late}", rounds, over_seeds(late_centres), MOST, "share"),
        (f"The {FEW} most used values hold most weights", rounds, over_seeds(most_used), MOST, "share"),
        (f"α = {alpha:g} lowers the entropy of the weights that act", settings_, by_pull("entropy_acting"), 0, "bits"),
        (f"α = {alpha:g} saves {PULLED} bit, of the whole network", OURS, by_pull("entropy"), PULLED, "bits"),
        (f"α = {alpha:g} makes fewer values", OURS, by_pull("unique"), 0, "values"),
        (f"δ = {coarse:g} is smaller than {fine:g}", front, between_deltas("megabytes"), 0, "MB"),
        (f"δ = {coarse:g} needs fewer values than {fine:g}", settings_, between_deltas("unique"), 0, "values"),
        (f"δ = {coarse:g} costs top-1 against {fine:g}", front, between_deltas("top1"), 0, "points"),
        (f"{RELATIVE}: top-1", "ablation", small("top1").less(small("top1", EUCLIDEAN)), 0, "points"),
        (f"{RELATIVE}: values", "ablation", small("unique", EUCLIDEAN).less(small("unique")), 0, "values"),
        (f"{RELATIVE}: entropy", "ablation", small("entropy", EUCLIDEAN).less(small("entropy")), 0, "bits"),
        ("Batch-norm left float: more entropy", settings_, float_norm("entropy").less(small("entropy")), 0, "bits"),
        ("Batch-norm left float: more values", settings_, float_norm("unique").less(small("unique")), 0, "values"),
        ("Fixing batch-norm costs no top-1", settings_, small("top1").less(float_norm("top1")), -LOSS, "points"),
        (f"No smaller network beats {setting}", front, against_smaller(compared, delta, alpha), 0, "points"),
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


def against_smaller(compared: pd.DataFrame, delta: float, alpha: float) -> Figure:
    """Top-1 of WFN less that of the best of the other methods' networks that are not larger, in points.

    The best is the one that loses the least, of those with as many runs as WFN, if there are any. Fixed in other rounds
    it is WFN still. Nothing where no network was made that small.
    """

    def own(column: str) -> Figure:
        return figure_of(compared, column, "fix, repeats", method="WFN", delta=delta, alpha=alpha)

    rows = compared[~compared["method"].str.startswith("WFN") & (compared["method"] != BASELINE)]
    others = [group for _, group in rows.groupby(SETTING, dropna=False)]
    smaller = [each for each in others if figure_of_setting(each, "megabytes", "").mean <= own("megabytes").mean]
    if not smaller:
        return NOTHING
    known = [each for each in smaller if each["seed"].nunique() >= len(own("top1").values)] or smaller
    best = max(known, key=lambda each: figure_of_setting(each, "drop", "").mean)
    return own("top1").less(figure_of_setting(best, "top1", "quantise"))
