"""Tables of the report, each a data frame from saved results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline.base.results import Run, run_key
from pipeline.report import weights

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
}


BASELINE = "Baseline"  # a method


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


def footnoted(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table with its sources as numbers, and these sources in the order of their numbers, from 1."""
    sources = list(dict.fromkeys(table["source"]))
    return table.assign(source=[sources.index(source) + 1 for source in table["source"]]), sources


def comparison(baselines: Sequence[Run], fixed: Sequence[Run], model: str) -> pd.DataFrame:
    """The baselines and every fixed `model`: one row per setting, means over its runs with different seeds.

    fixed: the first one's rounds are the usual ones (`called`).
    drop: top-1 against the baseline of the same seed, in points. megabytes: of the packed file. The columns *_spread
    are standard deviations over the runs, empty for a single one.
    """
    runs = [(BASELINE, run) for run in baselines] + [(called(run, fixed[0]), run) for run in fixed]
    rows = [
        {"method": method, **_chosen(run, "delta", "alpha", "seed"), **_measured(run, baselines)}
        for method, run in runs
    ]
    averaged = ["top1", "drop", *MEASURED[1:], "megabytes", "ratio"]
    frame = over_runs(pd.DataFrame(rows), ["method", "delta", "alpha"], averaged)
    frame.insert(0, "model", model)
    order = frame.sort_values(["method", "alpha", "delta"], ascending=[True, True, False], ignore_index=True)
    return _where_some_are_idle(order)


def over_runs(runs: pd.DataFrame, setting: list[str], averaged: list[str]) -> pd.DataFrame:
    """One row per setting: how many runs with different seeds it has, means, and of some the standard deviation.

    runs: one row each; one that is there twice counts once. The order is theirs.
    """
    frame = runs.reindex(columns=[*setting, "seed", *averaged]).drop_duplicates([*setting, "seed"])
    groups = frame.groupby(setting, dropna=False, sort=False)
    table = groups[averaged].mean()
    for name in (name for name in SPREAD if name in averaged):
        table.insert(list(table.columns).index(name) + 1, f"{name}_spread", groups[name].std())
    table.insert(0, "runs", groups.size())
    return table.reset_index()


def _measured(run: Run, baselines: Sequence[Run]) -> dict[str, Any]:
    metrics = run.metrics
    (own,) = (each for each in baselines if each.settings["seed"] == run.settings["seed"])
    return {
        **{key: metrics.get(key) for key in MEASURED},
        "drop": round(metrics["top1"] - own.metrics["top1"], 6),
        "megabytes": metrics["packed_bytes"] / 1e6,
        "ratio": metrics["float_bytes"] / metrics["packed_bytes"],
    }


def compared_runs(baselines: Sequence[Run], fixed: Sequence[Run], quantised: Sequence[Run]) -> pd.DataFrame:
    """WFN and other methods, each begun with the baseline of the same seed: one row per run, also of the baselines.

    fixed: the variants too; the first one's rounds are the usual ones (`called`). Sizes are those of the whole network.
    """
    rows = [{"method": BASELINE, **_chosen(run, "seed"), **_sizes(run, baselines)} for run in baselines]
    for run in fixed:
        setting = {
            "method": called(run, fixed[0]),
            "epochs": (len(run.settings["fixing"]["fractions"]) - 1) * run.settings["finetune"]["epochs"],
            **_chosen(run, "delta", "alpha", "seed"),
        }
        rows.append(setting | _sizes(run, baselines))
    for run in quantised:
        method = run.settings["method"]
        setting = {"method": METHODS.get(method, method), **_chosen(run, "bits", "delta", "seed")}
        setting["epochs"] = 0 if run.iterations is None else len(run.iterations)
        rows.append(setting | _sizes(run, baselines))
    return pd.DataFrame(rows, columns=[*SETTING, "seed", *AVERAGED])


def quantisers(compared: pd.DataFrame) -> pd.DataFrame:
    """The runs of `compared_runs` as one row per setting: means, and standard deviations, empty for a single run."""
    return _where_some_are_idle(over_runs(compared, SETTING, AVERAGED).dropna(axis="columns", how="all"))


def _where_some_are_idle(table: pd.DataFrame) -> pd.DataFrame:
    """The table without the entropy of the weights that act, where all of them do."""
    acting = table.get("entropy_acting", pd.Series())
    return table.drop(columns="entropy_acting") if acting.equals(table["entropy"]) else table


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


SETTING = ["method", "bits", "delta", "alpha", "activation_bits", "epochs"]
AVERAGED = [
    *("top1", "drop", "entropy", "entropy_nonzero", "entropy_acting", "index_entropy", "entropy_as_published"),
    *("unique", "unique_no_bn", "unique_no_bn_first_last", "unique_as_published"),
    *("lzw_megabytes", "megabytes", "ratio", "seconds"),
]
SPREAD = ["top1", "drop", "entropy", "unique", "index_entropy", "megabytes"]


def _chosen(run: Run, *keys: str) -> dict[str, Any]:
    return {key: run.settings.get(key) for key in keys}


def _sizes(run: Run, baselines: Sequence[Run]) -> dict[str, Any]:
    return {
        **_measured(run, baselines),
        "index_entropy": run.metrics["index_entropy"],
        "activation_bits": run.metrics.get("activation_bits"),
        "lzw_megabytes": run.metrics["lzw_bytes"] / 1e6,
        "seconds": run.seconds,
    }


# Networks that go by another name in published tables.
PUBLISHED_AS = {"cifar_resnet20": "resnet20"}


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
    own = model.partition(".")[0]
    same = (frame["data"] == data) & frame["model"].isin([own, PUBLISHED_AS.get(own)])
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


def beside_published(comparison: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """WFN's measured rows beside the published ones of the same delta; both in the accounting of the published tables.

    published: rows for the same data set and model. difference: measured top-1 less the published, in points.
    """
    theirs = published[published["method"] == "WFN"].copy()
    theirs["delta"] = theirs["setting"].str.removeprefix("delta ").astype(float)
    ours = comparison[comparison["method"] == "WFN"][["delta", "alpha", "top1", *AS_PUBLISHED]]
    renamed = {name: f"published_{name}" for name in ("top1", "entropy", "unique")}
    both = ours.merge(theirs[["delta", *renamed, "source"]].rename(columns=renamed), on="delta")
    both.insert(0, "method", "WFN")
    both.insert(list(both.columns).index("published_top1") + 1, "difference", both["top1"] - both["published_top1"])
    return both


AS_PUBLISHED = ["entropy_as_published", "unique_as_published"]


def explored_runs(baselines: Sequence[Run], runs: Sequence[Run], fixing: Mapping[str, Any]) -> pd.DataFrame:
    """What `explore` found, one row per run; those of the small baselines last; no rows without runs.

    fixing: how `explore` fixes. change: what an ablation has changed of that.
    """
    rows = [
        {
            "method": "WFN",
            "change": _change(run, fixing),
            **_chosen(run, "delta", "alpha", "seed"),
            **_measured(run, baselines),
        }
        for run in runs
    ]
    if rows:
        rows += [{"method": BASELINE, **_chosen(run, "seed"), **_measured(run, baselines)} for run in baselines]
    return pd.DataFrame(rows, columns=[*EXPLORED, "seed", *EXPLORED_AVERAGED])


EXPLORED, EXPLORED_AVERAGED = (
    ["method", "change", "delta", "alpha"],
    ["top1", "drop", "unique", "entropy", "megabytes"],
)


def explored(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of `explored_runs` as one row per setting: means, and standard deviations, empty for a single run."""
    return over_runs(runs, EXPLORED, EXPLORED_AVERAGED)


AS_IS, FLOAT_BATCH_NORM, EUCLIDEAN = "none", "batch-norm float", "euclidean distance"


# Of `fixing`, in words.
CHANGES = {("fix_batch_norm", False): FLOAT_BATCH_NORM, ("distance", "euclidean"): EUCLIDEAN}


def _change(run: Run, fixing: Mapping[str, Any]) -> str:
    own = run.settings["fixing"]
    return ", ".join(_in_words(key, own[key]) for key in own if own[key] != fixing[key]) or AS_IS


def _in_words(key: str, value: Any) -> str:
    if isinstance(value, list):
        return f"{key} {_listed(value)}"
    return CHANGES.get((key, value), f"{key.replace('_', ' ')} {value}")


def representation(runs: Sequence[Run], layout: pd.DataFrame) -> pd.DataFrame:
    """What a forward pass costs with every fixed network; a setting that was run more than once appears once."""
    rows = {}
    for run in runs:
        assert run.centres is not None
        setting = tuple(_chosen(run, "delta", "alpha").items())
        if setting not in rows:
            cost = weights.representation_cost(layout, weights.read_weights(run, layout), run.centres)
            rows[setting] = {"method": "WFN", **dict(setting), **cost}
    return pd.DataFrame(rows.values()).sort_values(["alpha", "delta"], ascending=[True, False], ignore_index=True)


def provenance(runs: Mapping[str, Run]) -> pd.DataFrame:
    """How each result was made, by DVC stage: the settings that tell it apart, what its work cost, on which machine.

    of_plain: images per second as a share of those of the baseline's training, of the same network.
    """
    keys = ("method", "bits", "delta", "alpha", "seed")
    small = [run for stage, run in runs.items() if stage.startswith("explore@")]
    runs = {stage: run for stage, run in runs.items() if not stage.startswith("explore@")}
    plain = {run.settings["model"]["name"]: run.images_per_second for stage, run in runs.items() if stage == PLAIN}
    rows = []
    for stage, run in runs.items():
        speed, of_baseline = run.images_per_second, plain.get(run.settings["model"]["name"])
        costs = {
            "seconds": run.seconds,
            "images_per_second": speed,
            "of_plain": speed / of_baseline if speed and of_baseline else None,
        }
        rows.append({"stage": stage, **_chosen(run, *keys), **costs, "key": run_key(stage, run), **run.machine})
    if small:  # one stage for all of them
        rows.append({"stage": "explore", "seconds": sum(run.seconds or 0.0 for run in small), **small[0].machine})
    return pd.DataFrame(rows).astype({"images_per_second": float, "of_plain": float})


# The stage that trains a network in the plain way.
PLAIN = "pretrain"
