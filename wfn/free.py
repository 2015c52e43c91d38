"""The weights that are still free, as one vector of their own: what the optimiser sees.

Fixed weights are not in that vector, so no optimiser, momentum or weight decay can move them, and a step costs less the
more weights are fixed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def flat(tensor: Tensor) -> Tensor:
    """All elements of a dense tensor as a vector that shares its memory, in the order of the memory.

    The order of the shape for an ordinary tensor, another one for a tensor with its channels last.
    """
    return tensor.as_strided((tensor.numel(),), (1,))


def read_weights(parameters: Sequence[nn.Parameter]) -> Tensor:
    """All weights of `parameters` in one new float32 vector [N]."""
    return torch.cat([flat(parameter.detach()) for parameter in parameters])


def write_weights_(parameters: Sequence[nn.Parameter], weights: Tensor) -> None:
    """Put weights [N] back where `read_weights` found them."""
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, part in zip(parameters, weights.split(sizes), strict=True):
        flat(parameter.detach()).copy_(part)


class FreeWeights:
    """The weights of `parameters` that `fixed` [N] leaves free, gathered into one parameter `values` [n].

    A training step is: backward, `pull_gradients_`, optimiser step on `values`, `push_values_`. Frozen parameters,
    those that want no gradient, have no part in it.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], fixed: Tensor) -> None:
        parts = zip(parameters, fixed.split([parameter.numel() for parameter in parameters]), strict=True)
        self._parts = [(each, torch.nonzero(~part)[:, 0]) for each, part in parts if each.requires_grad]
        self._sizes = [len(index) for _, index in self._parts]
        device = fixed.device
        values = [torch.empty(0, device=device), *(flat(each.detach())[index] for each, index in self._parts)]
        self.values = nn.Parameter(torch.cat(values))
        self.gradients = torch.zeros_like(self.values)
        self.values.grad = self.gradients

    def pull_gradients_(self) -> None:
        """Copy the gradients of the free weights into `gradients`; a parameter without gradient counts as zero."""
        for (parameter, index), part in zip(self._parts, self.gradients.split(self._sizes), strict=True):
            if parameter.grad is None:
                part.zero_()
                continue
            gradient = parameter.grad
            if gradient.stride() != parameter.stride():
                gradient = torch.empty_like(parameter.detach()).copy_(gradient)
            torch.index_select(flat(gradient), 0, index, out=part)

    def push_values_(self) -> None:
        """Copy `values` into the network; the fixed weights are not touched."""
        values = self.values.detach().split(self._sizes)
        for (parameter, index), part in zip(self._parts, values, strict=True):
            flat(parameter.detach()).index_copy_(0, index, part)
