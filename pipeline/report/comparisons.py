"""Tables that compare: fixed networks with each other, with other methods, and with ablations; from saved results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pipeline.base.results import Run

MEASURED = (
    *("top1", "top5", "entropy", "entropy_nonzero", "unique", "unique_no_bn", "unique_no_bn_first_last"),
    *("entropy_acting", "entropy_as_published", "unique_as_published", "zero_share"),
)

# Names of methods for people; others go by their module's name.
METHODS = {
    "apot": "APoT",
    "uniform": "Uniform (LSQ)",
    "kmeans_layer": "k-means per layer",
    "kmeans_network": "k-means, whole network",
    "coreml_palettize": "Palettes (coremltools)",
    "coreml_dkm": "DKM (coremltools)",
}
BASELINE = "Baseline"  # a method
# Changes that ablations make to `fixing`, in words.
AS_IS, FLOAT_BATCH_NORM, EUCLIDEAN = "none", "batch-norm float", "euclidean distance"
CHANGES = {("fix_batch_norm", False): FLOAT_BATCH_NORM, ("distance", "euclidean"): EUCLIDEAN}
# Columns: what tells settings apart, and of which means are taken.
SETTING = ["method", "bits", "delta", "alpha", "activation_bits", "epochs"]
AVERAGED = [
    *("top1", "drop", "entropy", "entropy_nonzero", "entropy_acting", "index_entropy", "entropy_as_published"),
    *("unique", "unique_no_bn", "unique_no_bn_first_last", "unique_as_published"),
    *("lzw_megabytes", "megabytes", "ratio", "seconds"),
]
EXPLORED = ["method", "change", "delta", "alpha"]
EXPLORED_AVERAGED = ["top1", "drop", "unique", "entropy", "megabytes"]


def row_settings(table: pd.DataFrame) -> list[str]:
    """What tells the rows of one method apart, in a few words: what is changed, δ, α where there are several, bits."""
    several = "alpha" in table and table["alpha"].nunique() > 1

    def setting(row: pd.Series) -> str:
        change = row.get("change")
        found = [
            ("{}", None if change == AS_IS else change),
            ("δ {:g}", row.get("delta")),
            ("α {:g}", row.get("alpha") if several else None),
            ("{:.0f} bit", row.get("bits")),
        ]
        return ", ".join(form.format(value) for form, value in found if not pd.isna(value))

    return [setting(row) for _, row in table.iterrows()]


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with methods called by their settings too, and by how many runs they have."""
    runs = [f"n = {count}" if count > 1 else "one run" for count in table["runs"]]
    parts = zip(table["method"], row_settings(table), runs, strict=True)
    return table.assign(method=[", ".join(part for part in each if part) for each in parts])


def row_at(comparison: pd.DataFrame, delta: float, alpha: float) -> pd.Series:
    """The row of a setting in a table as `comparison` makes it: means over its runs."""
    is_it = (comparison["method"] == "WFN") & (comparison["delta"] == delta) & (comparison["alpha"] == alpha)
    return comparison[is_it].iloc[0]


def comparison(baselines: Sequence[Run], fixed: Sequence[Run], model: str) -> pd.DataFrame:
    """The baselines and every fixed `model`: one row per setting, means over its runs with different seeds.

    fixed: the first one's rounds are the usual ones (`called`).
    drop: top-1 against the baseline of the same seed, in points. megabytes: of the packed file. The columns *_spread
    are standard deviations over the runs, empty for a single one.
    """
    runs = [(BASELINE, run) for run in baselines] + [(called(run, fixed[0]), run) for run in fixed]
    rows = [
        {"method": method, **chosen(run, "delta", "alpha", "seed"), **_measured(run, baselines)} for method, run in runs
    ]
    averaged = ["top1", "drop", *MEASURED[1:], "megabytes", "ratio"]
    frame = over_runs(pd.DataFrame(rows), ["method", "delta", "alpha"], averaged)
    frame.insert(0, "model", model)
    order = frame.sort_values(["method", "alpha", "delta"], ascending=[True, True, False], ignore_index=True)
    return _where_some_are_idle(order)


def over_runs(runs: pd.DataFrame, setting: list[str], averaged: list[str]) -> pd.DataFrame:
    """One row per setting: how many runs with different seeds it has, means, and beside each its standard deviation.

    runs: one row each; one that is there twice counts once. The order is theirs.
    """
    frame = runs.reindex(columns=[*setting, "seed", *averaged]).drop_duplicates([*setting, "seed"])
    groups = frame.groupby(setting, dropna=False, sort=False)
    table = groups[averaged].mean()
    for place, name in enumerate(averaged):
        table.insert(2 * place + 1, f"{name}_spread", groups[name].std())
    table.insert(0, "runs", groups.size())
    return table.reset_index()


def _measured(run: Run, baselines: Sequence[Run]) -> dict[str, Any]:
    metrics = run.metrics
    (own,) = (each for each in baselines if each.settings["seed"] == run.settings["seed"])
    return {
        **{key: metrics.get(key) for key in MEASURED},
        "entropy_acting": metrics.get("entropy_acting", metrics["entropy"]),
        "drop": round(metrics["top1"] - own.metrics["top1"], 6),
        "megabytes": metrics["packed_bytes"] / 1e6,
        "ratio": metrics["float_bytes"] / metrics["packed_bytes"],
    }


def compared_runs(baselines: Sequence[Run], fixed: Sequence[Run], quantised: Sequence[Run]) -> pd.DataFrame:
    """WFN and other methods, each begun with the baseline of the same seed: one row per run, also of the baselines.

    fixed: the variants too; the first one's rounds are the usual ones (`called`). Sizes are those of the whole network.
    last_pass: points of top-1 that the last clustering pass has changed, after which nothing is trained.
    """
    rows = [{"method": BASELINE, **chosen(run, "seed"), **_sizes(run, baselines)} for run in baselines]
    for run in fixed:
        setting = {
            "method": called(run, fixed[0]),
            "epochs": (len(run.settings["fixing"]["fractions"]) - 1) * run.settings["finetune"]["epochs"],
            **chosen(run, "delta", "alpha", "seed"),
            "last_pass": _last_pass(run),
        }
        rows.append(setting | _sizes(run, baselines))
    for run in quantised:
        method = run.settings["method"]
        setting = {"method": METHODS.get(method, method), **chosen(run, "bits", "delta", "seed")}
        setting["epochs"] = 0 if run.iterations is None else len(run.iterations)
        rows.append(setting | _sizes(run, baselines))
    return pd.DataFrame(rows, columns=[*SETTING, "seed", *AVERAGED, "last_pass"])


def quantisers(compared: pd.DataFrame) -> pd.DataFrame:
    """The runs of `compared_runs` as one row per setting: means, and standard deviations, empty for a single run."""
    return _where_some_are_idle(over_runs(compared, SETTING, AVERAGED).dropna(axis="columns", how="all"))


def _where_some_are_idle(table: pd.DataFrame) -> pd.DataFrame:
    """The table without the entropy of the weights that act, where all of them do."""
    acting = table.get("entropy_acting", pd.Series())
    if not acting.equals(table["entropy"]):
        return table
    return table.drop(columns=["entropy_acting", "entropy_acting_spread"], errors="ignore")  # of single runs no spread


def called(run: Run, main: Run) -> str:
    """What a fixed network is called: one that was fixed in other rounds than the main one is another method."""
    fractions = run.settings["fixing"]["fractions"]
    if fractions == main.settings["fixing"]["fractions"]:
        return "WFN"
    if len(fractions) == 1:
        return "WFN, one shot"
    return f"WFN, fractions {_listed(fractions)}"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def chosen(run: Run, *keys: str) -> dict[str, Any]:
    """Some of the settings of a run, None where it has none."""
    return {key: run.settings.get(key) for key in keys}


def _sizes(run: Run, baselines: Sequence[Run]) -> dict[str, Any]:
    return {
        **_measured(run, baselines),
        "index_entropy": run.metrics["index_entropy"],
        "activation_bits": run.metrics.get("activation_bits"),
        "lzw_megabytes": run.metrics["lzw_bytes"] / 1e6,
        "seconds": run.seconds,
    }


def _last_pass(run: Run) -> float | None:
    """Of a fixed network; None where its rounds do not say it."""
    if run.iterations is None or "top1_before" not in run.iterations:
        return None
    last = run.iterations.iloc[-1]
    return round(float(last["top1_after"] - last["top1_before"]), 6)


def explored_runs(baselines: Sequence[Run], runs: Sequence[Run], fixing: Mapping[str, Any]) -> pd.DataFrame:
    """What `explore` found, one row per run; those of the small baselines last; no rows without runs.

    fixing: how `explore` fixes. change: what an ablation has changed of that.
    """
    rows = [
        {
            "method": "WFN",
            "change": _change(run, fixing),
            **chosen(run, "delta", "alpha", "seed"),
            **_measured(run, baselines),
        }
        for run in runs
    ]
    if rows:
        rows += [{"method": BASELINE, **chosen(run, "seed"), **_measured(run, baselines)} for run in baselines]
    return pd.DataFrame(rows, columns=[*EXPLORED, "seed", *EXPLORED_AVERAGED])


def explored(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of `explored_runs` as one row per setting: means, and standard deviations, empty for a single run."""
    return over_runs(runs, EXPLORED, EXPLORED_AVERAGED)


def _change(run: Run, fixing: Mapping[str, Any]) -> str:
    own = run.settings["fixing"]
    return ", ".join(_in_words(key, own[key]) for key in own if own[key] != fixing[key]) or AS_IS


def _in_words(key: str, value: Any) -> str:
    if isinstance(value, list):
        return f"{key} {_listed(value)}"
    return CHANGES.get((key, value), f"{key.replace('_', ' ')} {value}")
