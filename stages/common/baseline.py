"""A baseline network, from its settings to its files: with weights from a file, from timm, or trained here."""

from __future__ import annotations

import sys

import pandas as pd
from lightning_fabric import Fabric
from torch import nn

from pipeline.base.results import LAYERS
from pipeline.base.settings import Settings
from pipeline.data.dataset import Dataset, check_classes
from pipeline.measuring.evaluation import measure
from pipeline.network.build import build, check_head
from pipeline.network.hub import NotDownloadedError
from pipeline.network.layout import layer_table
from pipeline.network.trial import check_runs
from pipeline.network.weights import load_checkpoint
from pipeline.training import loop
from pipeline.training.work import Job, at_work
from stages.common.folders import Places
from stages.common.work import Result, files_of_baseline, write_run


def make_baseline(stage: str, settings: Settings, fabric: Fabric, dataset: Dataset, places: Places) -> None:
    """Load the weights of the baseline network, or train it here; write it."""
    check_classes(dataset, settings.model.outputs, trained=settings.trains_the_baseline)
    model, settings = starting_point(settings, quiet=not fabric.is_global_zero)
    check_runs(model, dataset.sample(2), settings.model)
    layout = layer_table(model, dataset.sample(1).cpu())
    epochs = settings.pretrain.epochs if settings.trains_the_baseline else 0
    batch_size = settings.pretrain.batch_size
    job = Job(stage, settings.of_baseline(), files_of_baseline(settings), epochs, batch_size)

    with at_work(fabric, model, dataset, settings, job) as work:
        rows = pd.DataFrame(loop.pretrain(work) if epochs else [], columns=list(loop.EPOCH_COLUMNS))
        seconds = rows["seconds"].sum()
        metrics, _ = measure(fabric, work.network, dataset)
        write_run(places.out, work, Result(metrics, rows, seconds, seconds, len(rows), {LAYERS: layout}))


def starting_point(settings: Settings, *, quiet: bool = False) -> tuple[nn.Module, Settings]:
    """The network with its given weights, if any, and the settings as they were followed.

    What was taken of a checkpoint is said on the standard error, unless `quiet`.

    Where they cannot be downloaded and pretrain.if_unreachable is `train`, the settings name no weights any more.
    """
    check_head(settings)
    try:
        model = build(settings.model, settings.seed)
        if settings.model.checkpoint is not None:
            said = load_checkpoint(model, settings)
            if not quiet:
                print(f"pretrain: {said}", file=sys.stderr)
    except NotDownloadedError as error:
        if settings.pretrain.if_unreachable == "stop":
            raise
        if not quiet:
            print(f"pretrain: {error}; trained here instead, as pretrain.if_unreachable says", file=sys.stderr)
        followed = settings.model_copy(update={"model": settings.model.without_weights()})
        return build(followed.model, settings.seed), followed
    return model, settings
