"""Updates of vectors under a mask, in one pass over memory each; torch takes two to three times as long on a CPU."""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from wfn.compiling import compiled
from wfn.method.threads import CHUNK, follow_torch


def put_(weights: Tensor, values: Tensor, fixed: Tensor) -> None:
    """Put `values` [N] into weights [N] wherever `fixed` [N] bool says so, in place."""
    if _is_plain(weights):
        follow_torch()
        loop = _put if len(weights) > CHUNK else _put_few
        bits = weights.view(torch.int32).numpy(), values.view(torch.int32).numpy()
        loop(*bits, fixed.view(torch.int8).numpy())
        _tell_of_writing(weights)
    else:
        torch.where(fixed, values, weights, out=weights)


def pull_(gradient: Tensor, slopes: Tensor, strength: Tensor, fixed: Tensor) -> None:
    """Add `strength` (0-dimensional) times the slopes to a gradient, and make it 0 where `fixed` says so, in place.

    All of one shape, which is a vector where it is to be fast.
    """
    if gradient.ndim == 1 and _is_plain(gradient):
        follow_torch()
        loop = _pull if len(gradient) > CHUNK else _pull_few
        loop(gradient.numpy(), slopes.numpy(), strength.float().numpy()[()], fixed.numpy())
        _tell_of_writing(gradient)
    elif gradient.dtype in (torch.float16, torch.bfloat16):  # where a strength may be nothing, and a slope infinite
        largest = torch.finfo(gradient.dtype).max
        pull = (slopes * strength.float()).clamp_(-largest, largest)
        gradient.add_(pull.to(gradient.dtype)).masked_fill_(fixed, 0)
    else:
        gradient.addcmul_(slopes.to(gradient.dtype), strength.to(gradient.dtype)).masked_fill_(fixed, 0)


def _tell_of_writing(tensor: Tensor) -> None:
    """What was written past torch counts as a change all the same: a backward pass that needs the old values fails."""
    if not tensor.is_inference():
        torch.autograd.graph.increment_version(tensor)


def _is_plain(vector: Tensor) -> bool:
    return vector.device.type == "cpu" and vector.dtype == torch.float32


# Of bits, because of numbers the compiler makes a branch, which a random mask always surprises.
@compiled()
def _put_few(weights, values, fixed):  # type: ignore[no-untyped-def]
    for i in range(weights.size):
        weights[i] ^= (weights[i] ^ values[i]) & -np.int32(fixed[i])


@compiled(parallel=True)
def _put(weights, values, fixed):  # type: ignore[no-untyped-def]
    for i in prange(weights.size):
        weights[i] ^= (weights[i] ^ values[i]) & -np.int32(fixed[i])


@compiled()
def _pull_few(gradient, slopes, strength, fixed):  # type: ignore[no-untyped-def]
    for i in range(gradient.size):
        gradient[i] = 0 if fixed[i] else gradient[i] + strength * slopes[i]


@compiled(parallel=True)
def _pull(gradient, slopes, strength, fixed):  # type: ignore[no-untyped-def]
    for i in prange(gradient.size):
        gradient[i] = 0 if fixed[i] else gradient[i] + strength * slopes[i]
