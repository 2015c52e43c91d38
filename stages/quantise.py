"""Stage `quantise`: the baseline network quantised by another method."""

import time
from pathlib import Path
from typing import Annotated

import pandas as pd
from typer import Option

from pipeline.base.results import CARD, CODEBOOKS, WEIGHTS
from pipeline.base.settings import load_settings
from pipeline.comparing.task import Task, find_method
from pipeline.measuring.evaluation import measure
from pipeline.training.loop import EPOCH_COLUMNS
from pipeline.training.work import Job, at_work
from stages.common.cli import run
from stages.common.work import Result, baseline_network, device_and_data, stage_name, write_run


def quantise(
    data: Annotated[Path, Option(help="Folder that stage data wrote.")],
    baseline: Annotated[Path, Option(help="Folder that stage pretrain wrote.")],
    name: Annotated[str, Option(help="One of baselines.quantisers in params.yaml.")],
    out: Annotated[Path, Option(help="Folder for the quantised network, its metrics and tables.")],
) -> None:
    """Quantise the baseline network by the method that baselines.quantisers has under this name."""
    settings, quantiser = load_settings().for_quantiser(name)
    method = find_method(name, quantiser)
    fabric, dataset = device_and_data(settings, data)
    model = baseline_network(settings, baseline).to(fabric.device)
    epochs, inputs = settings.training_epochs, [data / CARD, baseline / WEIGHTS]
    stage = stage_name(f"quantise@{name}")
    job = Job(stage, settings.of_quantiser(quantiser), inputs, epochs, settings.quantise.batch_size)

    with at_work(fabric, model, dataset, settings, job) as work:
        start = time.perf_counter()
        outcome = method.quantise(Task(work, quantiser))
        seconds = time.perf_counter() - start
        metrics, quantised = measure(fabric, work.network, dataset, outcome.shared)
        metrics["activation_bits"] = outcome.activation_bits
        rows = pd.DataFrame(work.epochs, columns=list(EPOCH_COLUMNS))
        tables = {CODEBOOKS: quantised.codebook_table()}
        write_run(out, work, Result(metrics, rows, seconds, rows["seconds"].sum(), len(rows), tables))


if __name__ == "__main__":
    run(quantise)
