"""The figure over the fixing rounds of one network: four panels, each from a data frame."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipeline.report.style import COLOURS, HATCHES, STYLE

MOST_USED = 15


def rounds(iterations: pd.DataFrame, centres: pd.DataFrame) -> Figure:
    """The four panels over the fixing rounds of one network, from its iterations.csv and centres.csv."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 7), layout="constrained")
        (fixed, count), (orders, used) = figure.subplots(2, 2)
        _share_fixed(fixed, iterations)
        _centres(count, iterations)
        _orders(orders, iterations)
        _most_used(used, centres)
        return figure


def _rounds_axis(axes: Axes, iterations: pd.DataFrame) -> pd.Series:
    numbers = iterations["round"] + 1
    axes.set_xticks(numbers)
    axes.set_xlabel("Round")
    return numbers


def _share_fixed(axes: Axes, iterations: pd.DataFrame) -> None:
    numbers = _rounds_axis(axes, iterations)
    shares = iterations["fixed"]
    axes.bar(numbers, shares, color=COLOURS[0], label="fixed")
    axes.bar(numbers, 1 - shares, bottom=shares, color=COLOURS[1], hatch=HATCHES[1], label="free")
    axes.set(title="Weights fixed", ylabel="Share of the weights")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _legend_below(axes)


def _legend_below(axes: Axes) -> None:
    """Where it covers no bar."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3, handlelength=1.5)


def _centres(axes: Axes, iterations: pd.DataFrame) -> None:
    numbers = _rounds_axis(axes, iterations)
    axes.plot(numbers, iterations["centres"], marker="o", color=COLOURS[0], label="centres")
    axes.set(title="Centres as the budget shrinks", ylabel="Distinct values of the fixed weights")
    axes.set_ylim(bottom=0)
    budget = axes.twinx()
    budget.plot(numbers, iterations["delta_t"], marker="s", linestyle="--", color=COLOURS[1], label="budget")
    budget.yaxis.label.set_parse_math(True)
    budget.set_ylabel(r"Budget $\delta_t$, mean relative distance")
    budget.set_ylim(bottom=0)
    budget.grid(visible=False)
    budget.spines["right"].set_visible(True)
    lines = [*axes.get_lines(), *budget.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], loc="upper center")


def _orders(axes: Axes, iterations: pd.DataFrame) -> None:
    numbers = _rounds_axis(axes, iterations)
    bottom = pd.Series(0.0, index=iterations.index)
    columns = [name for name in iterations.columns if name.startswith("order_") and iterations[name].any()]
    for i, name in enumerate(columns):
        terms = name.removeprefix("order_").replace("_up", " or more")
        label = "zero" if terms == "0" else f"{terms} power{'' if terms == '1' else 's'} of two"
        axes.bar(numbers, iterations[name], bottom=bottom, color=COLOURS[i], hatch=HATCHES[i], label=label)
        bottom = bottom + iterations[name]
    axes.set(title="Terms per fixed weight", ylabel="Share of the fixed weights")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _legend_below(axes)


def _most_used(axes: Axes, centres: pd.DataFrame) -> None:
    top = centres.head(MOST_USED).iloc[::-1]
    axes.barh([f"{value:g}" for value in top["value"]], top["share"], color=COLOURS[0])
    for place, (terms, share) in enumerate(zip(top["terms"], top["share"], strict=True)):
        axes.annotate(str(terms), (share, place), (3, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set(
        title=f"The {len(top)} most used of {len(centres)} values",
        xlabel=f"Share of {centres['count'].sum():,} weights",
    )
    axes.margins(x=0.2)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
