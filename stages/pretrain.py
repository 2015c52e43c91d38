"""Stage `pretrain`: the baseline network, with weights from a file, from timm, or trained here."""

import os
import sys
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
from torch import nn
from typer import Option

from pipeline.base.results import LAYERS
from pipeline.base.settings import Settings, load_settings
from pipeline.data.dataset import CARD, check_classes
from pipeline.measuring.evaluation import measure
from pipeline.network.build import build
from pipeline.network.hub import NotDownloadedError
from pipeline.network.layout import layer_table
from pipeline.network.weights import load_checkpoint
from pipeline.training import loop as training
from pipeline.training.checkpoint import resumable
from pipeline.training.device import set_up
from pipeline.watching.tracking import live_run
from stages.common.cli import Changes, changes, run
from stages.common.folders import baseline_label
from stages.common.work import Cost, device_and_data, write_run


def pretrain(
    data: Annotated[Path, Option(help="Folder that stage data wrote.")],
    out: Annotated[Path, Option(help="Folder for the baseline network and its metrics.")],
    change: Changes = [],  # noqa: B006
) -> None:
    """Make the baseline network: load its weights, or train it here."""
    settings = load_settings().changed(changes(change))
    fabric, dataset = device_and_data(settings, data)
    check_classes(dataset, settings.model.num_classes)
    model, settings = starting_point(settings)
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


def starting_point(settings: Settings) -> tuple[nn.Module, Settings]:
    """The network with its given weights, if any, and the settings as they were followed.

    Where the weights cannot be downloaded and the profile says to train then, those settings name no weights.
    """
    try:
        model = build(settings.model, settings.seed)
        if settings.model.checkpoint is not None:
            load_checkpoint(model, settings.model.checkpoint)
    except NotDownloadedError as error:
        if settings.pretrain.if_unreachable == "stop":
            raise
        print(f"pretrain: {error}; trained here instead, as pretrain.if_unreachable says", file=sys.stderr)
        followed = settings.model_copy(update={"model": settings.model.without_weights()})
        return build(followed.model, settings.seed), followed
    return model, settings


if __name__ == "__main__":
    run(pretrain)
