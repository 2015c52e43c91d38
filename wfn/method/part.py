"""One parameter and what is fixed of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wfn.method.masked import pull_, put_
from wfn.method.parameters import check_parameter, flat, shaped_like
from wfn.method.regulariser import Regulariser

FREE = -1  # in place of an index into the codebook


class Part:
    """One parameter with what is fixed of it; all vectors [N] are in the order of its memory.

    A parameter may come to another device, or have its channels last, at any time: what is kept of it follows.
    """

    def __init__(self, name: str, parameter: nn.Parameter) -> None:
        self.name, self.parameter = name, parameter
        self._layout = _Layout.of(parameter)
        self.fixed = torch.zeros(parameter.numel(), dtype=torch.bool, device=parameter.device)
        self.kept = torch.empty_like(flat(parameter.detach()))  # the values of its fixed weights
        self.free = ~self.fixed
        self.slopes = torch.empty(0)
        self.free_count = parameter.numel()
        self._version = _version(parameter)  # of the last time that its fixed weights were seen at their values

    @property
    def any_fixed(self) -> bool:
        """Whether there is anything to hold."""
        return self.free_count < self.parameter.numel()

    def fix_(self, values: Tensor, fixed: Tensor) -> None:
        """From now on the weights marked in `fixed` [N] are `values` [N]."""
        self.kept, self.fixed = values.to(self.parameter.device, self.parameter.dtype), fixed
        self.free, self.free_count = ~fixed, int((~fixed).sum())
        self._layout = _Layout.of(self.parameter)
        self._version = -1

    def follow_(self) -> None:
        """Bring what is kept to where the parameter is now, in the order of its memory.

        Raises RuntimeError where it has got another shape or type, as a shard or a cast has, ValueError where it is now
        a view.
        """
        old, new = self._layout, _Layout.of(self.parameter)
        if old == new:
            return
        check_parameter(self.name, self.parameter)
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise RuntimeError(
                f"{self.name}: is {_said(new)}, and was {_said(old)}; after a change of shape or type a new "
                "WeightFixer is needed"
            )
        self.kept, self.fixed = (
            self.in_memory_order(vector.as_strided(old.shape, old.stride)).to(new.device)
            for vector in (self.kept, self.fixed)
        )
        self.free, self._layout = ~self.fixed, new

    @torch.no_grad()
    def restore_(self) -> None:
        """Put the fixed weights back to their values."""
        self.follow_()
        if self.any_fixed:
            put_(flat(self.parameter), self.kept, self.fixed)
        self._version = _version(self.parameter)

    def restore_if_touched_(self) -> None:
        """As `restore_`; nothing is written where nothing has written to the parameter since it was last seen."""
        if _version(self.parameter) != self._version:
            self.restore_()

    def check_held(self) -> None:
        """Raise RuntimeError where a fixed weight is not at its value any more."""
        self.follow_()
        if self.any_fixed and bool(((flat(self.parameter.detach()) != self.kept) & self.fixed).any()):
            raise RuntimeError(
                f"{self.name}: fixed weights have moved since the last fix_; attach() every optimiser that steps, and "
                "load weights together with the fixer's state"
            )
        self._version = _version(self.parameter)

    def check_untouched(self) -> None:
        """As `check_held`, at no cost where nothing has written to the parameter since it was last seen."""
        if _version(self.parameter) != self._version:
            self.check_held()

    def indices(self, codebook: NDArray[np.float32]) -> Tensor:
        """Its weights as indices into `codebook` [k], `FREE` where they are free."""
        self.follow_()
        found = torch.from_numpy(np.searchsorted(codebook, self.kept.float().cpu().numpy()).astype(np.int32))
        return shaped_like(found.masked_fill_(self.free.cpu(), FREE), self.parameter).clone()

    def in_memory_order(self, shaped: Tensor) -> Tensor:
        """A tensor of its shape as a vector in the order of its memory."""
        return flat(torch.empty_like(self.parameter, dtype=shaped.dtype, device=shaped.device).copy_(shaped))

    @torch.no_grad()
    def slopes_(self, regulariser: Regulariser) -> Tensor:
        """Put the regulariser's slope at every free weight, 0 elsewhere, into `slopes`; returns its sum over them."""
        self.follow_()
        weights = flat(self.parameter).float()
        if self.slopes.shape != weights.shape or self.slopes.device != weights.device:
            self.slopes = torch.empty_like(weights)
        return regulariser.slopes_(self.slopes, weights, self.free if self.any_fixed else None)

    @torch.no_grad()
    def pull_(self, strength: Tensor) -> None:
        """Add `strength` times the slopes to the gradient of the free weights; no gradient for the fixed ones."""
        if self.parameter.grad is None:
            self.parameter.grad = torch.zeros_like(self.parameter)
        gradient = self._gradient(self.parameter.grad)
        if gradient.stride() == self.parameter.stride():
            pull_(flat(gradient), self.slopes, strength, self.fixed)
        else:
            slopes, fixed = (shaped_like(each, self.parameter) for each in (self.slopes, self.fixed))
            pull_(gradient, slopes, strength, fixed)

    @torch.no_grad()
    def hold_(self) -> None:
        """No gradient for the fixed weights."""
        self.follow_()
        if self.any_fixed and self.parameter.grad is not None:
            self._gradient(self.parameter.grad).masked_fill_(shaped_like(self.fixed, self.parameter), 0)

    def _gradient(self, gradient: Tensor) -> Tensor:
        if gradient.layout != torch.strided:
            raise RuntimeError(f"{self.name}: its gradient is sparse; a dense one is needed (sparse=False)")
        return gradient


class _Layout(NamedTuple):
    """How a parameter lies in memory."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, parameter: Tensor) -> _Layout:
        return cls(tuple(parameter.shape), parameter.stride(), parameter.dtype, parameter.device)


def _version(parameter: Tensor) -> int:
    """How often torch has written to a parameter; it does not count for those made in inference mode."""
    return 0 if parameter.is_inference() else parameter._version


def _said(layout: _Layout) -> str:
    return f"{layout.dtype} {list(layout.shape)}"
