"""What the stages that train begin with: the device, the data set, and a network with the baseline's weights."""

from __future__ import annotations

from pathlib import Path

from lightning_fabric import Fabric
from torch import nn

from pipeline import data as memory
from pipeline import device, models, streaming
from pipeline.config import Settings
from pipeline.data import Dataset
from pipeline.results import WEIGHTS


def device_and_data(settings: Settings, data: Path) -> tuple[Fabric, Dataset]:
    """The device to work on, and on it the data set that stage data prepared."""
    fabric = device.launch(settings.hardware, settings.seed)
    expected = models.input_settings(settings.model)
    dataset: Dataset
    if settings.data.storage == "files":
        dataset = streaming.load(data, settings.data, expected, settings.hardware.workers)
    else:
        own = settings.data.statistics == "images"
        dataset = memory.load(data, settings.data, {} if own else {key: expected[key] for key in ("mean", "std")})
    return fabric, dataset.to(fabric.device)


def baseline_network(settings: Settings, baseline: Path) -> nn.Module:
    """The network that stage pretrain wrote."""
    model = models.build(settings.model.without_weights(), settings.seed)
    models.load_weights(model, baseline / WEIGHTS)
    return model
