"""Training with quantised weights: float weights underneath, quantised ones in the forward pass.

Built on torch's parametrisations: a layer's `weight` is computed from its float original at every forward pass, and is
written back as an ordinary weight in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pipeline.base.errors import InputError

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
    """Convolution and linear layers in order. Raises InputError where there are none, or two of them share a weight."""
    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]
    if not found:
        raise InputError("model: has no convolution and no linear layer to quantise")
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


def few_valued(model: nn.Module, most: int) -> list[list[str]]:
    """Names of the layers' weights that have at most `most` distinct values, each a group of its own."""
    layers = weight_layers(model)
    return [[layer.weight_name] for layer in layers if len(layer.weight.detach().unique()) <= most]


class Levels(Protocol):
    """The levels that numbers are rounded to; the highest is 1."""

    lowest: int

    def nearest(self, numbers: Tensor) -> Tensor:
        """The nearest level of each number, in their shape; all must be between the lowest level and 1."""


class UniformLevels:
    """The multiples of 1 / count from -1 to 1."""

    lowest = -1

    def __init__(self, count: int) -> None:
        self.count = count

    def nearest(self, numbers: Tensor) -> Tensor:
        """As `Levels` says; halfway goes to the even multiple."""
        return (numbers * self.count).round_().div_(self.count)


class Project(torch.autograd.Function):
    """x -> alpha * q(x / alpha), where q clips and then takes the nearest level.

    Gradients: straight through for x, with `clipped` only where nothing is cut off; for alpha the sum of g (q - u), or
    of g q where u = x / alpha is cut off.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, levels: Levels, clipped: bool) -> Tensor:
        """Levels times alpha, in the shape of x."""
        u = x / alpha
        bounded = u.clamp(levels.lowest, 1)
        q = levels.nearest(bounded)
        inside = bounded == u
        ctx.save_for_backward(torch.where(inside, q - u, q), inside)
        ctx.clipped = clipped
        return q * alpha

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Gradients of x and alpha."""
        (gradient,) = gradients
        to_alpha, inside = ctx.saved_tensors
        to_x = gradient * inside if ctx.clipped else gradient
        return to_x, torch.dot(gradient.flatten(), to_alpha.flatten()), None, None


def project(x: Tensor, alpha: Tensor, levels: Levels, *, clipped: bool) -> Tensor:
    """alpha * q(x / alpha) in the shape of x, as `Project` says."""
    return cast(Tensor, Project.apply(x, alpha, levels, clipped))


class MaxScaled(nn.Module):
    """Uniform symmetric quantisation to `bits` over the range of the weights, with straight-through gradients."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.levels = UniformLevels(2 ** (bits - 1) - 1)

    def forward(self, weight: Tensor) -> Tensor:
        """A weight of any shape as multiples of one step."""
        largest = weight.detach().abs().amax().clamp_min(torch.finfo(weight.dtype).tiny)
        return project(weight, largest, self.levels, clipped=False)
