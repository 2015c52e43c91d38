"""Stage `pretrain`: the baseline network, with weights from a file, from timm, or trained here."""

import os
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
from typer import Option

from pipeline import data as datasets
from pipeline import models, training
from pipeline.config import load_settings
from pipeline.evaluation import measure
from pipeline.layout import layer_table
from pipeline.results import ITERATIONS, LAYERS, METRICS, SETTINGS, WEIGHTS, read_run, to_csv, to_json, write_files
from pipeline.tracking import live_run
from stages.cli import Changes, changes, run
from stages.runs import baseline_label


def pretrain(
    data: Annotated[Path, Option(help="Folder that stage data wrote.")],
    out: Annotated[Path, Option(help="Folder for the baseline network and its metrics.")],
    change: Changes = [],  # noqa: B006
) -> None:
    """Make the baseline network: load its weights, or train it here."""
    settings = load_settings().changed(changes(change))
    fabric = training.launch(settings.hardware, settings.seed)
    dataset = datasets.load(data, settings.data).to(fabric.device)
    datasets.check_classes(dataset, settings.model.num_classes)
    model = models.build(settings.model, settings.seed)
    if settings.model.checkpoint is not None:
        models.load_checkpoint(model, settings.model.checkpoint)
    network = fabric.setup_module(model)

    with live_run(baseline_label(settings, os.environ.get("DVC_STAGE", "pretrain")), settings.of_baseline()) as live:
        epochs = []
        generator = torch.Generator().manual_seed(settings.seed)
        if settings.trains_the_baseline:
            epochs = training.pretrain(fabric, network, dataset, settings, generator, live.log_step)
        metrics, _ = measure(network, dataset)
        files = {
            WEIGHTS: models.weight_bytes(model),
            METRICS: to_json(metrics),
            SETTINGS: to_json(settings.of_baseline()),
            LAYERS: to_csv(layer_table(model, dataset.sample(1))),
            ITERATIONS: to_csv(pd.DataFrame(epochs, columns=list(training.EPOCH_COLUMNS))),
        }
        write_files(out, files)
        live.finish(read_run(out))


if __name__ == "__main__":
    run(pretrain)
