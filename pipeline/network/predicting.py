"""A network as it predicts, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def predicting(network: nn.Module) -> Iterator[None]:
    """In evaluation mode and without gradients; the mode is put back afterwards."""
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        network.train(was_training)
