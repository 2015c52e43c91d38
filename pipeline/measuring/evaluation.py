"""Measuring a network: accuracy on the test images, and everything counted of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import nn

from pipeline.base.metrics import top_k_hits
from pipeline.data.dataset import Dataset
from pipeline.measuring.codebooks import Quantised
from pipeline.network.parameters import buffer_bytes, layers
from pipeline.training.device import equalise_buffers_, share_of, unwrapped

BATCH = 500


@dataclass(frozen=True)
class Accuracy:
    """Percent of test images with the right class first, and among the first five."""

    top1: float
    top5: float


def evaluate(fabric: Fabric, network: nn.Module, dataset: Dataset) -> Accuracy:
    """Accuracy on the test images, in evaluation mode; every process works on its share. The mode is restored.

    network: plain, or set up by the fabric.
    """
    model = unwrapped(network)
    equalise_buffers_(fabric, model)
    was_training = model.training
    model.eval()
    right = torch.zeros(3, dtype=torch.float64)  # within the first, within the first five, images
    with torch.inference_mode(), fabric.autocast():
        for batch in dataset.test_batches(BATCH, share_of(fabric)):
            logits, labels = model(batch.pixels).float().cpu(), batch.labels.cpu()
            right += torch.tensor([*(top_k_hits(logits, labels, k) for k in (1, 5)), len(labels)])
    model.train(was_training)
    if fabric.world_size > 1:
        right = cast(torch.Tensor, fabric.all_reduce(right.to(fabric.device), reduce_op="sum")).cpu()
    top1, top5, images = right.tolist()
    return Accuracy(top1 / images * 100, top5 / images * 100)


def measure(
    fabric: Fabric, network: nn.Module, dataset: Dataset, shared: Sequence[Sequence[str]] = ()
) -> tuple[dict[str, Any], Quantised]:
    """The content of metrics.json - accuracy, then what is counted of the weights - and the network as it was counted.

    network: plain, or set up by the fabric. shared: names of the parameters that share a codebook, one group per
    codebook; none for a float network.
    """
    accuracy = evaluate(fabric, network, dataset)
    model = unwrapped(network)
    quantised = Quantised(list(layers(model)), shared, buffer_bytes(model))
    return {"top1": accuracy.top1, "top5": accuracy.top5, **quantised.metrics()}, quantised
