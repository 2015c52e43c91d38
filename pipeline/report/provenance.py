"""How each result was made, on which machine, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from pipeline.base.results import Run, run_key
from pipeline.report.comparisons import chosen

# The stage that trains a network in the plain way.
PLAIN = "pretrain"


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
        rows.append({"stage": stage, **chosen(run, *keys), **costs, "key": run_key(stage, run), **run.machine})
    if small:  # one stage for all of them
        rows.append({"stage": "explore", "seconds": sum(run.seconds or 0.0 for run in small), **small[0].machine})
    return pd.DataFrame(rows).astype({"images_per_second": float, "of_plain": float})
