"""The regulariser that pulls free weights to their centres (method, section "Regulariser").

For given centres the loss of one weight is a function of one real variable,

    f(w) = sum_j p_j(w) D(w, c_j),   p(w) = softmin_j(D(w, c_j) / temperature),

so f and its derivative are tabulated once and looked up per weight: a step costs the same for any number of centres.
The table follows the float32 format: the exponent and the leading mantissa bits of a weight are the number of its
cell, on a grid that is finer near zero. Within a cell f' is a straight line, broken at the one point (knot) where f
bends or jumps: at a centre, or at the threshold below which the absolute distance counts.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numba import njit, prange
from numpy.typing import ArrayLike, NDArray

from wfn.centres import Distance, Doubles, Floats
from wfn.threads import follow_torch

Ints = NDArray[np.int32]

# A cell is at most this part of the temperature wide, in units of distance: f' is then right to ~1e-4.
CELLS_PER_TEMPERATURE = 25
# Finer cells are tried until no two knots share one; the formula itself serves the cells where they still do.
MAX_MANTISSA_BITS = 12
# Octaves above the largest centre and below the smallest scale; further out f is treated as constant.
OCTAVES_ABOVE = 10
LOWEST_OCTAVE = -21
NO_KNOT = np.iinfo(np.int32).max
CROWDED = -1
# Weights per partial sum and per task of the parallel loop.
CHUNK = 1 << 16


class _Grid(NamedTuple):
    """Cells of the magnitude |w| as a float32 bit pattern, for positive and then for negative weights; C in all.

    shift: low bits that count within a cell; low, high: first and last pattern of the grid (weights outside are
    treated as if there). knots [C]: pattern of the knot, NO_KNOT, or CROWDED where several knots share the cell.
    loss, loss_slope, grad, grad_slope [3 * C]: f = loss + loss_slope * t and f' = grad + grad_slope * t with
    t = pattern - middle of the cell; three planes of rows, for weights before, on and beyond the knot. The rows of
    crowded cells are zero: there the formula itself is added.
    """

    shift: int
    low: int
    high: int
    knots: Ints
    loss: Floats
    loss_slope: Floats
    grad: Floats
    grad_slope: Floats


class Regulariser:
    """Mean pull of weights towards the nearest of `centres` [k].

    zero_threshold: weights of at most this magnitude use |w - c| instead of the relative distance, with the zero
    centre at distance 0. temperature: of the softmin, > 0.

    Raises ValueError for an empty or non-finite set of centres and for arguments out of range.
    """

    def __init__(
        self,
        centres: ArrayLike | torch.Tensor,
        *,
        zero_threshold: float,
        temperature: float = 0.05,
        distance: Distance = "relative",
    ) -> None:
        values = centres.detach().cpu().numpy() if isinstance(centres, torch.Tensor) else np.asarray(centres)
        self.centres = np.unique(values.astype(np.float64))
        if not len(self.centres) or not np.isfinite(self.centres).all():
            raise ValueError("centres: at least one is needed, and all must be finite")
        if not (zero_threshold > 0 and temperature > 0):
            raise ValueError(f"zero_threshold = {zero_threshold}, temperature = {temperature}: both must be positive")
        self.zero_threshold, self.temperature, self.distance = zero_threshold, temperature, distance
        self._formula = (zero_threshold, temperature, distance == "relative")
        self._grid = self._build_grid()
        self._crowded = bool((self._grid.knots == CROWDED).any())
        self._scratch: torch.Tensor | None = None
        self._tables: dict[torch.device, list[torch.Tensor]] = {}

    def loss_and_grad(
        self, weights: torch.Tensor, *, out: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean loss (0-dimensional) over weights [N] float32, and its gradient [N].

        out: where to put the gradient instead of into new memory.
        """
        grad = torch.empty_like(weights) if out is None else out
        return self._gradient_(grad, weights.detach(), scale=1.0, add=False), grad

    def add_pull_(
        self, grad: torch.Tensor, weights: torch.Tensor, *, task_loss: torch.Tensor, alpha: float
    ) -> torch.Tensor:
        """Add the gradient of a * L_reg to grad [N] in place, with a = alpha * task_loss / L_reg held constant.

        task_loss: 0-dimensional. Returns L_reg, 0-dimensional. Nothing waits for the device.
        """
        if self._scratch is None or self._scratch.shape != weights.shape or self._scratch.device != weights.device:
            self._scratch = torch.empty_like(weights)
        loss, slope = self.loss_and_grad(weights, out=self._scratch)
        grad.addcmul_(slope, torch.where(loss > 0, alpha * task_loss / loss, 0.0))
        return loss

    def slopes_(self, out, weights, free=None):
        chosen = weights if free is None else weights[free]
        loss, slope = self.loss_and_grad(chosen)
        if free is None:
            out.copy_(slope * len(chosen))
        else:
            out.zero_()
            out[free] = slope * len(chosen)
        return loss.double() * len(chosen)

    def add_grad_(
        self, grad: torch.Tensor, weights: torch.Tensor, *, free: torch.Tensor | None = None, scale: float = 1.0
    ) -> torch.Tensor:
        """Add `scale` times the gradient of the mean loss into grad [N] in place; returns the mean loss.

        weights [N] float32 are not changed. free: bool [N]; only these weights count, and only their gradients are
        touched. No weights, no loss: 0.
        """
        weights = weights.detach()
        if free is None:
            return self._gradient_(grad, weights, scale=scale, add=True)
        chosen = weights[free]
        part = torch.empty_like(chosen)
        loss = self._gradient_(part, chosen, scale=scale, add=False)
        grad[free] += part
        return loss

    def _gradient_(self, grad: torch.Tensor, weights: torch.Tensor, *, scale: float, add: bool) -> torch.Tensor:
        """Put (or add) `scale` times the gradient of the mean loss into grad [N]; returns the mean loss."""
        if len(weights) == 0:
            return weights.new_zeros(())
        if weights.device.type == "cpu":
            return self._gradient_on_cpu_(grad.numpy(), weights.numpy(), scale, add)
        losses, slopes = self._evaluate(weights)
        if not add:
            grad.zero_()
        grad.add_(slopes, alpha=scale / len(weights))
        return losses.mean()

    def _gradient_on_cpu_(self, grad: Floats, weights: Floats, scale: float, add: bool) -> torch.Tensor:
        follow_torch()
        each = np.float32(scale / len(weights))
        total = _put_lines(weights.view(np.int32), grad, add, each, *self._grid)
        if self._crowded:
            shift, low, high, knots = self._grid[:4]
            total += _add_formula(weights, grad, each, self.centres, *self._formula, shift, low, high, knots)
        return torch.tensor(total / len(weights), dtype=torch.float32)

    def _evaluate(self, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """f(w) and f'(w) [N] with torch's own operations, for devices other than the CPU."""
        shift, low, high, *tables = self._grid
        if weights.device not in self._tables:
            self._tables[weights.device] = [torch.from_numpy(table).to(weights.device) for table in tables]
        knots, loss, loss_slope, grad, grad_slope = self._tables[weights.device]
        size = weights.abs().view(torch.int32)
        inside = size.clamp(low, high)
        cell = (inside >> shift) - (low >> shift) + (weights < 0) * (len(knots) // 2)
        offset = (inside & ((1 << shift) - 1)) - (1 << (shift - 1))
        knot = knots[cell]
        row = cell + ((size >= knot).int() + (size > knot)) * len(knots)
        losses, slopes = loss[row] + loss_slope[row] * offset, grad[row] + grad_slope[row] * offset
        if self._crowded:
            crowded = knot == CROWDED
            exact = _exact(weights[crowded].double().cpu().numpy(), self.centres, *self._formula)
            losses[crowded], slopes[crowded] = (torch.from_numpy(part).to(losses) for part in exact)
        return losses, slopes

    def _build_grid(self) -> _Grid:
        follow_torch()
        nonzero = np.abs(self.centres[self.centres != 0])
        smallest = min(self.zero_threshold, *nonzero)
        largest = max(self.zero_threshold, *nonzero)
        octaves = min(LOWEST_OCTAVE, math.floor(math.log2(smallest)) - 1), math.ceil(math.log2(largest)) + OCTAVES_ABOVE
        # A cell spans |w| * 2^-bits, in relative distance 2^-bits.
        span = max(1.0, largest) if self.distance == "euclidean" else 1.0
        bits = min(MAX_MANTISSA_BITS, max(6, math.ceil(math.log2(CELLS_PER_TEMPERATURE * span / self.temperature))))
        points = np.unique(np.append(nonzero, self.zero_threshold).astype(np.float32)).view(np.int32)
        while len(np.unique(points >> (23 - bits))) < len(points) and bits < MAX_MANTISSA_BITS:
            bits += 1
        shift = 23 - bits
        start, stop = (int(np.float32(2.0**octave).view(np.int32)) for octave in octaves)
        bottom = np.arange(start, stop, 1 << shift, dtype=np.int32)
        top = bottom + ((1 << shift) - 1)
        knots = np.full(len(bottom), NO_KNOT, dtype=np.int32)
        cells, counts = np.unique((points - bottom[0]) >> shift, return_counts=True)
        knots[(points - bottom[0]) >> shift] = points
        knots[cells[counts > 1]] = CROWDED

        has_knot = (knots != NO_KNOT) & (knots != CROWDED)
        on = np.where(has_knot, knots, bottom)
        before = bottom, np.where(has_knot, np.maximum(on - 1, bottom), top)
        beyond = np.minimum(on + 1, top), top
        middle = bottom + (1 << (shift - 1))
        planes = (before, (on, on), beyond)
        rows = np.concatenate([self._rows(sign, low, high, middle) for low, high in planes for sign in (1.0, -1.0)])
        rows[np.tile(knots, 6) == CROWDED] = 0
        columns = [np.ascontiguousarray(column, dtype=np.float32) for column in rows.T]
        return _Grid(shift, int(bottom[0]), int(top[-1]), np.tile(knots, 2), *columns)

    def _rows(self, sign: float, low: Ints, high: Ints, middle: Ints) -> Doubles:
        """Lines [C, 4] for f and f' at sign * |w| through the magnitudes with the patterns `low` and `high` [C]."""
        rows = np.empty((len(low), 4))
        start, stop = (
            _exact(sign * ends.view(np.float32).astype(np.float64), self.centres, *self._formula)
            for ends in (low, high)
        )
        for column, left, right in zip((0, 2), start, stop, strict=True):
            rows[:, column + 1] = (right - left) / np.maximum(high - low, 1)
            rows[:, column] = left - rows[:, column + 1] * (low - middle)
        return rows


@njit(cache=True)
def _exact_one(w, centres, zero_threshold, temperature, relative):  # type: ignore[no-untyped-def]
    """f(w) and f'(w) from the formula in float64; at a centre, f' is the mean of both sides."""
    small = abs(w) <= zero_threshold
    unit = 1.0 if small or not relative else 1.0 / abs(w)
    nearest = np.inf
    for centre in centres:
        nearest = min(nearest, 0.0 if small and centre == 0 else abs(w - centre) * unit)
    weight_sum = loss_sum = slope_sum = cross_sum = 0.0
    for centre in centres:
        far = slope = 0.0
        if not (small and centre == 0):
            far = abs(w - centre) * unit
            slope = np.sign(w - centre) * unit
            if relative and not small:
                slope -= far * unit * np.sign(w)
        share = math.exp((nearest - far) / temperature)
        weight_sum += share
        loss_sum += share * far
        slope_sum += share * slope
        cross_sum += share * slope * far
    loss = loss_sum / weight_sum
    return loss, slope_sum / weight_sum * (1 + loss / temperature) - cross_sum / weight_sum / temperature


@njit(parallel=True, cache=True)
def _exact(weights, centres, zero_threshold, temperature, relative):  # type: ignore[no-untyped-def]
    """f(w) and f'(w) [P], [P]."""
    losses, grads = np.empty(weights.size), np.empty(weights.size)
    for i in prange(weights.size):
        losses[i], grads[i] = _exact_one(weights[i], centres, zero_threshold, temperature, relative)
    return losses, grads


@njit(inline="always")
def _cell(bits, shift, low, high, cells):  # type: ignore[no-untyped-def]
    """Magnitude, the magnitude put inside the grid, and the number of its cell, for the bits of a float32."""
    size = np.int32(bits & np.int32(0x7FFFFFFF))
    inside = min(max(size, low), high)
    below_zero = np.int32(bits >> np.int32(31)) & np.int32(cells >> np.int32(1))
    return size, inside, np.int32(np.int32(inside >> shift) - np.int32(low >> shift) + below_zero)


# LLVM turns this loop into vector instructions as long as every array is a plain argument (no view, no slice), indices
# are unsigned and integers have 32 bits; that is a factor of 3.
@njit(parallel=True, cache=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _put_lines(  # type: ignore[no-untyped-def]
    bits, grad, add, scale, shift, low, high, knots, loss, loss_slope, slope, slope_slope
):
    """Sum of f over weights given by their bits [N]; puts scale * f' into grad [N], or adds it.

    One partial sum per chunk, added in order: the result does not depend on the number of threads.
    """
    chunks = (bits.size + CHUNK - 1) // CHUNK
    sums = np.zeros(chunks)
    shift, low, high, cells = np.int32(shift), np.int32(low), np.int32(high), np.int32(knots.size)
    within, half = np.int32((1 << shift) - 1), np.int32(1 << (shift - 1))
    for chunk in prange(chunks):
        total = np.float32(0)
        for i in range(np.uint64(chunk * CHUNK), np.uint64(min((chunk + 1) * CHUNK, bits.size))):
            size, inside, cell = _cell(bits[i], shift, low, high, cells)
            knot = knots[np.uint32(cell)]
            row = np.uint32(cell + cells * np.int32(np.int32(size >= knot) + np.int32(size > knot)))
            offset = np.float32(np.int32(inside & within) - half)
            total += loss[row] + loss_slope[row] * offset
            here = scale * (slope[row] + slope_slope[row] * offset)
            grad[i] = grad[i] + here if add else here
        sums[chunk] = total
    return sums.sum()


@njit(parallel=True, cache=True)
def _add_formula(  # type: ignore[no-untyped-def]
    weights, grad, scale, centres, zero_threshold, temperature, relative, shift, low, high, knots
):
    """As `_put_lines` when adding, from the formula itself, for the weights in crowded cells only."""
    bits = weights.view(np.int32)
    chunks = (weights.size + CHUNK - 1) // CHUNK
    sums = np.zeros(chunks)
    for chunk in prange(chunks):
        for i in range(chunk * CHUNK, min((chunk + 1) * CHUNK, weights.size)):
            cell = _cell(bits[i], np.int32(shift), np.int32(low), np.int32(high), np.int32(knots.size))[2]
            if knots[cell] == CROWDED:
                loss, slope = _exact_one(np.float64(weights[i]), centres, zero_threshold, temperature, relative)
                sums[chunk] += loss
                grad[i] += scale * np.float32(slope)
    return sums.sum()
