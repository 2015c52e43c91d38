"""The figure on how the settings act: the paper's, on a small network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pandas as pd
from matplotlib.axes import Axes

from pipeline.report.comparisons import AS_IS, BASELINE, explored
from pipeline.report.evidence import FAILS, HOLDS, Figure, figure_of_setting, verdict
from pipeline.report.style import COLOURS, INK, MARKERS, Panel, Picture, legend_below, logarithmic

PLACE = "change"  # categories


@dataclass(frozen=True)
class _Across:
    """What panels below each other share: rows of the table, what they have on the x axis, and what a series is."""

    rows: pd.DataFrame
    column: str
    name: str
    label: str
    series: tuple[str, str]


@dataclass(frozen=True)
class _Up:
    """What panels beside each other share: the y axis, and the baseline where it has one."""

    column: str
    name: str
    label: str
    baseline: float | None = None


def exploration(found: pd.DataFrame, test_images: int) -> Picture:
    """Three by three panels: how alpha, delta and other changes act on top-1, unique values and entropy.

    found: as `comparisons.explored_runs` makes it; bars are standard deviations over runs. The first two columns are of
    settings without a further change; the third has no lines, because nothing lies between its categories. A column
    without runs is left out. test_images: how many top-1 is measured on.
    """
    table = explored(found)
    runs, baseline = table[table["method"] != BASELINE], table[table["method"] == BASELINE].iloc[0]
    as_is, changed = runs[runs["change"] == AS_IS], runs[runs["change"] != AS_IS]
    by_delta = ("delta", "δ")
    every = (
        _Across(as_is, "alpha", "α", "Regulariser α", by_delta),
        _Across(as_is, "delta", "δ", "Budget δ", ("alpha", "α")),
        _Across(runs[runs["alpha"].isin(changed["alpha"])], PLACE, "change", "Change to the method", by_delta),
    )
    across = [each for each in every if len(each.rows)]
    up = (
        _Up("top1", "Top-1", f"Top-1, % of {test_images:,}", float(baseline["top1"])),
        _Up("unique", "Values", "Unique values"),
        _Up("entropy", "Entropy", "Entropy, bits"),
    )
    panels = [Panel(f"{y.name} by {x.name}", partial(_draw, x=x, y=y)) for y in up for x in across]
    return Picture(panels, columns=len(across), says=_says(found[found["change"] == AS_IS], 100 / test_images))


def _says(runs: pd.DataFrame, one_image: float) -> str:
    """In figures, what alpha does at the middle delta, and delta at the middle alpha; empty without runs.

    one_image: what a test image is of top-1, points.
    """
    if not len(runs):
        return ""
    deltas, alphas = sorted(runs["delta"].unique()), sorted(runs["alpha"].unique())
    delta, alpha = deltas[len(deltas) // 2], alphas[len(alphas) // 2]
    by_alpha = _change(runs[runs["delta"] == delta], "alpha", "entropy")
    by_delta, top1 = (_change(runs[runs["alpha"] == alpha], "delta", column) for column in ("entropy", "top1"))
    return (
        f"At δ = {delta:g}, α from {alphas[0]:g} to {alphas[-1]:g}: {_in_words(by_alpha, 'entropy', 'bits')}. "
        f"At α = {alpha:g}, δ from {deltas[0]:g} to {deltas[-1]:g}: {_in_words(by_delta, 'entropy', 'bits')}, "
        f"{_in_words(top1._replace(step=one_image), 'top-1', 'points')}."
    )


def _change(runs: pd.DataFrame, setting: str, column: str) -> Figure:
    """By how much a column differs, seed by seed, between the largest and the least value of a setting."""
    most, least = (
        figure_of_setting(runs[runs[setting] == end], column, "") for end in (runs[setting].max(), runs[setting].min())
    )
    return most.less(least)


def _in_words(change: Figure, name: str, unit: str) -> str:
    """What a change is, where the runs tell it from none."""
    if verdict(change, 0) in (HOLDS, FAILS):
        return f"{name} {change.mean:+.2f} ± {change.spread:.2f} {unit}"
    count = len(change.values)
    return f"{name} not decided by {f'{count} runs' if count > 1 else 'one run'}"


def _ends(runs: pd.DataFrame, y: _Up) -> tuple[float, float]:
    """The ends of an axis with room for all figures of these runs: the same for panels of the same runs."""
    spread = runs[f"{y.column}_spread"].fillna(0)
    figures = [*(runs[y.column] - spread), *(runs[y.column] + spread), *([y.baseline] if y.baseline else [])]
    low, high = min(figures), max(figures)
    if y.column == "unique":  # a logarithmic axis
        return max(low, 1) / 1.3, high * 1.3
    room = 0.05 * (high - low) or 1.0
    return low - room, high + room


def _draw(axes: Axes, x: _Across, y: _Up) -> None:
    categories = x.rows[PLACE].unique().tolist()
    column, name = x.series
    for i, (value, group) in enumerate(x.rows.groupby(column)):
        ordered = group.sort_values(x.column)
        places = [categories.index(each) for each in ordered[PLACE]] if x.column == PLACE else ordered[x.column]
        axes.errorbar(
            places, ordered[y.column], ordered[f"{y.column}_spread"], marker=MARKERS[i % len(MARKERS)], capsize=3,
            color=COLOURS[i % len(COLOURS)], linestyle="none" if x.column == PLACE else "-", label=f"{name} {value:g}",
        )  # fmt: skip
    if y.baseline is not None:
        axes.axhline(y.baseline, color=INK, linestyle="--", linewidth=1, label="baseline")
    if y.column == "unique":
        logarithmic(axes, "y")
    axes.set(xlabel=x.label, ylabel=y.label, ylim=_ends(x.rows, y))
    if x.column == PLACE:
        axes.set_xticks(range(len(categories)), [each.replace(" ", "\n") for each in categories])
        axes.margins(x=0.3)
    legend_below(axes, points=40 if x.column == PLACE else 30, columns=3)
