"""Additive powers-of-two quantisation (APoT): Y. Li, X. Dong, W. Wang, ICLR 2020, and how its program behaves.

Levels that are sums of powers of two, times one learned clipping value per layer; weights and, if wanted, activations.
docs/baselines.md has the details and what differs here.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.base.errors import InputError
from pipeline.comparing.fake_quantisation import (
    OUTER_BITS,
    MaxScaled,
    WeightLayer,
    attach,
    bake,
    project,
    weight_layers,
)
from pipeline.comparing.task import Outcome, Task
from pipeline.network.predicting import predicting

BITS = range(2, 6)
PROGRESSIVE_START = 4  # narrower networks start from this width, one bit at a time

WEIGHT_CLIP = 3.0  # in standard deviations
ACTIVATION_CLIP = {"cifar": 8.0, "imagenet": 6.0}
# Learning rates of the clipping values, relative to the weights'.
WEIGHT_CLIP_RATE, ACTIVATION_CLIP_RATE = 0.5, 2.5

# Per width, the exponents of the sets from each of which one term, or none, is added.
EXPONENTS: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((0,),),
    2: ((-1, -2, -3),),
    3: ((-1, -2, -4), (-3,)),
    4: ((-1, -3, -5), (-2, -4, -6)),
    5: ((-1, -3, -6), (-2, -4, -7), (-5,)),
}


def magnitudes(bits: int) -> list[Fraction]:
    """The 2^bits levels between 0 and 1, rising. Raises ValueError for a width that is not defined (1 to 5 are)."""
    if bits not in EXPONENTS:
        raise ValueError(f"{bits} bits: APoT levels are defined for 1 to {max(EXPONENTS)} bits")
    terms = [[Fraction(0), *(Fraction(2) ** exponent for exponent in chosen)] for chosen in EXPONENTS[bits]]
    sums = {sum(chosen, Fraction(0)) for chosen in itertools.product(*terms)}
    return sorted(value / max(sums) for value in sums)


def _nearest(number: Fraction, levels: list[Fraction]) -> Fraction:
    return min(levels, key=lambda level: abs(level - number))


class AdditiveLevels:
    """Rounding to the nearest level between 0 and 1, or -1 and 1 where `signed`; halfway goes to the lower one.

    All midpoints between levels are multiples of one 1/D, so the level of a number is looked up by the cell of width
    1/D that it lies in: five times as fast as a search.
    """

    def __init__(self, bits: int, signed: bool) -> None:
        levels = magnitudes(bits)
        levels = sorted({*levels, *(-level for level in levels)}) if signed else levels
        self.lowest = int(levels[0])
        self.cells = 2 * math.lcm(*(level.denominator for level in levels))
        middles = [Fraction(2 * cell - 1, 2 * self.cells) for cell in range(self.lowest * self.cells, self.cells + 1)]
        # The last cell is for what is no number: a training that diverges has to end with a loss that says so.
        self._table = torch.tensor([*(float(_nearest(middle, levels)) for middle in middles), math.nan])

    def nearest(self, numbers: Tensor) -> Tensor:
        """The nearest level of each number, in their shape; all must be NaN or between the lowest level and 1."""
        self._table = self._table.to(numbers.device, numbers.dtype)
        cells = (numbers * self.cells).ceil_().nan_to_num_(self.cells + 1).int().sub_(self.lowest * self.cells)
        return self._table.index_select(0, cells.flatten()).view_as(numbers)


class Normalise(torch.autograd.Function):
    """w -> (w - mean) / std of the whole tensor; the gradient passes through both statistics, or through neither."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, through: bool) -> Tensor:
        """Weights of mean 0 and (unbiased) deviation 1."""
        centred = weight - weight.mean()
        # torch.std has one thread; a constant weight has no deviation to divide by.
        std = torch.linalg.vector_norm(centred) / math.sqrt(max(1, weight.numel() - 1))
        std = std.clamp_min(torch.finfo(weight.dtype).eps)
        normalised = centred.div_(std)
        ctx.save_for_backward(normalised, std)
        ctx.through = through
        return normalised

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Gradient of the weights."""
        (gradient,) = gradients
        normalised, std = ctx.saved_tensors
        if ctx.through:
            along = torch.dot(gradient.flatten(), normalised.flatten()) / max(1, normalised.numel() - 1)
            gradient = torch.addcmul(gradient - gradient.mean(), normalised, along, value=-1)
        return gradient / std, None


class WeightProjection(nn.Module):
    """Weights of mean 0 and deviation 1, clipped at alpha, on signed levels of one bit less than the width."""

    def __init__(self, recipe: str) -> None:
        super().__init__()
        self.recipe = recipe
        self.alpha = nn.Parameter(torch.tensor(WEIGHT_CLIP))
        self.width = 0

    def set_width(self, bits: int) -> None:
        """Quantise to `bits` from now on."""
        self.width, self.levels = bits, AdditiveLevels(bits - 1, signed=True)

    def forward(self, weight: Tensor) -> Tensor:
        """Projected weights; the layer's batch-norm makes up for the scale that normalising takes away."""
        normalised = Normalise.apply(weight, self.recipe == "imagenet")
        return project(normalised, self.alpha, self.levels, clipped=self.recipe == "imagenet" and self.width > 2)


class ActivationProjection(nn.Module):
    """A layer's input clipped at alpha, on the levels of its width; signed levels where the input has two signs."""

    def __init__(self, recipe: str, signed: bool) -> None:
        super().__init__()
        self.signed = signed
        self.alpha = nn.Parameter(torch.tensor(ACTIVATION_CLIP[recipe]))

    def set_width(self, bits: int) -> None:
        """Quantise to `bits` from now on."""
        self.levels = AdditiveLevels(bits - 1 if self.signed else bits, self.signed)

    def forward(self, x: Tensor) -> Tensor:
        """Projected activations, in the shape of x."""
        return project(x, self.alpha, self.levels, clipped=True)


def widths(bits: int) -> list[int]:
    """The widths that a network of `bits` is trained at, one after the other."""
    return list(range(max(bits, PROGRESSIVE_START), bits - 1, -1))


def shares(epochs: int, parts: int) -> list[int]:
    """`epochs` in `parts` as equal as can be, the longer ones last."""
    return [(part + 1) * epochs // parts - part * epochs // parts for part in range(parts)]


def quantise(task: Task) -> Outcome:
    """Train the network through the widths down to the one asked for, each from where the one before ended."""
    chosen = task.settings.baselines.apot
    layers = weight_layers(task.model)
    inner = [layer for layer in layers if not layer.outer]
    weights = [WeightProjection(chosen.recipe) for _ in inner]
    activations = _attach_to_inputs(task, inner, chosen.recipe) if chosen.activations else []
    projections: list[WeightProjection | ActivationProjection] = [*weights, *activations]
    steps = widths(task.bits)
    for projection in projections:  # what is attached is called at once
        projection.set_width(steps[0])
    own = iter(weights)
    for layer in layers:
        attach(layer, MaxScaled(OUTER_BITS) if layer.outer else next(own))
    for width, count in zip(steps, shares(task.settings.training_epochs, len(steps)), strict=True):
        for projection in projections:
            projection.set_width(width)
        task.train(task.sgd(_groups(task, weights, activations)), count, f"apot, {width} bits")
    bake(layers)
    for activation in activations:  # a clipping value of activations is no weight, and not to be counted as one
        clip = activation.alpha.detach()
        del activation.alpha
        activation.register_buffer("alpha", clip)
    return Outcome([[layer.weight_name] for layer in layers], task.bits if chosen.activations else None)


def _groups(
    task: Task, weights: list[WeightProjection], activations: list[ActivationProjection]
) -> list[dict[str, Any]]:
    """Parameters with their learning rates: clipping values have their own, and no weight decay."""
    clips = [[projection.alpha for projection in part] for part in (weights, activations)]
    ours = {id(alpha) for part in clips for alpha in part}
    rest = [parameter for parameter in task.model.parameters() if id(parameter) not in ours]
    rates = (WEIGHT_CLIP_RATE * task.sgd_rate, ACTIVATION_CLIP_RATE * task.sgd_rate)
    special = [{"params": part, "lr": lr, "weight_decay": 0.0} for part, lr in zip(clips, rates, strict=True) if part]
    return [{"params": rest}, *special]


def _attach_to_inputs(task: Task, layers: list[WeightLayer], recipe: str) -> list[ActivationProjection]:
    """Quantise what goes into `layers` from now on; one batch of training images shows whether it has two signs."""
    lowest = {layer.name: math.inf for layer in layers}
    watches = [
        layer.module.register_forward_pre_hook(
            lambda _, inputs, name=layer.name: lowest.update({name: min(lowest[name], float(inputs[0].min()))})
        )
        for layer in layers
    ]
    images = task.dataset.sample(task.settings.quantise.batch_size)
    with predicting(task.model):
        task.model(images)
    for watch in watches:
        watch.remove()
    unseen = [name for name, low in lowest.items() if low == math.inf]
    if unseen:
        raise InputError(
            f"baselines.apot.activations = true: {unseen[0]} is not called as a layer, its input cannot be quantised; "
            "allowed for this model: false"
        )
    projections = []
    for layer in layers:
        projection = ActivationProjection(recipe, signed=lowest[layer.name] < 0).to(images.device)
        layer.module.add_module("input_quantiser", projection)
        layer.module.register_forward_pre_hook(lambda module, inputs: module.input_quantiser(*inputs))
        projections.append(projection)
    return projections
