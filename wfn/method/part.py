"""One parameter and what is fixed of it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wfn.method.masked import pull_, put_
from wfn.method.parameters import flat, shaped_like
from wfn.method.regulariser import Regulariser

FREE = -1  # in place of an index into the codebook


class Part:
    """One parameter with what is fixed of it; all vectors [N] are in the order of its memory."""

    def __init__(self, name: str, parameter: nn.Parameter) -> None:
        self.name, self.parameter = name, parameter
        self.fixed = torch.zeros(parameter.numel(), dtype=torch.bool, device=parameter.device)
        self.kept = torch.empty_like(flat(parameter.detach()))  # the values of its fixed weights
        self.free = ~self.fixed
        self.slopes = torch.empty(0)
        self.free_count = parameter.numel()

    @property
    def any_fixed(self) -> bool:
        """Whether there is anything to hold."""
        return self.free_count < self.parameter.numel()

    def fix_(self, values: Tensor, fixed: Tensor) -> None:
        """From now on the weights marked in `fixed` [N] are `values` [N]."""
        self.kept, self.fixed, self.free = values.to(self.kept), fixed, ~fixed
        self.free_count = int(self.free.sum())

    @torch.no_grad()
    def restore_(self) -> None:
        """Put the fixed weights back to their values."""
        if self.any_fixed:
            put_(flat(self.parameter), self.kept, self.fixed)

    def has_moved(self) -> bool:
        """Whether a fixed weight is not at its value."""
        return self.any_fixed and bool(((flat(self.parameter.detach()) != self.kept) & self.fixed).any())

    def indices(self, codebook: NDArray[np.float32]) -> Tensor:
        """Its weights as indices into `codebook` [k], `FREE` where they are free."""
        found = torch.from_numpy(np.searchsorted(codebook, self.kept.float().cpu().numpy()).astype(np.int32))
        return shaped_like(found.masked_fill_(self.free.cpu(), FREE), self.parameter).clone()

    def in_memory_order(self, shaped: Tensor) -> Tensor:
        """A tensor of its shape as a vector in the order of its memory."""
        return flat(torch.empty_like(self.parameter, dtype=shaped.dtype, device=shaped.device).copy_(shaped))

    @torch.no_grad()
    def slopes_(self, regulariser: Regulariser) -> Tensor:
        """Put the regulariser's slope at every free weight, 0 elsewhere, into `slopes`; returns its sum over them."""
        weights = flat(self.parameter).float()
        if self.slopes.shape != weights.shape or self.slopes.device != weights.device:
            self.slopes = torch.empty_like(weights)
        return regulariser.slopes_(self.slopes, weights, self.free if self.any_fixed else None)

    @torch.no_grad()
    def pull_(self, strength: Tensor) -> None:
        """Add `strength` times the slopes to the gradient of the free weights; no gradient for the fixed ones."""
        if self.parameter.grad is None:
            self.parameter.grad = torch.zeros_like(self.parameter)
        gradient = self.parameter.grad
        if gradient.stride() == self.parameter.stride():
            pull_(flat(gradient), self.slopes, strength, self.fixed)
        else:
            slopes, fixed = (shaped_like(each, self.parameter) for each in (self.slopes, self.fixed))
            pull_(gradient, slopes, strength, fixed)

    @torch.no_grad()
    def hold_(self) -> None:
        """No gradient for the fixed weights."""
        if self.any_fixed and self.parameter.grad is not None:
            self.parameter.grad.masked_fill_(shaped_like(self.fixed, self.parameter), 0)
