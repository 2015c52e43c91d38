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
from pipeline.network.build import build, input_settings
from pipeline.network.weights import load_weights, weight_bytes
from pipeline.training import device
from pipeline.watching.tracking import LiveRun


def device_and_data(settings: Settings, data: Path) -> tuple[Fabric, Dataset]:
    """The device to work on, and on it the data set that stage data prepared."""
    fabric = device.launch(settings.hardware, settings.seed)
    expected = input_settings(settings.model)
    dataset: Dataset
    if settings.data.storage == "files":
        dataset = streaming.load(data, settings.data, expected, settings.hardware.workers)
    else:
        own = settings.data.statistics == "images"
        dataset = memory.load(data, settings.data, {} if own else {key: expected[key] for key in ("mean", "std")})
    return fabric, dataset.to(fabric.device)


def baseline_network(settings: Settings, baseline: Path) -> nn.Module:
    """The network that stage pretrain wrote."""
    model = build(settings.model.without_weights(), settings.seed)
    load_weights(model, baseline / WEIGHTS)
    return model


class Cost(NamedTuple):
    """Seconds of the work, and of that, seconds of training so many images."""

    seconds: float
    images: int
    train_seconds: float


def write_run(
    out: Path,
    model: nn.Module,
    metrics: Mapping[str, Any],
    settings: Mapping[str, Any],
    rows: pd.DataFrame,
    cost: Cost,
    tables: Mapping[str, pd.DataFrame],
    fabric: Fabric,
    live: LiveRun,
) -> None:
    """Write a finished run, its further tables by file name, and complete its log; the first process does."""
    if not fabric.is_global_zero:
        return
    files = {
        WEIGHTS: weight_bytes(model),
        METRICS: to_json(metrics),
        SETTINGS: to_json(settings),
        TIMING: timing(*cost),
        ITERATIONS: to_csv(rows),
    }
    write_files(out, files | {name: to_csv(table) for name, table in tables.items()})
    live.finish(read_run(out))
