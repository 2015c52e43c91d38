"""The figure that says what each method costs and saves: top-1 against the size of the packed file."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import partial

import pandas as pd
from matplotlib.axes import Axes

from pipeline.report.comparisons import BASELINE, row_settings
from pipeline.report.formats import texts
from pipeline.report.style import COLOURS, HEIGHT, INK, MARKERS, SOFT, Panel, Picture, legend_below, short

ROW = 0.4  # inches of a row with two lines of text


def accuracy_against_size(table: pd.DataFrame, test_images: int) -> Picture:
    """What is lost, what is left, and both against each other with the front of what nothing else beats in both.

    table: as `comparisons.quantisers` makes it. test_images: how many top-1 is measured on.
    """
    baseline, rows = table[table["method"] == BASELINE].iloc[0], _rows(table)
    best = " · ".join(_said(row) for row in texts(pareto_front(rows)).to_dict("records"))
    height = max(HEIGHT, 1.0 + ROW * len(rows))
    both = partial(_both, rows=rows, top1=float(baseline["top1"]), test_images=test_images)
    return Picture(
        panels=[
            Panel("What is lost", partial(_lost, rows=rows), height),
            Panel(f"What is left of {baseline['megabytes']:.1f} MB", partial(_left, rows=rows), height),
            Panel("Both, and the front", both, height),
        ],
        columns=3,
        says=f"By their means, nothing is both smaller and as accurate as these, the front, in bold: {best}.",
    )


def _said(row: Mapping[Hashable, str]) -> str:
    """A row of the front, as text, in words."""
    called = ", ".join(filter(None, (row["method"], row["setting"])))
    alone = ", one run" if row["runs"] == "1" else ""
    return f"{called}: {row['megabytes']} MB, {row['top1']} %{alone}"


def pareto_front(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that no other row beats in both size and accuracy, smallest first."""
    ordered = table.sort_values(["megabytes", "top1"], ascending=[True, False], kind="stable")
    best = ordered["top1"].cummax()
    return ordered[ordered["top1"] > best.shift(fill_value=float("-inf"))]


def _rows(table: pd.DataFrame) -> pd.DataFrame:
    """All rows but the baseline's, the smallest first, with what they are called and how they look."""
    rows = table[table["method"] != BASELINE].sort_values("megabytes", kind="stable", ignore_index=True)
    methods = list(dict.fromkeys(rows["method"]))
    look = rows["method"].map(methods.index)
    spreads = {f"{name}_spread": rows.get(f"{name}_spread", float("nan")) for name in ("top1", "drop")}
    return rows.assign(
        **spreads,
        setting=row_settings(rows),
        colour=[COLOURS[i % len(COLOURS)] for i in look],
        marker=[MARKERS[i % len(MARKERS)] for i in look],
    )


def _names(axes: Axes, rows: pd.DataFrame) -> None:
    """What the rows are called; those on the front are bold."""
    axes.set_yticks(range(len(rows)), rows["method"].map(short) + "\n" + rows["setting"], fontsize=8)
    for place in pareto_front(rows).index:
        axes.get_yticklabels()[place].set_fontweight("bold")
    axes.set_ylim(len(rows) - 0.5, -0.5)  # the smallest network on top


def _lost(axes: Axes, rows: pd.DataFrame) -> None:
    axes.axvline(0, color=INK, linestyle="--", linewidth=1)
    for place, row in enumerate(rows.to_dict("records")):
        axes.errorbar(row["drop"], place, xerr=row["drop_spread"], capsize=3, color=row["colour"], marker=row["marker"])
    _names(axes, rows)
    axes.set_xlabel("Change of top-1, points")


def _left(axes: Axes, rows: pd.DataFrame) -> None:
    axes.barh(range(len(rows)), rows["megabytes"], color=rows["colour"])
    for place, size in enumerate(rows["megabytes"]):
        axes.annotate(f"{size:.2f}", (size, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
    _names(axes, rows)
    axes.margins(x=0.2)
    axes.set_xlabel("Packed file, MB")


def _both(axes: Axes, rows: pd.DataFrame, top1: float, test_images: int) -> None:
    front = pareto_front(rows)
    axes.axhline(top1, color=INK, linestyle="--", linewidth=1)
    axes.plot(front["megabytes"], front["top1"], drawstyle="steps-post", color=SOFT, linewidth=1)
    for method, group in rows.groupby("method", sort=False):
        axes.errorbar(
            group["megabytes"], group["top1"], group["top1_spread"], color=group["colour"].iloc[0], linestyle="none",
            marker=group["marker"].iloc[0], capsize=3, label=short(str(method)),
        )  # fmt: skip
    axes.set(xlabel="Packed file, MB", ylabel=f"Top-1, % of {test_images:,} test images")
    legend_below(axes)
