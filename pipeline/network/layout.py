"""The layers of a network and how often a forward pass uses their weights: for the report, which loads no networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.network.parameters import layers
from pipeline.network.predicting import predicting
from pipeline.network.small_maps import SmallMapConv2d

ROLES = ("batch_norm", "downsample", "first", "last")


def layer_table(network: nn.Module, image: Tensor) -> pd.DataFrame:
    """One row per parameter, in the network's order: its name, number of weights, uses, and whether it has each role.

    uses: how many results of one forward pass of `image` [1, C, H, W] each of its weights enters: the positions of a
    convolution's output, one for a linear layer behind the pooling, one for what is not called as a module of its own.
    idle: how many of the weights meet nothing but padding, and so cannot act on any result.
    """
    uses, acting = _watched(network, image)
    rows = []
    for layer in layers(network):
        rows.append(
            {
                "parameter": layer.name,
                "weights": len(layer.values),
                "uses": uses.get(layer.name.rpartition(".")[0], 1),
                "idle": int((~acting[layer.name]).sum()) if layer.name in acting else 0,
                **{role: role in layer.roles for role in ROLES},
            }
        )
    return pd.DataFrame(rows)


def acting_weights(network: nn.Module, image: Tensor) -> dict[str, NDArray[np.bool_]]:
    """Which weights [n] act on some output, by the parameter's name, where some may meet nothing but padding.

    image: as `layer_table` takes it. What has no name here acts as a whole.
    """
    return _watched(network, image)[1]


def _tensors(output: object) -> list[Tensor]:
    """Those among what a module gives back."""
    if isinstance(output, Tensor):
        return [output]
    return [tensor for each in output for tensor in _tensors(each)] if isinstance(output, list | tuple) else []


def _watched(network: nn.Module, image: Tensor) -> tuple[Counter[str], dict[str, NDArray[np.bool_]]]:
    """Per module with a weight: values that it puts out, per channel; and, per weight, which of it acts anywhere."""
    found: Counter[str] = Counter()
    acting: dict[str, NDArray[np.bool_]] = {}

    def watch(name: str, channels: int) -> Callable[..., None]:
        def count(module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
            found[name] += sum(each.numel() for each in _tensors(output)) // channels
            if isinstance(module, SmallMapConv2d):
                taps = module.acting(inputs[0].shape[-2:]).expand(module.weight.shape).numpy().ravel()
                acting[f"{name}.weight"] = taps | acting.get(f"{name}.weight", False)

        return count

    hooks = []
    for name, module in network.named_modules():
        weight = module._parameters.get("weight")
        if weight is not None:
            hooks.append(module.register_forward_hook(watch(name, max(1, weight.shape[0] if weight.ndim else 1))))
    with predicting(network):
        network.forward(image)  # not its call, which may be a compiled one: that would be traced with these hooks
    for hook in hooks:
        hook.remove()
    return found, acting
