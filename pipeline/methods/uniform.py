"""Uniform symmetric quantisation with a learned step per layer (LSQ): S. Esser et al., ICLR 2020.

Weights only; activations stay float. The first and the last layer have 8 bits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pipeline.comparing.fake_quantisation import OUTER_BITS, UniformLevels, attach, bake, project, weight_layers
from pipeline.comparing.task import Outcome, Task

BITS = range(2, 9)


class LearnedStep(nn.Module):
    """w -> s * round(clip(w / s, -Q, Q)) with Q = 2^(bits - 1) - 1 and a learned step s (equations 1 to 3 there).

    That is a projection on the multiples of 1 / Q with the clipping value Q s, gradients included.
    """

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__()
        largest = 2 ** (bits - 1) - 1
        self.levels = UniformLevels(largest)
        self.gradient_scale = 1 / math.sqrt(weight.numel() * largest)
        start = 2 * weight.detach().abs().mean() / math.sqrt(largest)
        self.step = nn.Parameter(start.clamp_min(torch.finfo(weight.dtype).tiny))

    def forward(self, weight: Tensor) -> Tensor:
        """A weight of any shape as at most 2 Q + 1 multiples of the step."""
        scaled = self.step * self.gradient_scale
        step = scaled + (self.step - scaled).detach()  # the step, with its gradient scaled
        return project(weight, step * self.levels.count, self.levels, clipped=True)


def quantise(task: Task) -> Outcome:
    """Train steps and weights together, from the float network."""
    layers = weight_layers(task.model)
    for layer in layers:
        attach(layer, LearnedStep(layer.weight, OUTER_BITS if layer.outer else task.bits))
    task.train(task.sgd(task.model.parameters()), task.settings.training_epochs)
    bake(layers)
    return Outcome([[layer.weight_name] for layer in layers])
