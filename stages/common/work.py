"""How the stages that train begin - device, data set, a network with the baseline's weights - and how they end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from lightning_fabric import Fabric
from torch import nn

from pipeline.base.results import (
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
from pipeline.base.settings import Settings
from pipeline.data import memory, streaming
from pipeline.data.dataset import Dataset
from pipeline.data.module import module_file, register_networks
from pipeline.data.recipes import input_settings
from pipeline.network.build import build
from pipeline.network.weights import checkpoint_file, load_weights, weight_bytes
from pipeline.training.device import launch
from pipeline.training.machine import machine
from pipeline.training.work import Work


def device_and_data(settings: Settings, data: Path) -> tuple[Fabric, Dataset, Settings]:
    """The device to work on, on it the data set that stage data prepared, and the settings for its classes."""
    fabric = launch(settings.hardware, settings.seed, settings.threads)
    register_networks(settings.model)
    expected = input_settings(settings.model)
    dataset: Dataset
    if settings.data.storage == "files":
        dataset = streaming.load(data, settings.data, expected, settings.hardware.workers)
    else:
        own = settings.data.statistics == "images"
        dataset = memory.load(data, settings.data, {} if own else {key: expected[key] for key in ("mean", "std")})
    return fabric, dataset.to(fabric.device), settings.for_classes(dataset.card["classes"])


def baseline_network(settings: Settings, baseline: Path) -> nn.Module:
    """The network that stage pretrain wrote."""
    model = build(settings.model.without_weights(), settings.seed)
    load_weights(model, baseline / WEIGHTS)
    return model


def own_files(settings: Settings) -> list[Path]:
    """Files of the person's own that decide a network beside the settings: another content is another piece of work."""
    path = module_file(settings.model)
    return [] if path is None else [path]


def files_of_baseline(settings: Settings) -> list[Path]:
    """Those that decide a baseline network: the given weights, too."""
    given = checkpoint_file(settings.model)
    return [*own_files(settings), *([given] if given else [])]


class Result(NamedTuple):
    """What a run has to say.

    rows: one per round or epoch. seconds: of the work; train_seconds: of that, of training so many `epochs`. tables:
    further ones, by file name.
    """

    metrics: Mapping[str, Any]
    rows: pd.DataFrame
    seconds: float
    train_seconds: float
    epochs: int
    tables: Mapping[str, pd.DataFrame]


def write_run(out: Path, work: Work, result: Result) -> None:
    """Write a finished run and complete its log; the first process does."""
    if not work.fabric.is_global_zero:
        return
    size = work.job.batch_size
    images = result.epochs * min(work.dataset.card["train"]["images"], work.dataset.batch_count(size) * size)
    files = {
        WEIGHTS: weight_bytes(work.model),
        METRICS: to_json(result.metrics),
        SETTINGS: to_json(work.job.decides),
        TIMING: timing(result.seconds, images, result.train_seconds, machine(work.fabric.device)),
        ITERATIONS: to_csv(result.rows),
    }
    write_files(out, files | {name: to_csv(table) for name, table in result.tables.items()})
    work.live.finish(read_run(out))
