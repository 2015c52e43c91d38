"""Weights laid out on a line, so that all sets "nearest to a centre" are intervals and their distance sums are cheap.

The relative distance |w - c| / |w| equals |c| * |1/w - 1/c|: it is an ordinary distance between inverses. The weights
are therefore sorted by a key, -1/w (or w itself for the euclidean distance), in which every set {D <= r} is one
interval; positive weights then come before negative ones, and huge weights of both signs are neighbours.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Distance = Literal["relative", "euclidean"]
Side = Literal["left", "right"]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]


def _cumsum_(values: Doubles) -> None:
    """Prefix sums [n] in place, in blocks of sqrt(n), so that only about 2 sqrt(n) roundings add up."""
    size = max(1, math.isqrt(len(values)))
    whole = len(values) // size * size
    blocks, rest = values[:whole].reshape(-1, size), values[whole:]
    np.cumsum(blocks, axis=1, out=blocks)
    offsets = np.cumsum(blocks[:, -1])
    blocks[1:] += offsets[:-1, None]
    np.cumsum(rest, out=rest)
    rest += offsets[-1] if whole else 0.0


def _sums_before(parts: Doubles) -> Doubles:
    """Of each part [n] the sum of those before it; never by subtraction, which a huge later part would spoil."""
    return np.concatenate([[0.0], np.cumsum(parts[:-1])])[: len(parts)]


class Line:
    """The non-zero weights (for the euclidean distance: all weights) in the order of their keys.

    weights [n] float32; origin: the position where the key crosses zero; zeros: how many weights are exactly zero and
    therefore on no line of inverses. sums [n + 1] float64: prefix sums of the keys, counted outward from the origin,
    so that keys far from a centre cannot spoil the precision next to it.
    """

    def __init__(self, ascending: Floats, distance: Distance) -> None:
        self.relative = distance == "relative"
        negatives = int(np.searchsorted(ascending, np.float32(0), side="left"))
        self.zeros = 0
        self.weights, self.origin = ascending, negatives
        if self.relative:
            positives_start = int(np.searchsorted(ascending, np.float32(0), side="right"))
            self.zeros = positives_start - negatives
            self.weights = np.concatenate([ascending[positives_start:], ascending[:negatives]])
            self.origin = len(ascending) - positives_start
        self.sums = np.zeros(len(self.weights) + 1)
        inner, outer = self.sums[: self.origin][::-1], self.sums[self.origin + 1 :]
        self._keys_into(inner, self.weights[: self.origin][::-1])
        self._keys_into(outer, self.weights[self.origin :])
        _cumsum_(inner)
        _cumsum_(outer)
        np.negative(inner, out=inner)

    def _keys_into(self, out: Doubles, weights: Floats) -> None:
        if self.relative:
            np.divide(-1.0, weights, out=out, dtype=np.float64)
        else:
            out[:] = weights

    def key(self, weight: float) -> float:
        """The key of one weight; not of zero on a line of inverses."""
        return -1.0 / weight if self.relative else weight

    def rank(self, values: Doubles, side: Side) -> Indices:
        """Positions [P] before which all weights of smaller key stand (side "right": smaller or equal).

        values: weights [P] float64, not zero on a line of inverses.
        """
        # searchsorted would copy the whole line to float64; a float32 bound rounded the right way is as exact.
        bounds = np.asarray(values, dtype=np.float64).astype(np.float32)
        outward = bounds > values if side == "right" else bounds < values
        bounds[outward] = np.nextafter(bounds[outward], np.float32(-np.inf if side == "right" else np.inf))
        first = np.searchsorted(self.weights[: self.origin], bounds, side=side)
        second = np.searchsorted(self.weights[self.origin :], bounds, side=side) + self.origin
        in_first = values > 0 if self.relative else values < 0
        return np.where(in_first, first, second)

    def interval(self, key: float, radii: Doubles) -> tuple[Indices, Indices]:
        """First positions and ends [P], [P] of the weights whose keys lie within each radius [P] of `key`."""
        low, high = key - radii, key + radii
        if not self.relative:
            return self.rank(low, "left"), self.rank(high, "right")
        with np.errstate(divide="ignore", over="ignore"):
            start = np.where(low == 0, self.origin, self.rank(-1.0 / low, "left"))
            end = np.where(high == 0, self.origin, self.rank(-1.0 / high, "right"))
        return start, end

    def distances(self, positions: Indices, centre: float) -> Doubles:
        """D(w, centre) [P] of the weights at `positions` [P]."""
        weights = self.weights[positions].astype(np.float64)
        gap = np.abs(weights - centre)
        return gap / np.abs(weights) if self.relative else gap

    def exact_order(self, positions: Indices, centre: float) -> Indices:
        """Order [P] of the weights at `positions` [P] by exact distance, the lower weight first of equal ones.

        Slow: for the few weights whose distances look the same in float64.
        """
        weights, place = np.unique(self.weights[positions], return_inverse=True)
        exact = [abs(Fraction(weight) - Fraction(centre)) for weight in weights.tolist()]
        if self.relative:
            exact = [gap / abs(Fraction(weight)) for gap, weight in zip(exact, weights.tolist(), strict=True)]
        ranks = np.empty(len(weights), dtype=np.int64)
        ranks[sorted(range(len(weights)), key=exact.__getitem__)] = np.arange(len(weights))
        return np.argsort(ranks[place], kind="stable")


class FreeRanges:
    """The positions not yet taken, as sorted disjoint ranges, numbered through from 0 to `total`."""

    def __init__(self, size: int) -> None:
        self.starts = np.zeros(min(size, 1), dtype=np.int64)
        self.ends = self.starts + size
        self._count()

    def _count(self) -> None:
        self.before = np.concatenate([[0], np.cumsum(self.ends - self.starts)])
        self.total = int(self.before[-1])

    def count_before(self, positions: Indices) -> Indices:
        """How many free positions stand before each position [P]."""
        if self.total == 0:
            return np.zeros_like(positions)
        index = np.searchsorted(self.ends, positions, side="right")
        inside = positions - self.starts[np.minimum(index, len(self.starts) - 1)]
        return self.before[index] + np.where(index < len(self.starts), np.maximum(0, inside), 0)

    def ranges(self, first: int, last: int) -> list[tuple[int, int]]:
        """The ranges that hold the free positions number `first` up to, not including, `last`."""
        if first >= last:
            return []
        i = int(np.searchsorted(self.before, first, side="right")) - 1
        j = int(np.searchsorted(self.before, last, side="left"))
        starts, ends = self.starts[i:j].copy(), self.ends[i:j].copy()
        starts[0] += first - self.before[i]
        ends[-1] -= self.before[j] - last
        return list(zip(starts.tolist(), ends.tolist(), strict=True))

    def positions(self, first: int, last: int) -> Indices:
        """The free positions number `first` up to, not including, `last`."""
        return np.concatenate([np.empty(0, np.int64), *(np.arange(a, b) for a, b in self.ranges(first, last))])

    def take_(self, first: int, last: int) -> list[tuple[int, int]]:
        """Remove the free positions number `first` up to `last`; returns the ranges that held them."""
        taken = self.ranges(first, last)
        if taken:
            start, end = taken[0][0], taken[-1][1]
            i = int(np.searchsorted(self.ends, start, side="right"))
            j = int(np.searchsorted(self.starts, end, side="left"))
            left = [(int(self.starts[i]), start)] if self.starts[i] < start else []
            right = [(end, int(self.ends[j - 1]))] if end < self.ends[j - 1] else []
            rest = np.array(left + right, dtype=np.int64).reshape(-1, 2)
            self.starts = np.concatenate([self.starts[:i], rest[:, 0], self.starts[j:]])
            self.ends = np.concatenate([self.ends[:i], rest[:, 1], self.ends[j:]])
            self._count()
        return taken


class KeySums:
    """Sums of the keys of the free weights between `anchor` and a position, negative for positions before it.

    Every sum is a difference of prefix sums at positions between the two, so that no key beyond the position, however
    large, takes part in its rounding.
    """

    def __init__(self, line: Line, free: FreeRanges, anchor: int) -> None:
        self.line = line
        self.starts, self.ends = free.starts, free.ends
        here = int(np.searchsorted(free.ends, anchor, side="right"))
        if here < len(free.starts) and free.starts[here] < anchor:  # inside a range: two ranges that meet there
            self.starts, self.ends = np.insert(free.starts, here + 1, anchor), np.insert(free.ends, here, anchor)
            here += 1
        parts = line.sums[self.ends] - line.sums[self.starts]
        # Of each range: the end that is nearer to the anchor, and the sum between it and the anchor.
        self.near = np.concatenate([self.ends[:here], self.starts[here:]])
        self.between = np.concatenate([-_sums_before(parts[:here][::-1])[::-1], _sums_before(parts[here:])])

    def at(self, positions: Indices) -> Doubles:
        """Sum of the free keys between the anchor and each position [P]."""
        index = np.minimum(np.searchsorted(self.ends, positions, side="right"), len(self.ends) - 1)
        inside = np.clip(positions, self.starts[index], self.ends[index])
        return self.between[index] + (self.line.sums[inside] - self.line.sums[self.near[index]])
