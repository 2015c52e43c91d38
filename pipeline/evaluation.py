"""Measuring a network: accuracy on the test images, and everything counted of its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pipeline.data import Dataset, batches, normalise
from pipeline.metrics import top_k_accuracy, weight_metrics
from pipeline.models import layers

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
        outputs = [model(normalise(batch.pixels, dataset.card)) for batch in batches(dataset.test, BATCH)]
    model.train(was_training)
    logits, labels = torch.cat(outputs).float().cpu(), dataset.test.labels.cpu()
    return Accuracy(*(top_k_accuracy(logits, labels, k) for k in (1, 5)))


def measure(model: nn.Module, dataset: Dataset) -> dict[str, Any]:
    """The content of metrics.json: accuracy, then counts and entropies of the weights."""
    accuracy = evaluate(model, dataset)
    return {"top1": accuracy.top1, "top5": accuracy.top5, **weight_metrics(layers(model))}
