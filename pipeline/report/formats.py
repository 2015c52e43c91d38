"""Frames as text for people: Markdown, LaTeX and HTML, with headings and number formats by column."""

from __future__ import annotations

import html
from collections.abc import Iterable

import pandas as pd

# Columns: heading and number format.
COLUMNS = {
    "method": ("Method", "{}"),
    "setting": ("Setting", "{}"),
    "model": ("Model", "{}"),
    "data": ("Data", "{}"),
    "bits": ("Bits", "{:.0f}"),
    "delta": ("δ", "{:g}"),
    "alpha": ("α", "{:g}"),
    "activation_bits": ("Activations, bits", "{:.0f}"),
    "runs": ("Runs", "{:.0f}"),
    "top1": ("Top-1, %", "{:.2f}"),
    "top1_spread": ("Top-1 ±", "{:.2f}"),
    "drop": ("Change, points", "{:+.2f}"),
    "drop_spread": ("Change ±", "{:.2f}"),
    "top5": ("Top-5, %", "{:.2f}"),
    "entropy": ("Entropy, bits", "{:.2f}"),
    "entropy_nonzero": ("Entropy of non-zeros, bits", "{:.2f}"),
    "entropy_spread": ("Entropy ±", "{:.2f}"),
    "unique": ("Unique values", "{:,.0f}"),
    "unique_spread": ("Unique ±", "{:,.0f}"),
    "unique_no_bn": ("Unique, no BN", "{:,.0f}"),
    "unique_no_bn_first_last": ("Unique, no BN, first, last", "{:,.0f}"),
    "entropy_as_published": ("Entropy as published, bits", "{:.2f}"),
    "unique_as_published": ("Unique as published", "{:,.0f}"),
    "zero_share": ("Zeros", "{:.1%}"),
    "index_entropy": ("Index entropy, bits", "{:.2f}"),
    "lzw_megabytes": ("LZW, MB", "{:.2f}"),
    "megabytes": ("Packed file, MB", "{:.2f}"),
    "megabytes_spread": ("MB ±", "{:.2f}"),
    "index_entropy_spread": ("Index entropy ±", "{:.2f}"),
    "ratio": ("Smaller than float32, times", "{:.1f}"),
    "weights": ("Weights", "{:,.0f}"),
    "share": ("Share", "{:.4%}"),
    "epochs": ("Epochs", "{:.0f}"),
    "seconds": ("Wall time, s", "{:.0f}"),
    "images_per_second": ("Images per second", "{:,.0f}"),
    "of_plain": ("Of plain training's", "{:.2f}"),
    "source": ("Source", "{}"),
    "fate": ("What became of it", "{}"),
    "published_top1": ("Published top-1, %", "{:.2f}"),
    "difference": ("Difference, points", "{:+.2f}"),
    "published_entropy": ("Published entropy, bits", "{:.2f}"),
    "published_unique": ("Published unique", "{:,.0f}"),
    "parameter": ("Parameter", "{}"),
    "kind": ("Kind", "{}"),
    "cumulative_unique": ("Unique up to here", "{:,.0f}"),
    "cumulative_sum": ("Sum of the layers' counts up to here", "{:,.0f}"),
    "moved": ("Moved, median relative distance", "{:.3f}"),
    "uses": ("Uses per forward pass", "{:,.0f}"),
    "cost_bits": ("Bits per use", "{:.3f}"),
    "cost": ("Of float32's bits", "{:.4f}"),
    "cost_authors": ("Of float32's bits, counted as the authors' program does", "{:.4f}"),
    "shift_adds": ("Shift-adds per multiplication", "{:.3f}"),
    "fix_batch_norm": ("Batch-norm fixed", "{}"),
    "stage": ("Command", "dvc repro {}"),
    "seed": ("Seed", "{:.0f}"),
    "change": ("Change to the method", "{}"),
    "claim": ("Claim", "{}"),
    "measured": ("Measured", "{:.3g}"),
    "measured_spread": ("±", "{:.2g}"),
    "interval": ("95 % interval of the mean, ±", "{:.2g}"),
    "least": ("Claimed: at least", "{:g}"),
    "unit": ("Unit", "{}"),
    "verdict": ("Verdict", "{}"),
    "made_by": ("Stage", "{}"),
    "rate": ("Learning rate", "{:g}"),
    "chosen": ("Chosen", "{}"),
}


def formatted(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as text with headings for people; an empty cell where there is no value."""
    return pd.DataFrame(
        {
            heading: ["" if pd.isna(value) else form.format(value) for value in frame[name]]
            for name, (heading, form) in ((name, COLUMNS.get(str(name), (str(name), "{}"))) for name in frame.columns)
        }
    )


def to_markdown(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table, numbers formatted."""
    headings, *rows = _rows(frame)
    return "\n".join(f"| {' | '.join(row)} |" for row in [headings, ["---"] * len(headings), *rows]) + "\n"


def to_latex(frame: pd.DataFrame) -> str:
    """A frame as a LaTeX table with the rules of booktabs, numbers formatted and aligned to the right."""
    columns = "".join("r" if numeric else "l" for numeric in _numeric(frame))
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


def to_html(frame: pd.DataFrame) -> str:
    """A frame as an HTML table, numbers formatted and aligned; cells carry what they are to be sorted by."""
    numeric = _numeric(frame)
    headings, *rows = _rows(frame)

    def row(cells: Iterable[str]) -> str:
        return f"<tr>{''.join(cells)}</tr>"

    def cell(text: str, value: object, number: bool) -> str:
        if not number:
            return f"<td>{html.escape(text)}</td>"
        return f'<td class=number data-value="{"" if pd.isna(value) else value}">{html.escape(text)}</td>'  # type: ignore[call-overload]

    head = row(
        f'<th{" class=number" if number else ""} scope="col"><button type="button">{html.escape(heading)}</button></th>'
        for heading, number in zip(headings, numeric, strict=True)
    )
    body = "\n".join(
        row(map(cell, texts, values, numeric))
        for texts, values in zip(rows, frame.astype(object).to_numpy().tolist(), strict=True)
    )
    return f"<table>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _numeric(frame: pd.DataFrame) -> list[bool]:
    kinds = (frame[name].dtype for name in frame.columns)
    return [pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind) for kind in kinds]


def _rows(frame: pd.DataFrame) -> list[list[str]]:
    """Headings, then every row as text."""
    text = formatted(frame)
    return [list(text.columns), *text.to_numpy().tolist()]
