"""Stage `quantise`: the baseline network quantised by another method."""

import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
from typer import Option

from pipeline.base.results import CODEBOOKS
from pipeline.base.settings import load_settings
from pipeline.comparing.task import Task, find
from pipeline.measuring.evaluation import measure
from pipeline.training import loop as training
from pipeline.watching.tracking import live_run
from stages.common.cli import run
from stages.common.folders import quantise_label
from stages.common.work import Cost, baseline_network, device_and_data, write_run


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
        cost = Cost(seconds, len(epochs) * dataset.card["train"]["images"], epochs["seconds"].sum())
        metrics["activation_bits"] = outcome.activation_bits
        tables = {CODEBOOKS: quantised.codebook_table()}
        write_run(out, model, metrics, decided_by, epochs, cost, tables, fabric, live)


if __name__ == "__main__":
    run(quantise)
