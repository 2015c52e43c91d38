"""The regulariser that pulls free weights to their centres (method, section 7)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from wfn.method.centres import Distance, check_distance
from wfn.method.pull_formula import Formula
from wfn.method.pull_lookup import anywhere, columns_of, on_cpu_
from wfn.method.pull_table import build_table


class Regulariser:
    """Mean pull of weights towards the nearest of `centres` [k], rounded to float32 as weights are.

    zero_threshold: weights of at most this magnitude use |w - c| instead of the relative distance, with the zero
    centre at distance 0. temperature: of the softmin, > 0. `steepest`: about the largest magnitude of f'.

    Raises ValueError for an empty or non-finite set of centres and for arguments out of range.
    """

    def __init__(
        self,
        centres: ArrayLike | Tensor,
        *,
        zero_threshold: float,
        temperature: float = 0.05,
        distance: Distance = "relative",
    ) -> None:
        values = centres.detach().cpu().numpy() if isinstance(centres, Tensor) else np.asarray(centres)
        with np.errstate(over="ignore"):
            self.centres = np.unique(values.astype(np.float32)).astype(np.float64)
        if not len(self.centres) or not np.isfinite(self.centres).all():
            raise ValueError("centres: at least one is needed, and all must be finite")
        check_distance(distance)
        if not (0 < zero_threshold < math.inf and 0 < temperature < math.inf):
            raise ValueError(
                f"zero_threshold = {zero_threshold}, temperature = {temperature}: both must be positive and finite"
            )
        self.zero_threshold, self.temperature, self.distance = zero_threshold, temperature, distance
        self._table = build_table(Formula(self.centres, zero_threshold, temperature, distance == "relative"))
        self.steepest = self._table.steepest
        self._columns: dict[torch.device, list[Tensor]] = {}
        self._scratch: Tensor | None = None

    def slopes_(self, out: Tensor, weights: Tensor, free: Tensor | None = None) -> Tensor:
        """Put f'(w) into out [N] for each of the weights [N]; returns the sum of f over them.

        weights, out: float32, contiguous, not the same memory. free: bool [N]; weights that are not free add nothing to
        the sum, and their place in `out` is 0. The sum is 0-dimensional, float64, on the device of the weights; nothing
        waits for the device. It does not depend on the number of threads.
        """
        return self._slopes_(out, weights.detach(), free, 1.0)

    def loss_and_grad(self, weights: Tensor, *, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean loss (0-dimensional) over weights [N] float32, and its gradient [N]; of no weights, 0.

        out: where to put the gradient instead of into new memory.
        """
        grad = torch.empty_like(weights) if out is None else out
        each = 1 / max(len(weights), 1)
        return (self._slopes_(grad, weights.detach(), None, each) * each).float(), grad

    def add_pull_(self, grad: Tensor, weights: Tensor, *, task_loss: Tensor, alpha: float) -> Tensor:
        """Add the gradient of a * L_reg to grad [N] in place, with a = alpha * task_loss / L_reg held constant.

        task_loss: 0-dimensional. Returns L_reg, 0-dimensional. Nothing waits for the device.
        """
        if self._scratch is None or self._scratch.shape != weights.shape or self._scratch.device != weights.device:
            self._scratch = torch.empty_like(weights)
        loss, slope = self.loss_and_grad(weights, out=self._scratch)
        grad.addcmul_(slope, torch.where(loss > 0, alpha * task_loss / loss, 0.0))
        return loss

    def _slopes_(self, out: Tensor, weights: Tensor, free: Tensor | None, scale: float) -> Tensor:
        """As `slopes_`, with `scale` times f' in `out`."""
        if weights.dtype != torch.float32 or weights.ndim != 1:
            raise ValueError(f"weights: one float32 vector expected, not {weights.dtype} {tuple(weights.shape)}")
        if weights.device.type == "cpu":
            return torch.tensor(on_cpu_(out, weights, free, scale, self._table), dtype=torch.float64)
        if weights.device not in self._columns:
            self._columns[weights.device] = columns_of(self._table, weights.device)
        losses, slopes = anywhere(weights, self._table, self._columns[weights.device])
        torch.mul(slopes, scale, out=out)
        if free is not None:
            losses, _ = losses.where(free, 0.0), out.masked_fill_(~free, 0.0)
        # Apple's GPUs have no float64.
        return losses.sum(dtype=torch.float32 if weights.device.type == "mps" else torch.float64)
