"""The figures of a network's layers, and of what became of its weights."""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from pipeline.report.style import (
    COLOURS,
    HATCHES,
    HEIGHT,
    MARKERS,
    PAPER,
    Panel,
    Picture,
    legend_below,
    logarithmic,
    short,
)

FURTHEST = 12  # parameters
ROW, MOST_ROWS = 0.15, 80  # inches of a row with a parameter's name; of more rows only some have theirs
CUMULATIVE = {"cumulative_unique": "union", "cumulative_sum": "sum, as in the paper"}


def layerwise(table: pd.DataFrame) -> Picture:
    """Distinct values, those up to and including a layer, and entropy, per parameter from input to output.

    The values up to a layer are counted twice: as a union, and as the paper's figure draws them, the layers' counts
    added up. table: as `weights.layerwise` makes it.
    """
    height = _height(table)
    most, last = table.iloc[table["unique"].argmax()], table.iloc[-1]
    return Picture(
        panels=[
            Panel("Values of each parameter", partial(_bars, table=table, column="unique", label="Values"), height),
            Panel("Values up to here", partial(_cumulative, table=table), height),
            Panel("Entropy", partial(_bars, table=table, column="entropy", label="Bits per weight"), height),
        ],
        columns=3,
        says=f"From input (top) to output, {len(table)} parameters. {most['parameter']} has the most values, "
        f"{most['unique']:,.0f}; the whole network has {last['cumulative_unique']:,.0f}, the layers' own counts add up "
        f"to {last['cumulative_sum']:,.0f}.",
    )


def what_changed(distribution: pd.DataFrame, moved: pd.DataFrame, layers: pd.DataFrame) -> Picture:
    """Weights before and after, how far they moved relative to their size, and which parameters moved furthest.

    The frames are those of `weights.distribution`, `weights.moved` and `weights.layerwise`.
    """
    most = layers.iloc[layers["moved"].argmax()]
    half = moved["distance"].iloc[int((moved["share"] < 0.5).sum())] if moved["share"].iloc[-1] >= 0.5 else None
    median = "" if half is None else f"Half of the weights moved by less than {half:.2g} of their size. "
    furthest = layers.nlargest(FURTHEST, "moved")
    per_layer = partial(_bars, table=furthest, column="moved", label="Median relative distance")
    return Picture(
        panels=[
            Panel("Distribution", partial(_distribution, table=distribution)),
            Panel("Distance moved", partial(_moved, table=moved)),
            Panel("Parameters that moved furthest", per_layer),
        ],
        columns=3,
        says=f"{median}{most['parameter']} moved furthest, its median weight by {most['moved']:.2f}.",
    )


def _height(table: pd.DataFrame) -> float:
    return max(HEIGHT, 1.2 + ROW * min(len(table), MOST_ROWS))


def _names(axes: Axes, table: pd.DataFrame) -> None:
    """The parameters' names, from input to output."""
    step = -(-len(table) // MOST_ROWS)
    axes.set_yticks(range(0, len(table), step), table["parameter"][::step].map(short), fontsize=7)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def _bars(axes: Axes, table: pd.DataFrame, column: str, label: str) -> None:
    """A bar for each parameter; kinds of parameters look different."""
    places = pd.Series(range(len(table)), index=table.index)
    for i, kind in enumerate(table["kind"].unique()):
        mine = table["kind"] == kind
        axes.barh(
            places[mine], table[column][mine], color=COLOURS[i % len(COLOURS)], hatch=HATCHES[i % len(HATCHES)],
            edgecolor=PAPER, linewidth=0.3, label=kind,
        )  # fmt: skip
    _names(axes, table)
    axes.set_xlabel(label)
    legend_below(axes)


def _cumulative(axes: Axes, table: pd.DataFrame) -> None:
    for i, (column, label) in enumerate(CUMULATIVE.items()):
        axes.plot(
            table[column],
            range(len(table)),
            marker=MARKERS[i],
            markersize=3,
            color=COLOURS[i],
            label=label,
            linewidth=1,
        )
    logarithmic(axes, "x")  # the sum is many times the union
    _names(axes, table)
    axes.set_xlabel("Values")
    legend_below(axes)


def _distribution(axes: Axes, table: pd.DataFrame) -> None:
    width = table["value"].iloc[1] - table["value"].iloc[0]
    axes.bar(table["value"], table["after"], width, color=COLOURS[1], label="after")
    axes.step(table["value"], table["before"], where="mid", color=COLOURS[0], label="before")
    axes.set(xlabel="Weight", ylabel=f"Share of all weights per {width:.2g}")
    logarithmic(axes, "y")
    legend_below(axes)


def _moved(axes: Axes, table: pd.DataFrame) -> None:
    axes.plot(table["distance"], table["share"], color=COLOURS[0])
    axes.set(xlabel="Relative distance |w' - w| / |w|", ylabel="Share moved at most so far", ylim=(0, 1.02))
    logarithmic(axes, "x")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
