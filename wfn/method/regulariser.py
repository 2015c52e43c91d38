"""The regulariser that pulls free weights to their centres (method, section "Regulariser").

For given centres the loss of one weight is a function of one real variable,

    f(w) = sum_j p_j(w) D(w, c_j),   p(w) = softmin_j(D(w, c_j) / temperature),

so f' is tabulated once and looked up per weight: a step costs the same for any number of centres. The bits of a float32
number its cell, on a grid that is finer near zero and has an edge at the threshold below which the absolute distance
counts. In a cell f' is two parabolas that meet at its knot: the centre where f' jumps, or else the middle. With
u = w - knot and s = sign(u), and f by integration,

    f' = a + b u + c u^2,   f = f(knot) + a u + b u^2 / 2 + c u^3 / 3,

where a, b, c are each the mean of both sides plus s times half their difference: the eight numbers of a row, which
fills half a cache line, so that a weight costs one access to memory beside its own.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import prange
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from wfn.compiling import compiled
from wfn.method.centres import LARGEST, Distance, Doubles, Floats
from wfn.method.rows import put_columns
from wfn.method.threads import CHUNK, follow_torch

Booleans = NDArray[np.bool_]
Integers = NDArray[np.int64]
Numbers = NDArray[np.int32]

# A cell is at most this part of the temperature wide, in units of distance: f' is then right to ~1e-5.
CELLS_PER_TEMPERATURE = 12.5
MAX_MANTISSA_BITS = 12
# Octaves above the largest centre; further out f' is a constant.
OCTAVES_ABOVE = 10
# Octaves below the threshold (or the width that the temperature asks for); all that is smaller shares one cell.
MAX_OCTAVES_BELOW = 12
# Part of the temperature; with the relative distance, neighbours in float32 are further apart.
NEGLIGIBLE = 2.0**-20
# Weights whose rows are brought together at a time.
BLOCK = 256


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
        if distance not in ("relative", "euclidean"):
            raise ValueError(f"distance = {distance!r}: must be 'relative' or 'euclidean'")
        if not (0 < zero_threshold < math.inf and 0 < temperature < math.inf):
            raise ValueError(
                f"zero_threshold = {zero_threshold}, temperature = {temperature}: both must be positive and finite"
            )
        self.zero_threshold, self.temperature, self.distance = zero_threshold, temperature, distance
        self._formula = (self.centres, zero_threshold, temperature, distance == "relative")
        self._shift, self._low, self._half = self._grid()
        self._rows, self._upper, self._next, self._longest_chain = self._build_rows()
        self._tables: dict[torch.device, list[Tensor]] = {}
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
        if weights.device.type != "cpu":
            losses, slopes = self._evaluate(weights)
            torch.mul(slopes, scale, out=out)
            if free is not None:
                losses, _ = losses.where(free, 0.0), out.masked_fill_(~free, 0.0)
            # Apple's GPUs have no float64.
            return losses.sum(dtype=torch.float32 if weights.device.type == "mps" else torch.float64)
        values = weights.numpy()
        arguments = (
            values,
            values.view(np.int32),
            out.numpy(),
            None if free is None else free.numpy(),
            np.float32(scale),
            self._low,
            self._shift,
            self._half,
            self._rows,
            self._longest_chain > 0,
            self._upper,
            self._next,
        )
        if len(values) <= CHUNK:
            return torch.tensor(_put_slopes(*arguments, 0, len(values)), dtype=torch.float64)
        follow_torch()
        return torch.tensor(_put_slopes_in_chunks(*arguments), dtype=torch.float64)

    def _evaluate(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """f(w) and f'(w) [N] with torch's own operations, for devices other than the CPU."""
        if weights.device not in self._tables:
            tables = *self._rows.T.copy(), self._upper, self._next
            self._tables[weights.device] = [torch.from_numpy(table).to(weights.device) for table in tables]
        *columns, upper, following = self._tables[weights.device]
        size = weights.abs()
        cell = ((size.view(torch.int32) - self._low) >> self._shift).clamp(0, self._half - 1)
        row = cell + (weights.view(torch.int32) < 0) * self._half
        for _ in range(self._longest_chain):
            row = torch.where(size > upper[row], following[row], row)
        knot, loss, *means_and_halves = (column[row] for column in columns)
        u = weights - knot
        side = u.sign()
        a, b, c = (mean + half * side for mean, half in zip(means_and_halves[::2], means_and_halves[1::2], strict=True))
        return loss + u * (a + u * (b / 2 + c * u / 3)), a + u * (b + c * u)

    def _grid(self) -> tuple[int, int, int]:
        """shift, low, half: a magnitude with bits b is in cell (b - low) >> shift, cut to [0, half).

        The first cell begins at zero, the last one never ends, and one begins just above the zero threshold.
        """
        sizes = np.abs(self.centres[self.centres != 0])
        largest = max(self.zero_threshold, *sizes, 0.0)
        # A cell spans |w| * 2^-bits, in relative distance 2^-bits. Beyond all centres f is straight: any cell will do.
        absolute = min(self.zero_threshold, 2 * max([*sizes, 0.0]))
        span = max(1.0, absolute if self.distance == "relative" else max([*sizes, absolute]))
        bits = max(6, math.ceil(math.log2(CELLS_PER_TEMPERATURE * span / self.temperature)))
        shift = 23 - min(MAX_MANTISSA_BITS, bits)
        enough = min(self.zero_threshold, self.temperature / CELLS_PER_TEMPERATURE)
        smallest = max(min(enough, *(sizes / 2), enough), enough * 2.0**-MAX_OCTAVES_BELOW)
        bottom, threshold, top = _bits_up_to([smallest, self.zero_threshold, largest * 2.0**OCTAVES_ABOVE]).tolist()
        low = threshold + 1 - (((threshold - bottom) >> shift) + 1 << shift)
        return shift, low, ((top - low) >> shift) + 2

    def _build_rows(self) -> tuple[Floats, Floats, Numbers, int]:
        """rows [R, 8], upper [R], next [R], and how many further rows a cell has at most.

        The rows of the cells of positive, then of negative weights, then the further rows of cells with several knots:
        a weight whose magnitude is above `upper` of its row belongs to the row number `next`, or one beyond that.
        """
        starts = self._low + (np.arange(self._half) << self._shift)
        starts[0] = 0
        sides = [self._pieces(sign, starts) for sign in (1, -1)]
        left, knot, right, upper, further = (np.concatenate(parts) for parts in zip(*sides, strict=True))
        follow_torch()
        loss, grad, jump = _exact(knot, *self._formula)
        before, beyond = (self._parabolas(knot, end, grad + side * jump) for side, end in ((-1, left), (1, right)))
        # Beyond the grid f' is a constant, with the relative distance 0.
        grad[[len(sides[0][0]) - 1, -1]] = _exact(np.array([LARGEST, -LARGEST]), *self._formula)[1]
        columns = [knot, loss, grad, jump]
        for one, other in zip(before, beyond, strict=True):
            columns += [other / 2 + one / 2, other / 2 - one / 2]

        order = np.argsort(further, kind="stable")
        follower = np.append(further[1:], False)
        # Where f' goes beyond float32, it stays finite: both halves together are at most the largest number.
        columns[1:] = [np.clip(column, -LARGEST / 2, LARGEST / 2) for column in columns[1:]]
        self.steepest = float(np.abs(columns[2]).max() + np.abs(columns[3]).max())
        rows = np.stack(columns, axis=1).astype(np.float32)
        upper = np.where(follower, upper, np.inf).astype(np.float32)
        following = np.where(follower, np.append(np.argsort(order)[1:], 0), 0).astype(np.int32)
        chain = int(np.diff(np.flatnonzero(~further), append=len(knot)).max()) - 1
        return rows[order], upper[order], following[order], chain

    def _parabolas(self, knot: Doubles, end: Doubles, grad: Doubles) -> tuple[Doubles, Doubles]:
        """b and c [P] of f' = grad + b u + c u^2 between knot and end [P], from its values there and half way.

        Both are 0 where the two are the same place but for rounding: that would be divided by the distance squared.
        """
        relative = (self.distance == "relative") & (np.abs(knot) > self.zero_threshold)
        far_apart = np.abs(end - knot) > NEGLIGIBLE * self.temperature * np.where(relative, np.abs(knot), 1.0)
        half = np.where(far_apart, (end - knot) / 2, np.inf)
        near, far = (_exact(point, *self._formula)[1] - grad for point in ((knot + end) / 2, end))
        return (4 * near - far) / (2 * half), (far - 2 * near) / (2 * half**2)

    def _pieces(self, sign: int, starts: Integers) -> tuple[Doubles, Doubles, Doubles, Doubles, Booleans]:
        """The weights of one sign by magnitude, in pieces with one knot at most: the cells, which begin at the bits
        `starts` [half], cut at all knots in them but the first.

        Left end, knot, right end, largest magnitude, and whether the piece is a further one of its cell, each [P].
        """
        knots = _bits_up_to(np.sort(sign * self.centres[sign * self.centres > 0]))
        home = np.searchsorted(starts, knots, side="right")
        cut = knots[1:][home[1:] == home[:-1]]
        low = np.union1d(starts, cut)
        high = np.append(low[1:] - 1, low[-1])
        nearest = np.append(knots, np.iinfo(np.int32).max)[np.searchsorted(knots, low)]
        inner, outer = _magnitudes(low), _magnitudes(high)
        middle = ((inner + outer) / 2).astype(np.float32).astype(np.float64)
        knot = sign * np.where(nearest <= high, _magnitudes(nearest), middle)
        ends = np.sort([sign * inner, sign * outer], axis=0)
        return ends[0], knot, ends[1], outer, np.isin(low, cut)


def _bits_up_to(magnitudes: ArrayLike) -> Integers:
    """The bits, as integers, of the largest finite float32 numbers that are at most `magnitudes` [P] >= 0."""
    exact = np.minimum(np.asarray(magnitudes, dtype=np.float64), LARGEST)
    bits = exact.astype(np.float32).view(np.int32).astype(np.int64)
    return bits - (_magnitudes(bits) > exact)


def _magnitudes(bits: Integers) -> Doubles:
    """The float32 numbers with the given bits [P], as float64; the largest finite one for all bits beyond it."""
    largest = np.float32(LARGEST).view(np.int32)
    return np.minimum(bits, largest).astype(np.int32).view(np.float32).astype(np.float64)


@compiled(parallel=True)
def _exact(weights, centres, zero_threshold, temperature, relative):  # type: ignore[no-untyped-def]
    """f(w), f'(w) [P] from the formula in float64, and by how much f' differs from that on both sides [P].

    At a centre f' is the mean of both sides; elsewhere they agree. Distances count from the nearest one, so that huge
    ones do not cancel.
    """
    losses, grads, jumps = np.empty(weights.size), np.empty(weights.size), np.empty(weights.size)
    for i in prange(weights.size):
        w = weights[i]
        small = abs(w) <= zero_threshold
        unit = 1.0 if small or not relative else 1.0 / abs(w)
        nearest = np.inf
        for centre in centres:
            nearest = min(nearest, 0.0 if small and centre == 0 else abs(w - centre) * unit)
        weight_sum = far_sum = slope_sum = cross_sum = jump = 0.0
        for centre in centres:
            free = small and centre == 0
            distance = 0.0 if free else abs(w - centre) * unit
            slope = 0.0 if free else np.sign(w - centre) * unit
            if relative and not small:
                slope -= distance * unit * np.sign(w)
            far = distance - nearest
            share = math.exp(-far / temperature)
            weight_sum += share
            far_sum += share * far
            slope_sum += share * slope
            cross_sum += share * slope * far
            if w == centre and not free:
                jump = share * unit
        far = far_sum / weight_sum
        losses[i] = nearest + far
        grads[i] = (slope_sum * (1 + far / temperature) - cross_sum / temperature) / weight_sum
        jumps[i] = jump / weight_sum * (1 + far / temperature)
    return losses, grads, jumps


# LLVM turns the loops into vector instructions as long as indices are unsigned and integers have 32 bits; it would not
# do so with the rows, whose columns are therefore brought together first, for one block of weights at a time.
@compiled(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _put_slopes(  # type: ignore[no-untyped-def]
    weights, bits, out, free, scale, low, shift, half, rows, crowded, upper, following, start, stop
):
    """Puts scale * f' of the weights from `start` up to `stop` into `out` and returns the sum of their f."""
    low, shift, half, last = np.int32(low), np.uint32(shift), np.int32(half), np.int32(half - 1)
    chosen = np.zeros(BLOCK, np.uint32)
    columns = np.empty((8, BLOCK), np.float32)
    knot, loss = columns[0], columns[1]
    a_mean, a_half, b_mean, b_half, c_mean, c_half = (
        columns[2],
        columns[3],
        columns[4],
        columns[5],
        columns[6],
        columns[7],
    )
    total = 0.0
    for block in range(np.uint64(start), np.uint64(stop), np.uint64(BLOCK)):
        count = min(np.uint64(BLOCK), np.uint64(stop) - block)
        for i in range(count):
            size = np.int32(bits[block + i] & np.int32(0x7FFFFFFF))
            cell = min(np.int32(np.uint32(max(np.int32(size - low), np.int32(0))) >> shift), last)
            chosen[i] = np.uint32(cell + (np.int32(bits[block + i] >> np.int32(31)) & half))
        if crowded:
            for i in range(count):
                while abs(weights[block + i]) > upper[chosen[i]]:
                    chosen[i] = following[chosen[i]]
        put_columns(rows, chosen, columns)
        part = np.float32(0)
        for i in range(count):
            u = weights[block + i] - knot[i]
            side = np.float32(u > 0) - np.float32(u < 0)
            a, b, cu = a_mean[i] + a_half[i] * side, b_mean[i] + b_half[i] * side, (c_mean[i] + c_half[i] * side) * u
            value = loss[i] + u * (a + u * (b * np.float32(1 / 2) + cu * np.float32(1 / 3)))
            slope = a + u * (b + cu)
            if free is not None:
                value = value if free[block + i] else np.float32(0)
                slope = slope if free[block + i] else np.float32(0)
            part += value
            out[block + i] = scale * slope
        total += np.float64(part)
    return total


@compiled(parallel=True)
def _put_slopes_in_chunks(  # type: ignore[no-untyped-def]
    weights, bits, out, free, scale, low, shift, half, rows, crowded, upper, following
):
    """As `_put_slopes` for all weights, with one partial sum per chunk, added in order whatever the threads."""
    sums = np.zeros((weights.size + CHUNK - 1) // CHUNK)
    for chunk in prange(sums.size):
        start, stop = chunk * CHUNK, min((chunk + 1) * CHUNK, weights.size)
        sums[chunk] = _put_slopes(
            weights, bits, out, free, scale, low, shift, half, rows, crowded, upper, following, start, stop
        )
    total = 0.0
    for part in sums:
        total += part
    return total
