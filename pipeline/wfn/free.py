"""The weights that are still free, as one vector of their own: what the optimiser sees.

Fixed weights are not in that vector, so no optimiser, momentum or weight decay can move them, and a step costs less the
more weights are fixed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def read_weights(parameters: Sequence[nn.Parameter]) -> Tensor:
    """All weights of `parameters` in one new float32 vector [N]."""
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


def write_weights_(parameters: Sequence[nn.Parameter], weights: Tensor) -> None:
    """Put weights [N] back where `read_weights` found them."""
    with torch.no_grad():
        sizes = [parameter.numel() for parameter in parameters]
        for parameter, part in zip(parameters, weights.split(sizes), strict=True):
            parameter.copy_(part.view_as(parameter))


class FreeWeights:
    """The weights of `parameters` that `fixed` [N] leaves free, gathered into one parameter `values` [n].

    A training step is: backward, `pull_gradients_`, optimiser step on `values`, `push_values_`.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], fixed: Tensor) -> None:
        sizes = [parameter.numel() for parameter in parameters]
        indices = [torch.nonzero(~part)[:, 0] for part in fixed.split(sizes)]
        self._parts = list(zip(parameters, indices, strict=True))
        self._sizes = [len(index) for index in indices]
        self.values = nn.Parameter(torch.cat([parameter.detach().view(-1)[index] for parameter, index in self._parts]))
        self.gradients = torch.zeros_like(self.values)
        self.values.grad = self.gradients

    def pull_gradients_(self) -> None:
        """Copy the gradients of the free weights into `gradients`; a parameter without gradient counts as zero."""
        for (parameter, index), part in zip(self._parts, self.gradients.split(self._sizes), strict=True):
            if parameter.grad is None:
                part.zero_()
            else:
                torch.index_select(parameter.grad.view(-1), 0, index, out=part)

    def push_values_(self) -> None:
        """Copy `values` into the network; the fixed weights are not touched."""
        with torch.no_grad():
            for (parameter, index), part in zip(self._parts, self.values.split(self._sizes), strict=True):
                parameter.view(-1).index_copy_(0, index, part)
