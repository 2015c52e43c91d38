"""Measuring a network: accuracy on the test images, and everything counted of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from pipeline.base.errors import DivergedError
from pipeline.data.dataset import Dataset
from pipeline.measuring.codebooks import Quantised
from pipeline.network.layout import acting_weights
from pipeline.network.parameters import buffer_bytes, layers
from pipeline.network.predicting import predicting
from pipeline.training.device import equalise_buffers_, share_of, summed, unwrapped

BATCH = 500


@dataclass(frozen=True)
class Accuracy:
    """Percent of test images with the right class first, and among the first five."""

    top1: float
    top5: float


def evaluate(fabric: Fabric, network: nn.Module, dataset: Dataset) -> Accuracy:
    """Accuracy on the test images, in evaluation mode; every process works on its share. The mode is restored.

    network: plain, or set up by the fabric. Raises DivergedError where its outputs are not finite.
    """
    model = unwrapped(network)
    equalise_buffers_(fabric, model)
    # Images that are right within the first, within the first five, all, and those whose outputs are no numbers.
    seen = torch.zeros(4, dtype=torch.float64)
    with predicting(model), fabric.autocast():
        for batch in dataset.test_batches(BATCH, share_of(fabric)):
            logits, labels = model(batch.pixels).float().cpu(), batch.labels.cpu()
            bad = int((~logits.isfinite()).any(1).sum())
            seen += torch.tensor([*hits(logits, labels), len(labels), bad])
    top1, top5, images, bad = summed(fabric, seen).tolist()
    if bad:
        raise DivergedError(
            f"top-1: the outputs of the network are not finite for {bad:.0f} of the {images:.0f} test images; its "
            "weights, or the running statistics of its batch-norm, are too large"
        )
    return Accuracy(top1 / images * 100, top5 / images * 100)


def hits(logits: Tensor, labels: Tensor) -> tuple[int, int]:
    """Rows of the logits [N, classes] whose label [N] is the largest of them, and among the five largest.

    Of equal ones the first class comes first.
    """
    right = logits.argsort(dim=1, descending=True, stable=True)[:, :5] == labels[:, None]
    return int(right[:, :1].sum()), int(right.sum())


def measure(
    fabric: Fabric, network: nn.Module, dataset: Dataset, shared: Sequence[Sequence[str]] = ()
) -> tuple[dict[str, Any], Quantised]:
    """The content of metrics.json - accuracy, then what is counted of the weights - and the network as it was counted.

    network: plain, or set up by the fabric. shared: names of the parameters that share a codebook, one group per
    codebook; none for a float network.
    """
    accuracy = evaluate(fabric, network, dataset)
    model = unwrapped(network)
    acting = acting_weights(model, dataset.sample(1))
    counted = [replace(layer, acting=acting.get(layer.name)) for layer in layers(model)]
    quantised = Quantised(counted, shared, buffer_bytes(model))
    return {"top1": accuracy.top1, "top5": accuracy.top5, **quantised.metrics()}, quantised
