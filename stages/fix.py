"""Stages `fix`, `repeats`, `sweep` and `explore`: fix the baseline network to few shared values."""

import os
import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
from typer import Option

from pipeline import data as datasets
from pipeline import models, training
from pipeline.config import load_settings
from pipeline.evaluation import measure
from pipeline.results import (
    CENTRES,
    ITERATIONS,
    METRICS,
    SETTINGS,
    TIMING,
    WEIGHTS,
    read_run,
    to_csv,
    to_json,
    write_files,
)
from pipeline.tracking import live_run
from pipeline.wfn.fixing import fix_network
from pipeline.wfn.free import read_weights
from pipeline.wfn.summary import centres_table
from stages.cli import Changes, changes, run
from stages.runs import fix_label


def fix(
    data: Annotated[Path, Option(help="Folder that stage data wrote.")],
    baseline: Annotated[Path, Option(help="Folder that stage pretrain wrote.")],
    out: Annotated[Path, Option(help="Folder for the fixed network, its metrics and tables.")],
    change: Changes = [],  # noqa: B006
    repeat: Annotated[int, Option(help="Added to the seed: a repeat of the same setting.", min=0)] = 0,
) -> None:
    """Fix every weight of the baseline network to few shared values, round by round."""
    settings = load_settings().changed(changes(change)).repeated(repeat)
    fabric = training.launch(settings.hardware, settings.seed)
    dataset = datasets.load(data, settings.data).to(fabric.device)
    model = models.build(settings.model.without_weights(), settings.seed)
    models.load_weights(model, baseline / WEIGHTS)
    network = fabric.setup_module(model)

    with live_run(fix_label(settings, os.environ.get("DVC_STAGE", "fix")), settings.of_fixing()) as live:
        generator = torch.Generator().manual_seed(settings.seed)
        start = time.perf_counter()
        rounds = fix_network(fabric, network, dataset, settings, generator, live.log_step)
        seconds = round(time.perf_counter() - start, 3)
        fixed = models.fixable_parameters(model, batch_norm=settings.fixing.fix_batch_norm)
        metrics, _ = measure(network, dataset, [models.names_of(model, fixed)])
        files = {
            WEIGHTS: models.weight_bytes(model),
            METRICS: to_json(metrics),
            SETTINGS: to_json(settings.of_fixing()),
            TIMING: to_json({"seconds": seconds}),
            ITERATIONS: to_csv(pd.DataFrame(rounds)),
            CENTRES: to_csv(centres_table(read_weights(fixed).cpu().numpy())),
        }
        write_files(out, files)
        live.finish(read_run(out))


if __name__ == "__main__":
    run(fix)
