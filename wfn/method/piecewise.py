"""Piecewise maps of the real line, looked up per weight in constant time.

Both halves of the method are functions of one real variable that change at a few breakpoints: a clustering pass
(constant between them) and the regulariser (smooth between them). The piece that holds a float32 weight is found from
its leading bits, a ready log-spaced index, and a step or two among the breakpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from wfn.compiling import compiled
from wfn.method.centres import Floats
from wfn.method.threads import CHUNK, follow_torch


@njit(inline="always")
def ordered_bits(bits: np.uint32) -> np.uint32:
    """The bits of a float32 as an integer that sorts as the float does."""
    return np.uint32(bits ^ np.uint32(0xFFFFFFFF)) if bits >> np.uint32(31) else np.uint32(bits | np.uint32(0x80000000))


def _floats_from_ordered(ordered: NDArray[np.uint32]) -> Floats:
    bits = np.where(ordered >> 31, ordered & 0x7FFFFFFF, ~ordered).astype(np.uint32)
    return bits.view(np.float32)


@dataclass(frozen=True)
class Pieces:
    """Sorted pieces of the real line: piece j holds upper[j-1] < w <= upper[j].

    upper [M]: float32, ascending, the last one +inf. first [2**(32 - shift)]: the piece in which each cell of
    leading bits begins.
    """

    upper: Floats
    first: NDArray[np.int32]
    shift: int

    @staticmethod
    def build(upper: Floats, leading_bits: int) -> Pieces:
        """Index `upper` [M] by the `leading_bits` (sign, exponent, first mantissa bits) of a float32."""
        shift = 32 - leading_bits
        cells = np.arange(1 << leading_bits, dtype=np.uint64) << shift
        with np.errstate(invalid="ignore"):
            starts = _floats_from_ordered(cells.astype(np.uint32))
        # Cells beyond the infinities are NaN patterns; finite weights never reach them.
        first = np.searchsorted(upper, np.nan_to_num(starts, nan=np.inf, posinf=np.inf, neginf=-np.inf))
        return Pieces(upper, np.minimum(first, len(upper) - 1).astype(np.int32), shift)


@compiled(parallel=True)
def _map_constant(weights, upper, first, shift, constant, values, mapped):  # type: ignore[no-untyped-def]
    bits = weights.view(np.uint32)
    for chunk in prange((weights.size + CHUNK - 1) // CHUNK):
        for i in range(chunk * CHUNK, min((chunk + 1) * CHUNK, weights.size)):
            weight = weights[i]
            piece = first[ordered_bits(bits[i]) >> np.uint32(shift)]
            while upper[piece] < weight:
                piece += 1
            known = constant[piece] == constant[piece]
            values[i] = constant[piece] if known else weight
            mapped[i] = known


def map_constant(pieces: Pieces, weights: Floats, constant: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Replace each weight [N] by the constant of its piece; a NaN constant [M] leaves it as it is.

    Returns the values [N] and where a constant was put [N].
    """
    values = np.empty_like(weights)
    mapped = np.empty(weights.shape, dtype=np.bool_)
    follow_torch()
    _map_constant(weights, pieces.upper, pieces.first, pieces.shift, constant, values, mapped)
    return values, mapped
