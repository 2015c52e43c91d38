"""A k-means codebook of 2^bits values per layer, fine-tuned (Deep Compression without its pruning).

Weights of convolution and linear layers; batch-norm and biases stay float.
"""

from __future__ import annotations

from pipeline.comparing.fake_quantisation import weight_layers
from pipeline.comparing.palette import fine_tuned
from pipeline.comparing.task import Outcome, Task

BITS = range(1, 9)


def quantise(task: Task) -> Outcome:
    """Cluster every layer by itself."""
    return fine_tuned(task, [{layer.weight_name: layer.weight} for layer in weight_layers(task.model)])
