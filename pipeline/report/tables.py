"""Tables of the report, each a data frame from saved results; and frames as CSV, Markdown or HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline.results import Run

# Columns of the comparison: heading and number format.
FORMATS = {
    "method": "{}",
    "setting": "{}",
    "model": "{}",
    "data": "{}",
    "bits": "{:.0f}",
    "delta": "{:g}",
    "alpha": "{:g}",
    "activation_bits": "{:.0f}",
    "runs": "{:.0f}",
    "top1": "{:.2f}",
    "top1_spread": "{:.2f}",
    "drop": "{:+.2f}",
    "top5": "{:.2f}",
    "entropy": "{:.2f}",
    "entropy_nonzero": "{:.2f}",
    "entropy_spread": "{:.2f}",
    "unique": "{:,.0f}",
    "unique_spread": "{:,.0f}",
    "unique_no_bn": "{:,.0f}",
    "unique_no_bn_first_last": "{:,.0f}",
    "entropy_as_published": "{:.2f}",
    "unique_as_published": "{:,.0f}",
    "zero_share": "{:.1%}",
    "index_entropy": "{:.2f}",
    "lzw_megabytes": "{:.2f}",
    "megabytes": "{:.2f}",
    "ratio": "{:.1f}",
    "weights": "{:,.0f}",
    "share": "{:.4%}",
    "epochs": "{:.0f}",
    "seconds": "{:.0f}",
    "source": "{}",
}
HEADINGS = {
    "method": "Method",
    "setting": "Setting",
    "model": "Model",
    "data": "Data",
    "bits": "Bits",
    "delta": "δ",
    "alpha": "α",
    "activation_bits": "Activations, bits",
    "runs": "Runs",
    "top1": "Top-1, %",
    "top1_spread": "Top-1 ±",
    "drop": "Change, points",
    "top5": "Top-5, %",
    "entropy": "Entropy, bits",
    "entropy_nonzero": "Entropy of non-zeros, bits",
    "entropy_spread": "Entropy ±",
    "unique": "Unique values",
    "unique_spread": "Unique ±",
    "unique_no_bn": "Unique, no BN",
    "unique_no_bn_first_last": "Unique, no BN, first, last",
    "entropy_as_published": "Entropy as published, bits",
    "unique_as_published": "Unique as published",
    "zero_share": "Zeros",
    "index_entropy": "Index entropy, bits",
    "lzw_megabytes": "LZW, MB",
    "megabytes": "Entropy-coded, MB",
    "ratio": "Smaller than float32, times",
    "fate": "What became of it",
    "weights": "Weights",
    "share": "Share",
    "epochs": "Epochs",
    "seconds": "Wall time, s",
    "source": "Source",
}
MEASURED = (
    *("top1", "top5", "entropy", "entropy_nonzero", "unique", "unique_no_bn", "unique_no_bn_first_last"),
    *("entropy_as_published", "unique_as_published", "zero_share"),
)


# Names of methods for people; others go by their module's name.
METHODS = {
    "apot": "APoT",
    "uniform": "Uniform (LSQ)",
    "kmeans_layer": "k-means per layer",
    "kmeans_network": "k-means, whole network",
    "wfn_one_shot": "WFN, one shot",
}


def comparison(baseline: Run, fixed: Sequence[Run]) -> pd.DataFrame:
    """The baseline and every fixed network, one row each; a setting that was run twice appears once.

    drop: top-1 against the baseline, in points. megabytes: the whole network, entropy-coded.
    """
    rows: list[dict[str, Any]] = [{"method": "Baseline", **_measured(baseline, baseline)}]
    for run in fixed:
        settings = {key: run.settings[key] for key in ("delta", "alpha")}
        rows.append({"method": "WFN", **settings, **_measured(run, baseline)})
    frame = pd.DataFrame(
        rows, columns=["method", "delta", "alpha", "top1", "drop", *MEASURED[1:], "megabytes", "ratio"]
    )
    frame = frame.drop_duplicates(["method", "delta", "alpha"])
    return frame.sort_values(["method", "alpha", "delta"], ascending=[True, True, False], ignore_index=True)


def _measured(run: Run, baseline: Run) -> dict[str, Any]:
    metrics = run.metrics
    return {
        **{key: metrics[key] for key in MEASURED},
        "drop": round(metrics["top1"] - baseline.metrics["top1"], 6),
        "megabytes": metrics["coded_bytes"] / 1e6,
        "ratio": metrics["float_bytes"] / metrics["coded_bytes"],
    }


def quantisers(baseline: Run, fixed: Sequence[Run], quantised: Sequence[Run], fixing_epochs: int) -> pd.DataFrame:
    """WFN against other methods on the same baseline: one row per setting, means over its runs with different seeds.

    fixing_epochs: what WFN trains in all rounds. The columns *_spread are standard deviations over the runs, empty for
    a single one. Sizes are those of the whole network.
    """
    rows = [{"method": "Baseline", "seed": None, **_sizes(baseline, baseline)}]
    for run in fixed:
        setting = {"method": "WFN", "epochs": fixing_epochs, **_chosen(run, "delta", "alpha", "seed")}
        rows.append(setting | _sizes(run, baseline))
    for run in quantised:
        method = run.settings["method"]
        setting = {"method": METHODS.get(method, method), **_chosen(run, "bits", "delta", "seed")}
        setting["epochs"] = 0 if run.iterations is None else len(run.iterations)
        rows.append(setting | _sizes(run, baseline))
    frame = pd.DataFrame(rows, columns=[*SETTING, "seed", *AVERAGED]).drop_duplicates([*SETTING, "seed"])
    groups = frame.groupby(SETTING, dropna=False, sort=False)
    table = groups[AVERAGED].mean()
    for name in SPREAD:
        table.insert(list(table.columns).index(name) + 1, f"{name}_spread", groups[name].std())
    table.insert(0, "runs", groups.size())
    return table.reset_index().dropna(axis="columns", how="all")


SETTING = ["method", "bits", "delta", "alpha", "activation_bits", "epochs"]
AVERAGED = [
    *("top1", "drop", "entropy", "entropy_nonzero", "unique", "unique_no_bn", "unique_no_bn_first_last"),
    *("index_entropy", "lzw_megabytes", "megabytes", "ratio", "seconds"),
]
SPREAD = ["top1", "entropy", "unique"]


def _chosen(run: Run, *keys: str) -> dict[str, Any]:
    return {key: run.settings.get(key) for key in keys}


def _sizes(run: Run, baseline: Run) -> dict[str, Any]:
    return {
        **_measured(run, baseline),
        "index_entropy": run.metrics["index_entropy"],
        "activation_bits": run.metrics.get("activation_bits"),
        "lzw_megabytes": run.metrics["lzw_bytes"] / 1e6,
        "seconds": run.seconds,
    }


def published(path: Path, data: str, model: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Published rows for the same data set and model, and all others."""
    rows = [
        {
            "method": table["method"],
            "data": table["data"],
            **row,
            "source": table["source"] + (" (not verified)" if table.get("unverified") else ""),
        }
        for table in yaml.safe_load(path.read_text())
        for row in table["rows"]
    ]
    columns = ["method", "data", "model", "setting", "top1", "entropy", "unique", "source"]
    frame = pd.DataFrame(rows, columns=columns)
    same = (frame["data"] == data) & (frame["model"] == model.partition(".")[0])
    return frame[same].reset_index(drop=True), frame[~same].reset_index(drop=True)


def fates(run: Run) -> pd.DataFrame:
    """What became of every parameter of a fixed network: zero, a sum of so many powers of two, or left as it was."""
    assert run.centres is not None
    names = {0: "zero", 1: "one power of two"}
    rows = [
        {"fate": names.get(terms, f"sum of {terms} powers of two"), "weights": int(counts.sum())}
        for terms, counts in ((int(str(key)), group["count"]) for key, group in run.centres.groupby("term_count"))
    ]
    rows.append({"fate": "not fixed", "weights": run.metrics["parameters"] - run.metrics["quantised_parameters"]})
    frame = pd.DataFrame(rows)
    frame["share"] = frame["weights"] / run.metrics["parameters"]
    return frame


def formatted(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as text with headings for people; an empty cell where there is no value."""
    return pd.DataFrame(
        {
            HEADINGS.get(str(name), str(name)): [
                "" if pd.isna(value) else FORMATS.get(str(name), "{}").format(value) for value in frame[name]
            ]
            for name in frame.columns
        }
    )


def to_markdown(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table, numbers formatted."""
    text = formatted(frame)
    rows = [list(text.columns), ["---"] * len(text.columns), *text.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def to_html(frame: pd.DataFrame) -> str:
    """A frame as an HTML table, numbers formatted and aligned."""
    text = formatted(frame)
    numeric = [pd.api.types.is_numeric_dtype(frame[name]) for name in frame.columns]

    def row(tag: str, cells: Sequence[str]) -> str:
        marked = (
            f"<{tag}{' class=number' if number else ''}>{html.escape(cell)}</{tag}>"
            for cell, number in zip(cells, numeric, strict=True)
        )
        return f"<tr>{''.join(marked)}</tr>"

    body = "\n".join(row("td", cells) for cells in text.to_numpy().tolist())
    return f"<table>\n<thead>{row('th', list(text.columns))}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"
