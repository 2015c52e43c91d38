"""The method as one would write it down: full matrices of distances, in chunks. What the engine is compared with."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wfn.method.centres import candidate_centres
from wfn.method.clustering import MAX_ORDER

CHUNK = 1 << 16


def cluster(weights: NDArray[np.float32], delta: float, zero_threshold: float) -> tuple[NDArray[np.float32], int]:
    """Fix all weights [N] in one `recluster` pass; returns the values [N] and the number of centres."""
    values = weights.copy()
    free = np.arange(len(weights))
    centres = set()
    order, budget = 0, delta
    while len(free):
        left = weights[free].astype(np.float64)
        candidates = candidate_centres(delta, order, zero_threshold, float(np.abs(left).max()))
        votes = np.zeros(len(candidates), dtype=np.int64)
        for start in range(0, len(left), CHUNK):
            gaps = np.abs(left[start : start + CHUNK, None] - candidates[None, :])
            votes += np.bincount(gaps.argmin(axis=1), minlength=len(candidates))
        centre = candidates[votes.argmax()]

        with np.errstate(divide="ignore", invalid="ignore"):
            far = np.abs(left - centre) / np.abs(left)
        far[np.abs(left) < zero_threshold] *= centre != 0
        far = np.nan_to_num(far, nan=np.inf)
        ranked = np.argsort(far, kind="stable")
        paid = np.maximum(1, np.cumsum(far[ranked] > 0))
        within = np.cumsum(far[ranked]) <= budget * paid
        taken = ranked[within]
        if len(taken):
            values[free[taken]] = centre
            centres.add(float(centre))
            free = np.delete(free, taken)
            budget = delta
        else:
            order += 1
            budget = budget * 2 if order > MAX_ORDER else budget
    return values, len(centres)


def regularise(weights: Tensor, centres: Tensor, zero_threshold: float, temperature: float) -> tuple[Tensor, Tensor]:
    """Mean loss and gradient [N] of weights [N] by automatic differentiation of the formula, in chunks."""
    gradient = torch.empty_like(weights)
    total = torch.zeros(())
    for part, out in zip(weights.split(CHUNK), gradient.split(CHUNK), strict=True):
        w = part.detach().clone().requires_grad_()
        small = w.detach().abs()[:, None] <= zero_threshold
        gap = (w[:, None] - centres).abs()
        far = torch.where(small, gap, gap / w.abs()[:, None].clamp_min(1e-30))
        far = torch.where(small & (centres == 0), 0.0, far)
        loss = (torch.softmax(-far / temperature, dim=1) * far).sum()
        (slope,) = torch.autograd.grad(loss, w)
        out.copy_(slope)
        total += loss.detach()
    return total / len(weights), gradient / len(weights)
