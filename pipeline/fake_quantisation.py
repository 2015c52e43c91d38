"""Training with quantised weights: float weights underneath, quantised ones in the forward pass.

Built on torch's parametrisations: a layer's `weight` is computed from its float original at every forward pass, and is
written back as an ordinary weight in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pipeline.config import InputError

# Of the first and the last layer: quantised coarser, they cost accuracy and save little.
OUTER_BITS = 8


@dataclass(frozen=True)
class WeightLayer:
    """A convolution or linear layer; `outer` marks the network's first and last."""

    name: str
    module: nn.Module
    outer: bool

    @property
    def weight(self) -> nn.Parameter:
        """Its weight, of any shape."""
        return cast(nn.Parameter, self.module.weight)

    @property
    def weight_name(self) -> str:
        """The name of its weight in the network."""
        return f"{self.name}.weight"


def weight_layers(model: nn.Module) -> list[WeightLayer]:
    """Convolution and linear layers in order. Raises InputError where two of them share one weight."""
    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]
    owners: dict[int, str] = {}
    for name, module in found:
        owner = owners.setdefault(id(module.weight), name)
        if owner != name:
            raise InputError(f"model: {name} shares the weight of {owner}; a codebook per layer needs them apart")
    last = len(found) - 1
    return [WeightLayer(name, module, place in (0, last)) for place, (name, module) in enumerate(found)]


def attach(layer: WeightLayer, projection: nn.Module) -> None:
    """From now on the layer's weight is `projection` of its float original."""
    parametrize.register_parametrization(layer.module, "weight", projection)


def bake(layers: Sequence[WeightLayer]) -> None:
    """Make the quantised weights the layers' own, and forget the float originals."""
    for layer in layers:
        parametrize.remove_parametrizations(layer.module, "weight", leave_parametrized=True)


def round_through(values: Tensor) -> Tensor:
    """Rounded values whose gradient is that of the values themselves (straight-through)."""
    return values + (values.round() - values).detach()


class MaxScaled(nn.Module):
    """Uniform symmetric quantisation to `bits` over the range of the weights, with straight-through gradients."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.largest = 2 ** (bits - 1) - 1

    def forward(self, weight: Tensor) -> Tensor:
        """A weight of any shape as multiples of one step."""
        step = weight.detach().abs().amax().clamp_min(torch.finfo(weight.dtype).tiny) / self.largest
        return round_through(weight / step) * step
