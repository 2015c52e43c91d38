"""The figure over the fixing rounds of one network, from its iterations.csv and centres.csv."""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from pipeline.report.style import COLOURS, HATCHES, PAPER, Panel, Picture, legend_below

MOST_USED = 15


def rounds(iterations: pd.DataFrame, centres: pd.DataFrame) -> Picture:
    """Four panels: what is fixed, how many centres, sums of how many powers of two, and the values used most."""
    top = centres.head(MOST_USED)
    first, last = iterations["centres"].iloc[0], iterations["centres"].iloc[-1]
    simple = centres.loc[centres["term_count"] <= 1, "share"].sum()
    return Picture(
        panels=[
            Panel("Weights fixed", partial(_share_fixed, iterations=iterations)),
            Panel("Centres as the budget shrinks", partial(_centres, iterations=iterations)),
            Panel("Terms per fixed weight", partial(_orders, iterations=iterations)),
            Panel(f"The {len(top)} most used of {len(centres)} values", partial(_most_used, top=top)),
        ],
        columns=2,
        says=f"{first:.0f} centres after the first round, {last:.0f} after the last; {simple:.1%} of the fixed weights "
        f"are zero or one power of two, and the {len(top)} values used most hold {top['share'].sum():.1%} of them.",
    )


def _rounds_axis(axes: Axes, iterations: pd.DataFrame) -> pd.Series:
    numbers = iterations["round"] + 1
    axes.set_xticks(numbers)
    axes.set_xlabel("Round")
    return numbers


def _share_fixed(axes: Axes, iterations: pd.DataFrame) -> None:
    numbers = _rounds_axis(axes, iterations)
    shares = iterations["fixed"]
    axes.bar(numbers, shares, color=COLOURS[0], label="fixed")
    axes.bar(numbers, 1 - shares, bottom=shares, color=COLOURS[1], hatch=HATCHES[1], edgecolor=PAPER, label="free")
    axes.set_ylabel("Share of the weights")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    legend_below(axes)


def _centres(axes: Axes, iterations: pd.DataFrame) -> None:
    numbers = _rounds_axis(axes, iterations)
    axes.plot(numbers, iterations["centres"], marker="o", color=COLOURS[0], label="centres")
    axes.set_ylabel("Values of the fixed weights")
    axes.set_ylim(bottom=0)
    budget = axes.twinx()
    budget.plot(numbers, iterations["delta_t"], marker="s", linestyle="--", color=COLOURS[1])
    budget.set_ylabel("Budget, relative distance")
    budget.set_ylim(bottom=0)
    budget.grid(visible=False)
    budget.spines["right"].set_visible(True)
    axes.plot([], [], marker="s", linestyle="--", color=COLOURS[1], label="budget")  # for the legend
    legend_below(axes)


def _orders(axes: Axes, iterations: pd.DataFrame) -> None:
    numbers = _rounds_axis(axes, iterations)
    bottom = pd.Series(0.0, index=iterations.index)
    columns = [name for name in iterations.columns if name.startswith("order_") and iterations[name].any()]
    for i, name in enumerate(columns):
        terms = name.removeprefix("order_").replace("_up", " or more")
        label = "zero" if terms == "0" else f"{terms} power{'' if terms == '1' else 's'} of two"
        axes.bar(
            numbers, iterations[name], bottom=bottom, color=COLOURS[i], hatch=HATCHES[i], edgecolor=PAPER, label=label
        )
        bottom = bottom + iterations[name]
    axes.set_ylabel("Share of the fixed weights")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    legend_below(axes)


def _most_used(axes: Axes, top: pd.DataFrame) -> None:
    rising = top.iloc[::-1]
    axes.barh([f"{value:g}" for value in rising["value"]], rising["share"], color=COLOURS[0])
    for place, (terms, share) in enumerate(zip(rising["terms"], rising["share"], strict=True)):
        axes.annotate(str(terms), (share, place), (3, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_xlabel("Share of the fixed weights")
    axes.tick_params(axis="y", labelsize=7)
    axes.margins(x=0.25)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
