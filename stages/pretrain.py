"""Stage `pretrain`: the baseline network, with weights from a file, from timm, or trained here."""

import os
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
from typer import Option

from pipeline import models, training
from pipeline.checkpoint import resumable
from pipeline.config import load_settings
from pipeline.data import CARD, check_classes
from pipeline.device import set_up
from pipeline.evaluation import measure
from pipeline.layout import layer_table
from pipeline.results import LAYERS
from pipeline.tracking import live_run
from stages.cli import Changes, changes, run
from stages.runs import baseline_label
from stages.work import Cost, device_and_data, write_run


def pretrain(
    data: Annotated[Path, Option(help="Folder that stage data wrote.")],
    out: Annotated[Path, Option(help="Folder for the baseline network and its metrics.")],
    change: Changes = [],  # noqa: B006
) -> None:
    """Make the baseline network: load its weights, or train it here."""
    settings = load_settings().changed(changes(change))
    fabric, dataset = device_and_data(settings, data)
    check_classes(dataset, settings.model.num_classes)
    model = models.build(settings.model, settings.seed)
    if settings.model.checkpoint is not None:
        models.load_checkpoint(model, settings.model.checkpoint)
    network = set_up(fabric, model, settings.hardware)
    label, decided_by = baseline_label(settings, os.environ.get("DVC_STAGE", "pretrain")), settings.of_baseline()

    with (
        live_run(label, decided_by, fabric.is_global_zero) as live,
        resumable(fabric, decided_by, [data / CARD]) as checkpoint,
    ):
        rows = []
        generator = torch.Generator().manual_seed(settings.seed)
        if settings.trains_the_baseline:
            rows = training.pretrain(fabric, network, dataset, settings, generator, live.log_step, checkpoint)
        epochs = pd.DataFrame(rows, columns=list(training.EPOCH_COLUMNS))
        seconds = epochs["seconds"].sum()
        metrics, _ = measure(fabric, network, dataset)
        cost = Cost(seconds, len(epochs) * dataset.card["train"]["images"], seconds)
        tables = {LAYERS: layer_table(model, dataset.sample(1))}
        write_run(out, model, metrics, decided_by, epochs, cost, tables, fabric, live)


if __name__ == "__main__":
    run(pretrain)
