"""Stage `quantise`: the baseline network quantised by another method."""

import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
from typer import Option

from pipeline import models, training
from pipeline.config import load_settings
from pipeline.evaluation import measure
from pipeline.quantising import Task, find
from pipeline.results import (
    CODEBOOKS,
    ITERATIONS,
    METRICS,
    SETTINGS,
    TIMING,
    WEIGHTS,
    read_run,
    timing,
    to_csv,
    to_json,
    write_files,
)
from pipeline.tracking import live_run
from stages.cli import run
from stages.runs import quantise_label
from stages.start import baseline_network, device_and_data


def quantise(
    data: Annotated[Path, Option(help="Folder that stage data wrote.")],
    baseline: Annotated[Path, Option(help="Folder that stage pretrain wrote.")],
    name: Annotated[str, Option(help="One of baselines.quantisers in params.yaml.")],
    out: Annotated[Path, Option(help="Folder for the quantised network, its metrics and tables.")],
) -> None:
    """Quantise the baseline network by the method that baselines.quantisers has under this name."""
    params = load_settings()
    settings, quantiser = params.for_quantiser(name)
    method = find(name, quantiser)
    fabric, dataset = device_and_data(settings, data)
    model = baseline_network(settings, baseline).to(fabric.device)

    decided_by = settings.of_quantiser(quantiser)
    with live_run(quantise_label(params, name), decided_by, fabric.is_global_zero) as live:
        generator = torch.Generator().manual_seed(settings.seed)
        task = Task(fabric, model, dataset, settings, quantiser, generator, live.log_step)
        start = time.perf_counter()
        outcome = method.quantise(task)
        seconds = time.perf_counter() - start
        metrics, quantised = measure(fabric, task.network, dataset, outcome.shared)
        epochs = pd.DataFrame(outcome.epochs, columns=list(training.EPOCH_COLUMNS))
        images = len(epochs) * dataset.card["train"]["images"]
        files = {
            WEIGHTS: models.weight_bytes(model),
            METRICS: to_json(metrics | {"activation_bits": outcome.activation_bits}),
            SETTINGS: to_json(decided_by),
            TIMING: timing(seconds, images, epochs["seconds"].sum()),
            ITERATIONS: to_csv(epochs),
            CODEBOOKS: to_csv(quantised.codebook_table()),
        }
        if fabric.is_global_zero:
            write_files(out, files)
            live.finish(read_run(out))


if __name__ == "__main__":
    run(quantise)
