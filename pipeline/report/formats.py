"""Frames as text for people: Markdown, LaTeX and HTML, with headings and number formats by column."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.report.columns import SPREAD, column


@dataclass(frozen=True)
class Table:
    """A frame to be shown.

    first: its columns that are always in sight, in this order; a switch shows the rest. All of them without any.
    compared: by row, whether it takes part where the best of a column is marked. links: addresses that the rows' names
    lead to; empty where one leads nowhere.
    """

    frame: pd.DataFrame
    first: Sequence[str] = ()
    compared: pd.Series | None = None
    links: Sequence[str] = ()


def shown(frame: pd.DataFrame) -> list[str]:
    """The columns that are shown: a `*_spread` is printed inside the column that it belongs to."""
    return [name for name in map(str, frame.columns) if name.removesuffix(SPREAD) not in set(frame.columns) - {name}]


def texts(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as text, by the names of its columns; an empty cell where there is no value."""
    return pd.DataFrame({name: _texts(frame, name) for name in shown(frame)}, index=frame.index)


def _texts(frame: pd.DataFrame, name: str) -> list[str]:
    spread = f"{name}{SPREAD}"
    words = frame[name].map({True: "yes", False: "no"}) if pd.api.types.is_bool_dtype(frame[name]) else frame[name]
    of_numbers = "{:" in column(name).form  # a word in such a column says why there is no number
    cells = [
        "" if pd.isna(value) else value if of_numbers and isinstance(value, str) else column(name).text(value)
        for value in words
    ]
    if spread not in frame:
        return cells
    beside = ["" if pd.isna(value) else f" ± {column(spread).text(value)}" for value in frame[spread]]
    return [cell and cell + more for cell, more in zip(cells, beside, strict=True)]


def to_markdown(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table, numbers formatted."""
    headings, *rows = _rows(frame)
    return "\n".join(f"| {' | '.join(row)} |" for row in [headings, ["---"] * len(headings), *rows]) + "\n"


def to_latex(frame: pd.DataFrame) -> str:
    """A frame as a LaTeX table with the rules of booktabs, numbers formatted and aligned to the right."""
    columns = "".join("r" if _is_numeric(frame[name]) else "l" for name in shown(frame))
    rows = [[_latex(cell) for cell in cells] for cells in _rows(frame)]
    lines = [" & ".join(cells) + r" \\" for cells in rows]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


LATEX = {"\\": r"\textbackslash{}", **{char: "\\" + char for char in "&%$#_{}"}, "~": r"\textasciitilde{}"}
LATEX |= {"^": r"\textasciicircum{}", "δ": r"$\delta$", "α": r"$\alpha$", "±": r"$\pm$"}


def _latex(text: str) -> str:
    return "".join(LATEX.get(char, char) for char in text)


def to_html(table: Table) -> str:
    """A table as HTML, numbers formatted and aligned; cells carry what they are to be sorted by.

    The first column names the rows. The best of a column, and what the spreads do not tell from it, is strong.
    """
    frame = table.frame
    cells = texts(frame)
    names = [*table.first, *(name for name in cells.columns if name not in table.first)]
    marked = {name: _best(frame, name, table.compared) for name in names}
    classes = {name: _class(frame[name], bool(table.first) and name not in table.first) for name in names}
    head = "".join(_heading(name, classes[name]) for name in names)
    rows = []
    for place in range(len(frame)):
        row = []
        for name in names:
            text, value = html.escape(cells[name].iloc[place]), frame[name].iloc[place]
            by = f' data-value="{"" if pd.isna(value) else value}"' if _is_numeric(frame[name]) else ""
            inside = f"<strong>{text}</strong>" if marked[name][place] else text
            if table.links and table.links[place] and name == names[0]:
                inside = f'<a href="{html.escape(table.links[place])}">{inside}</a>'
            tag, end = ('th scope="row"', "th") if name == names[0] else ("td", "td")
            row.append(f"<{tag}{classes[name]}{by}>{inside}</{end}>")
        rows.append(f"<tr>{''.join(row)}</tr>")
    body = "\n".join(rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _heading(name: str, classes: str) -> str:
    of = column(name)
    title = f' title="{html.escape(of.meaning)}"' if of.meaning else ""
    return f'<th{classes} scope="col"><button type="button"{title}>{html.escape(of.heading)}</button></th>'


def _class(values: pd.Series, on_demand: bool) -> str:
    found = [*(["number"] if _is_numeric(values) else []), *(["rest"] if on_demand else [])]
    return f' class="{" ".join(found)}"' if found else ""


def _best(frame: pd.DataFrame, name: str, compared: pd.Series | None) -> NDArray[np.bool_]:
    """Whether each row has the best figure of a column, or one no further from it than the spread of either.

    A single run is not the best of rows that are means of several.
    """
    best, spread = column(name).best, f"{name}{SPREAD}"
    if compared is None or not best or frame.loc[compared, name].nunique() < 2:
        return np.zeros(len(frame), bool)
    if "runs" in frame and (frame.loc[compared, "runs"] > 1).any():
        compared = compared & (frame["runs"] > 1)
    values = frame[name].where(compared).to_numpy(float) * (1 if best == "max" else -1)
    spreads = np.nan_to_num(frame[spread].to_numpy(float)) if spread in frame else np.zeros(len(frame))
    at = np.nanargmax(values)
    found: NDArray[np.bool_] = values >= values[at] - np.maximum(spreads, spreads[at])
    return found


def glossary(frames: Iterable[pd.DataFrame]) -> dict[str, str]:
    """Heading -> meaning of every column that these frames show, in the order in which they come."""
    names = dict.fromkeys(name for frame in frames for name in shown(frame))
    return {column(name).heading: column(name).meaning for name in names if column(name).meaning}


def _is_numeric(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)


def _rows(frame: pd.DataFrame) -> list[list[str]]:
    """Headings, then every row as text."""
    cells = texts(frame)
    return [[column(name).heading for name in cells.columns], *cells.to_numpy().tolist()]
