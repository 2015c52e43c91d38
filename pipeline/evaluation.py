"""Measuring a network: accuracy on the test images, and everything counted of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from lightning_fabric import is_wrapped
from torch import nn

from pipeline.data import Dataset
from pipeline.metrics import top_k_accuracy
from pipeline.models import buffer_bytes, layers
from pipeline.quantised import Quantised

BATCH = 500


@dataclass(frozen=True)
class Accuracy:
    """Percent of test images with the right class first, and among the first five."""

    top1: float
    top5: float


def evaluate(model: nn.Module, dataset: Dataset) -> Accuracy:
    """Accuracy of `model` on the test images, in evaluation mode; the model's mode is restored."""
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        outputs = [(model(batch.pixels).float().cpu(), batch.labels.cpu()) for batch in dataset.test_batches(BATCH)]
    model.train(was_training)
    logits, labels = (torch.cat(part) for part in zip(*outputs, strict=True))
    return Accuracy(*(top_k_accuracy(logits, labels, k) for k in (1, 5)))


def measure(
    network: nn.Module, dataset: Dataset, shared: Sequence[Sequence[str]] = ()
) -> tuple[dict[str, Any], Quantised]:
    """The content of metrics.json - accuracy, then what is counted of the weights - and the network as it was counted.

    network: plain, or set up by the fabric. shared: names of the parameters that share a codebook, one group per
    codebook; none for a float network.
    """
    accuracy = evaluate(network, dataset)
    # In the fabric's wrapper the parameters have other names.
    model = cast(nn.Module, network.module) if is_wrapped(network) else network
    quantised = Quantised(list(layers(model)), shared, buffer_bytes(model))
    return {"top1": accuracy.top1, "top5": accuracy.top5, **quantised.metrics()}, quantised
