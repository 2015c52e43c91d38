"""The layers of a network and how often a forward pass uses their weights: for the report, which loads no networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from pipeline.network.parameters import layers

ROLES = ("batch_norm", "downsample", "first", "last")


def layer_table(network: nn.Module, image: Tensor) -> pd.DataFrame:
    """One row per parameter, in the network's order: its name, number of weights, uses, and whether it has each role.

    uses: how many results of one forward pass of `image` [1, C, H, W] each of its weights enters: the positions of a
    convolution's output, one for a linear layer behind the pooling, one for what is not called as
    a module of its own.
    """
    uses = _positions(network, image)
    rows = [
        {
            "parameter": layer.name,
            "weights": len(layer.values),
            "uses": uses.get(layer.name.rpartition(".")[0], 1),
            **{role: role in layer.roles for role in ROLES},
        }
        for layer in layers(network)
    ]
    return pd.DataFrame(rows)


def _positions(network: nn.Module, image: Tensor) -> Counter[str]:
    """Per module with a weight: values that it puts out, per channel."""
    found: Counter[str] = Counter()

    def watch(name: str, channels: int) -> Callable[..., None]:
        def count(*call: Any) -> None:
            found[name] += call[-1].numel() // channels  # module, inputs, output

        return count

    hooks = []
    for name, module in network.named_modules():
        weight = module._parameters.get("weight")
        if weight is not None:
            hooks.append(module.register_forward_hook(watch(name, weight.shape[0])))
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        network(image)
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return found
