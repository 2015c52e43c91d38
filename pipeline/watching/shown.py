"""What MLflow's screens show of a run, without any setting up: few parameters, few numbers, and a list with them.

All settings and all numbers are in the run's artifacts, settings.json and metrics.json. The comparison opens on the
first three parameters that differ, by alphabet, and on the metric that was logged first: names and order are chosen so
that these are alpha, bits, delta and top-1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

NONE = "-"  # a parameter that a run does not have: comparisons leave out those that only some have
CURVES = "work/"  # what was measured on the way: MLflow lists it after the headline numbers, by alphabet
HEADLINE = {
    "top1": "top1",
    "unique": "values",
    "entropy": "entropy",
    "index_entropy": "index_entropy",
    "top5": "top5",
    "zero_share": "zeros",
}
COLUMNS = (
    *("metrics.`top1`", "metrics.`values`", "metrics.`entropy`", "params.`bits`", "params.`delta`", "params.`alpha`"),
    *("params.`method`", "params.`model`", "params.`seed`", "attributes.`Duration`", "tags.`dvc.stage`"),
)
VIEW = "results"


def parameters(stage: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings that tell runs apart, by short names; the same names for every run.

    epochs: of WFN those in each round, of others all. bits: of a method's codes. fixed_bn: whether batch-norm is fixed.
    lr: of another method, that of the profile for it alone.
    """
    fixing, is_fixed = settings.get("fixing", {}), "delta" in settings
    training = settings.get("finetune" if is_fixed else "quantise" if "method" in settings else "pretrain", {})
    method = "wfn" if is_fixed else settings.get("method", "baseline")
    if stage == "report":
        method = "report"
    found = {
        "alpha": settings.get("alpha"),
        "bits": settings.get("bits"),
        "delta": settings.get("delta"),
        "distance": fixing.get("distance"),
        "epochs": settings.get("epochs", training.get("epochs")),
        "fixed_bn": fixing.get("fix_batch_norm"),
        "lr": training["rates"].get(method) if "rates" in training else training.get("lr"),
        "method": method,
        "model": settings.get("model", {}).get("name"),
        "rounds": len(fixing["fractions"]) if "fractions" in fixing else None,
        "seed": settings.get("seed"),
        "data": _data(settings.get("data", {})),
    }
    return {name: NONE if value is None else str(value) for name, value in found.items()}


def _data(data: Mapping[str, Any]) -> str | None:
    """The data set's name; of a trial, of how many images."""
    name, mini = data.get("name"), data.get("mini")
    return name if mini is None else f"{name}, {mini} of each class"


def numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Headline numbers of a network by the names that the list has, top-1 first; all numbers of a report."""
    return {short: metrics[name] for name, short in HEADLINE.items() if name in metrics} or dict(metrics)


def experiment_tags() -> dict[str, str]:
    """What makes MLflow open an experiment as one of training, and a view of its list that an address can name."""
    columns = {"selectedColumns": COLUMNS, "columnOrder": COLUMNS, "columnWidths": dict.fromkeys(COLUMNS, 80)}
    view = columns | {"orderByKey": "attributes.`Created`", "orderByAsc": True}
    return {
        "mlflow.experimentKind": "custom_model_development",
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
    }


def run_address(server: str, experiment_id: str, run_id: str) -> str:
    """Where a server shows a run."""
    return f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"


def address(server: str, experiment_id: str) -> str:
    """Where a server shows an experiment's runs with their numbers."""
    query = f"workflowType=machine_learning&viewStateShareKey={VIEW}"
    return f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"
