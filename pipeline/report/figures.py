"""Figures of the report, each a function of data frames (rounds.py has the one over the rounds)."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipeline.report.style import COLOURS, HATCHES, MARKERS, STYLE
from pipeline.report.tables import AS_IS


def accuracy_against_size(table: pd.DataFrame, test_images: int) -> Figure:
    """Top-1 against the size of the packed file, one series per method and alpha, the Pareto front marked.

    The baseline is a line. table: as `tables.quantisers` makes it. test_images: how many top-1 is measured on.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.add_subplot()
        baseline = table[table["method"] == "Baseline"].iloc[0]
        others = table[table["method"] != "Baseline"].sort_values("megabytes", kind="stable")
        label = f"Baseline, {baseline['megabytes']:.1f} MB as float32"
        axes.axhline(baseline["top1"], color=COLOURS[7], linestyle="--", linewidth=1, label=label)
        front = pareto_front(others)
        axes.plot(front["megabytes"], front["top1"], drawstyle="steps-post", color="0.6", linewidth=4, alpha=0.5,
                  marker="o", markersize=15, zorder=1, label="Pareto front")  # fmt: skip
        for i, (series, group) in enumerate(others.groupby(_series(others), sort=True)):
            spread = group.get("top1_spread")
            axes.errorbar(
                group["megabytes"], group["top1"], spread, marker=MARKERS[i % len(MARKERS)], markersize=7, capsize=3,
                color=COLOURS[i % len(COLOURS)], linewidth=1, label=str(series),
            )  # fmt: skip
        for _, row in others.iterrows():  # slanted, and WFN's below, so that neighbours do not cover each other
            below = str(row["method"]).startswith("WFN")
            axes.annotate(
                _setting(row), (row["megabytes"], row["top1"]), (-1, -8) if below else (2, 8), rotation=75,
                textcoords="offset points", ha="right" if below else "left", va="top" if below else "bottom",
                rotation_mode="anchor", fontsize=7,
            )  # fmt: skip
        axes.margins(x=0.1, y=0.25)
        axes.set(xlabel="Packed file of the whole network, MB", ylabel=f"Top-1, % of {test_images:,} test images")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
        return figure


def _series(table: pd.DataFrame) -> pd.Series:
    """Name of the series of each row: its method, with alpha where the method has several."""
    several = table.groupby("method")["alpha"].transform("nunique") > 1
    with_alpha = table["method"] + table["alpha"].map(", α = {:g}".format)
    return table["method"].mask(several, with_alpha)


def _setting(row: pd.Series) -> str:
    if pd.notna(row.get("bits")):
        return f"{row['bits']:.0f} bit"
    return f"δ = {row['delta']:g}" if pd.notna(row.get("delta")) else ""


def pareto_front(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that no other row beats in both size and accuracy, smallest first."""
    ordered = table.sort_values(["megabytes", "top1"], ascending=[True, False], kind="stable")
    best = ordered["top1"].cummax()
    return ordered[ordered["top1"] > best.shift(fill_value=float("-inf"))]


def exploration(table: pd.DataFrame, test_images: int) -> Figure:
    """Three by three panels: how alpha, delta and other changes act on top-1, unique values and entropy.

    table: as `tables.explored` makes it; bars are standard deviations over runs. The first two columns are of settings
    without a further change; the third has no lines, because nothing lies between its categories. test_images: how
    many top-1 is measured on.
    """
    runs, baseline = table[table["method"] == "WFN"], table[table["method"] == "Baseline"].iloc[0]
    as_is, changes = runs[runs["change"] == AS_IS], runs["change"].unique().tolist()
    changed_at = runs[runs["change"] != AS_IS]["alpha"].unique()
    columns = (
        ("alpha", "Regulariser α", "delta", "δ", as_is),
        ("delta", "Budget δ", "alpha", "α", as_is),
        ("place", "Change to the method", "delta", "δ", runs[runs["alpha"].isin(changed_at)]),
    )
    rows = (("top1", f"Top-1, % of {test_images:,}"), ("unique", "Unique values"), ("entropy", "Entropy, bits"))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 8), layout="constrained")
        panels = figure.subplots(len(rows), len(columns), sharex="col", sharey="row")
        for column, (x, x_label, series, name, chosen) in enumerate(columns):
            chosen = chosen.assign(place=chosen["change"].map(changes.index))
            for row, (y, y_label) in enumerate(rows):
                axes = panels[row][column]
                for i, (value, group) in enumerate(chosen.groupby(series)):
                    ordered = group.sort_values(x)
                    axes.errorbar(
                        ordered[x], ordered[y], ordered[f"{y}_spread"], marker=MARKERS[i % len(MARKERS)], capsize=3,
                        color=COLOURS[i % len(COLOURS)], linestyle="none" if x == "place" else "-",
                        label=f"{name} = {value:g}",
                    )  # fmt: skip
                if y == "top1":
                    axes.axhline(baseline[y], color=COLOURS[7], linestyle="--", linewidth=1, label="Baseline")
                if y == "unique":
                    axes.set_yscale("log")
                if column == 0:
                    axes.set_ylabel(y_label)
            panels[0][column].legend(fontsize=8)
            panels[-1][column].set_xlabel(x_label)
        panels[-1][-1].set_xticks(range(len(changes)), [change.replace(" ", "\n") for change in changes])
        panels[-1][-1].margins(x=0.3)
        return figure


def layerwise(table: pd.DataFrame) -> Figure:
    """Distinct values, those up to and including a layer, and entropy, per parameter from input to output.

    The values up to a layer are counted twice: as a union, and as the paper's figure draws them, the layers' counts
    added up. table: as `weights.layerwise` makes it.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 7.5), layout="constrained")
        unique, cumulative, entropy = figure.subplots(3, 1, sharex=True)
        places = range(1, len(table) + 1)
        kinds = table["kind"]
        for axes, column, label in ((unique, "unique", "Unique values"), (entropy, "entropy", "Entropy, bits")):
            for i, kind in enumerate(kinds.unique()):
                mine = kinds == kind
                axes.bar(
                    [place for place, chosen in zip(places, mine, strict=True) if chosen], table[column][mine],
                    color=COLOURS[i % len(COLOURS)], hatch=HATCHES[i % len(HATCHES)], label=kind, edgecolor="white",
                    linewidth=0.3,
                )  # fmt: skip
            axes.set_ylabel(label)
        unique.legend(ncols=len(kinds.unique()), loc="upper left", fontsize=8)
        for i, (column, label) in enumerate(CUMULATIVE.items()):
            cumulative.plot(places, table[column], marker=MARKERS[i], markersize=4, color=COLOURS[i], label=label)
        cumulative.set_yscale("log")  # the sum is many times the union
        cumulative.set_ylabel("Unique up to here")
        cumulative.legend(loc="upper left", fontsize=8)
        entropy.set_xlabel(f"Parameter, from input to output (n = {len(table)}, {table['weights'].sum():,} weights)")
        return figure


CUMULATIVE = {
    "cumulative_unique": "distinct so far (union)",
    "cumulative_sum": "sum of the layers' counts, as the paper draws it",
}


def what_changed(distribution: pd.DataFrame, moved: pd.DataFrame, layers: pd.DataFrame) -> Figure:
    """Weights before and after, how far they moved relative to their size, and the same per layer.

    The frames are those of `weights.distribution`, `weights.moved` and `weights.layerwise`.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 7), layout="constrained")
        grid = figure.add_gridspec(2, 2)
        values, distances, per_layer = (figure.add_subplot(place) for place in (grid[0, 0], grid[0, 1], grid[1, :]))
        width = distribution["value"].iloc[1] - distribution["value"].iloc[0]
        values.bar(distribution["value"], distribution["after"], width, color=COLOURS[1], label="after")
        values.step(distribution["value"], distribution["before"], where="mid", color=COLOURS[0], label="before")
        values.set(title="Distribution", xlabel="Weight", ylabel=f"Share of all weights per {width:.2g}", yscale="log")
        values.legend()
        distances.plot(moved["distance"], moved["share"], color=COLOURS[0])
        distances.set(
            title="Distance moved", xlabel="Relative distance |w' - w| / |w|", xscale="log",
            ylabel="Share of weights moved at most so far", ylim=(0, 1.02),
        )  # fmt: skip
        distances.yaxis.set_major_formatter(PercentFormatter(1))
        _per_layer(per_layer, layers)
        return figure


def _per_layer(axes: Axes, layers: pd.DataFrame) -> None:
    axes.bar(range(1, len(layers) + 1), layers["moved"], color=COLOURS[0])
    axes.set(
        title="Per layer", xlabel=f"Parameter, from input to output (n = {len(layers)})",
        ylabel="Median relative distance",
    )  # fmt: skip
