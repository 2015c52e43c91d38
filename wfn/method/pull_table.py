"""The pull of one weight as a table, which is built once for given centres and looked up per weight.

The bits of a float32 number its cell, on a grid that is finer near zero and has an edge at the threshold below which
the absolute distance counts. In a cell f' is two parabolas that meet at its knot: the centre where f' jumps, or else
the middle. With u = w - knot and s = sign(u), and f by integration,

    f' = a + b u + c u^2,   f = f(knot) + a u + b u^2 / 2 + c u^3 / 3,

where a, b, c are each the mean of both sides plus s times half their difference: the eight numbers of a row, which
fills half a cache line, so that a weight costs one access to memory beside its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wfn.method.centres import LARGEST, Doubles, Floats
from wfn.method.pull_formula import Formula, exact
from wfn.method.threads import follow_torch

Integers = NDArray[np.int64]

# A cell is at most this part of the temperature wide, in units of distance: f' is then right to ~1e-5.
CELLS_PER_TEMPERATURE = 12.5
MAX_MANTISSA_BITS = 12
# Octaves above the largest centre; further out f' is a constant.
OCTAVES_ABOVE = 10
# Octaves below the threshold (or the width that the temperature asks for); all that is smaller shares one cell.
MAX_OCTAVES_BELOW = 12
# Part of the temperature; with the relative distance, neighbours in float32 are further apart.
NEGLIGIBLE = 2.0**-20


@dataclass(frozen=True)
class Table:
    """f and f' of every weight: a magnitude with bits b is in cell (b - low) >> shift, cut to [0, half).

    rows [R, 8] float32: knot, f(knot), then mean and half difference of both sides of a, b and c. First the rows of the
    cells of positive, then those of negative weights [half each], then the further rows of cells with several knots.
    upper [R] float32, following [R] int32: a weight whose magnitude is above `upper` of its row belongs to the row
    number `following`, or one beyond that. longest_chain: how many further rows a cell has at most.
    steepest: about the largest magnitude of f'.
    """

    low: int
    shift: int
    half: int
    rows: Floats
    upper: Floats
    following: NDArray[np.int32]
    longest_chain: int
    steepest: float


class _Pieces(NamedTuple):
    """Pieces [P] of the weights of one sign, by magnitude.

    Left end, knot, right end, largest magnitude, and whether a piece is a further one of its cell.
    """

    left: Doubles
    knot: Doubles
    right: Doubles
    outer: Doubles
    further: NDArray[np.bool_]


def build_table(formula: Formula) -> Table:
    """The table of a formula; a step costs the same for any number of centres, this does not."""
    shift, low, half = _grid(formula)
    starts = low + (np.arange(half) << shift)
    starts[0] = 0
    positive, negative = (_pieces(formula.centres, sign, starts) for sign in (1, -1))
    left, knot, right, outer, further = (np.concatenate(both) for both in zip(positive, negative, strict=True))
    follow_torch()
    loss, grad, jump = exact(knot, *formula)
    before, beyond = (_parabolas(formula, knot, end, grad + side * jump) for side, end in ((-1, left), (1, right)))
    # Beyond the grid f' is a constant, with the relative distance 0.
    grad[[len(positive.knot) - 1, -1]] = exact(np.array([LARGEST, -LARGEST]), *formula)[1]
    columns = [knot, loss, grad, jump]
    for one, other in zip(before, beyond, strict=True):
        columns += [other / 2 + one / 2, other / 2 - one / 2]
    # Where f' goes beyond float32, it stays finite: both halves together are at most the largest number.
    columns[1:] = [np.clip(column, -LARGEST / 2, LARGEST / 2) for column in columns[1:]]

    order = np.argsort(further, kind="stable")
    follower = np.append(further[1:], False)
    return Table(
        low,
        shift,
        half,
        rows=np.stack(columns, axis=1).astype(np.float32)[order],
        upper=np.where(follower, outer, np.inf).astype(np.float32)[order],
        following=np.where(follower, np.append(np.argsort(order)[1:], 0), 0).astype(np.int32)[order],
        longest_chain=int(np.diff(np.flatnonzero(~further), append=len(knot)).max()) - 1,
        steepest=float(np.abs(columns[2]).max() + np.abs(columns[3]).max()),
    )


def _grid(formula: Formula) -> tuple[int, int, int]:
    """shift, low, half: a magnitude with bits b is in cell (b - low) >> shift, cut to [0, half).

    The first cell begins at zero, the last one never ends, and one begins just above the zero threshold.
    """
    centres, zero_threshold, temperature, relative = formula
    sizes = np.abs(centres[centres != 0])
    largest = max(zero_threshold, *sizes, 0.0)
    # A cell spans |w| * 2^-bits, in relative distance 2^-bits. Beyond all centres f is straight: any cell will do.
    absolute = min(zero_threshold, 2 * max([*sizes, 0.0]))
    span = max(1.0, absolute if relative else max([*sizes, absolute]))
    bits = max(6, math.ceil(math.log2(CELLS_PER_TEMPERATURE * span / temperature)))
    shift = 23 - min(MAX_MANTISSA_BITS, bits)
    enough = min(zero_threshold, temperature / CELLS_PER_TEMPERATURE)
    smallest = max(min(enough, *(sizes / 2), enough), enough * 2.0**-MAX_OCTAVES_BELOW)
    bottom, threshold, top = _bits_up_to([smallest, zero_threshold, largest * 2.0**OCTAVES_ABOVE]).tolist()
    low = threshold + 1 - (((threshold - bottom) >> shift) + 1 << shift)
    return shift, low, ((top - low) >> shift) + 2


def _parabolas(formula: Formula, knot: Doubles, end: Doubles, grad: Doubles) -> tuple[Doubles, Doubles]:
    """b and c [P] of f' = grad + b u + c u^2 between knot and end [P], from its values there and half way.

    Both are 0 where the two are the same place but for rounding: that would be divided by the distance squared.
    """
    relative = formula.relative & (np.abs(knot) > formula.zero_threshold)
    far_apart = np.abs(end - knot) > NEGLIGIBLE * formula.temperature * np.where(relative, np.abs(knot), 1.0)
    half = np.where(far_apart, (end - knot) / 2, np.inf)
    near, far = (exact(point, *formula)[1] - grad for point in ((knot + end) / 2, end))
    return (4 * near - far) / (2 * half), (far - 2 * near) / (2 * half**2)


def _pieces(centres: Doubles, sign: int, starts: Integers) -> _Pieces:
    """The weights of one sign by magnitude, in pieces with one knot at most: the cells, which begin at the bits
    `starts` [half], cut at all knots in them but the first.

    centres: those of both signs.
    """
    knots = _bits_up_to(np.sort(sign * centres[sign * centres > 0]))
    home = np.searchsorted(starts, knots, side="right")
    cut = knots[1:][home[1:] == home[:-1]]
    low = np.union1d(starts, cut)
    high = np.append(low[1:] - 1, low[-1])
    nearest = np.append(knots, np.iinfo(np.int32).max)[np.searchsorted(knots, low)]
    inner, outer = _magnitudes(low), _magnitudes(high)
    middle = ((inner + outer) / 2).astype(np.float32).astype(np.float64)
    knot = sign * np.where(nearest <= high, _magnitudes(nearest), middle)
    ends = np.sort([sign * inner, sign * outer], axis=0)
    return _Pieces(ends[0], knot, ends[1], outer, np.isin(low, cut))


def _bits_up_to(magnitudes: ArrayLike) -> Integers:
    """The bits, as integers, of the largest finite float32 numbers that are at most `magnitudes` [P] >= 0."""
    exact = np.minimum(np.asarray(magnitudes, dtype=np.float64), LARGEST)
    bits = exact.astype(np.float32).view(np.int32).astype(np.int64)
    return bits - (_magnitudes(bits) > exact)


def _magnitudes(bits: Integers) -> Doubles:
    """The float32 numbers with the given bits [P], as float64; the largest finite one for all bits beyond it."""
    largest = np.float32(LARGEST).view(np.int32)
    return np.minimum(bits, largest).astype(np.int32).view(np.float32).astype(np.float64)
