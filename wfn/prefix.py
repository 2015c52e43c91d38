"""Which weights a centre takes: the longest prefix, sorted by distance, whose running mean is within the budget.

The running mean of sorted distances never falls, so the end of the prefix is found by narrowing a radius: counts come
from ranks, sums of distances from prefix sums. The last few undecided weights are sorted and added one by one, and
where rounding could decide the outcome the sum is taken again exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wfn.line import Doubles, FreeRanges, Indices, KeySums, Line

# Relative rounding error of differences of blocked prefix sums, for up to 10^8 weights.
PREFIX_SUM_ERROR = 4e-12
SUM_ERROR = 1e-15
# The radius search stops when this few weights are undecided.
UNDECIDED = 256
PROBES = 32


@dataclass(frozen=True)
class Ball:
    """The free weights within a radius of a centre, without those at distance 0: counts on both sides, sum of D."""

    left: int
    right: int
    total: float
    error: float  # bound on the rounding error of `total`

    @property
    def count(self) -> int:
        """Weights on both sides."""
        return self.left + self.right


@dataclass(frozen=True)
class _Balls:
    left: Indices
    right: Indices
    total: Doubles
    error: Doubles

    def __getitem__(self, i: int) -> Ball:
        return Ball(int(self.left[i]), int(self.right[i]), float(self.total[i]), float(self.error[i]))


class Surroundings:
    """The free weights around one centre: numbers below `first` to its left, from `last` on to its right.

    The weights between stand at distance 0. Positions `left_edge`, `right_edge` are the same borders on the line.
    """

    def __init__(self, line: Line, free: FreeRanges, centre: float, zero_radius: float) -> None:
        self.line, self.free, self.centre = line, free, centre
        # Free of charge: weights equal to the centre, or for the zero centre all below the threshold.
        inner, outer = ("right", "left") if zero_radius else ("left", "right")
        self.left_edge = line.rank(np.array([centre - zero_radius]), inner)  # type: ignore[arg-type]
        self.right_edge = line.rank(np.array([centre + zero_radius]), outer)  # type: ignore[arg-type]
        self.first = int(free.count_before(self.left_edge)[0])
        self.last = int(free.count_before(self.right_edge)[0])
        self.key = line.key(centre)
        self.scale = abs(centre) if line.relative else 1.0

    def balls(self, sums: KeySums, radii: Doubles) -> _Balls:
        """The balls of distance radii [P], from prefix sums."""
        start, end = self.line.interval(self.key, radii / self.scale)
        start, end = np.minimum(start, self.left_edge), np.maximum(end, self.right_edge)
        left = self.first - self.free.count_before(start)
        right = self.free.count_before(end) - self.last
        to_left = left * self.key - (sums.at(self.left_edge) - sums.at(start))
        to_right = sums.at(end) - sums.at(self.right_edge) - right * self.key
        size = np.abs(self.line.sums[start]) + np.abs(self.line.sums[end])
        error = self.scale * (PREFIX_SUM_ERROR * size + SUM_ERROR * (left + right) * abs(self.key))
        return _Balls(left, right, self.scale * (to_left + to_right), error)

    def between(self, inner: Ball, outer: Ball) -> tuple[Indices, Indices]:
        """Positions of the weights inside `outer` and not inside `inner`, and -1 or +1 for their sides."""
        left = self.free.positions(self.first - outer.left, self.first - inner.left)
        right = self.free.positions(self.last + inner.right, self.last + outer.right)
        return np.concatenate([left[::-1], right]), np.repeat([-1, 1], [len(left), len(right)])


def longest_prefix(around: Surroundings, budget: float, limit: int) -> Ball:
    """The at most `limit` nearest weights beyond those at distance 0 with mean distance <= `budget`."""
    inner, outer = _narrow(around, budget, limit)
    positions, sides = around.between(inner, outer)
    distances = around.line.distances(positions, around.centre)
    order = np.argsort(distances, kind="stable")
    distances = distances[order]

    counts = inner.count + np.arange(1, 1 + min(len(distances), limit - inner.count))
    totals = inner.total + np.cumsum(distances[: len(counts)])
    excess = totals - budget * counts
    doubtful = np.abs(excess) <= inner.error + SUM_ERROR * counts * (totals / counts + budget)
    if doubtful.any():
        within = _exactly_within(around, inner, distances, budget, np.flatnonzero(doubtful))
    else:
        within = int((excess <= 0).sum())
    if 0 < within < len(distances) and distances[within - 1] == distances[within]:
        tied = np.flatnonzero(distances == distances[within])
        order[tied] = order[tied][around.line.exact_order(positions[order[tied]], around.centre)]
    right = int((sides[order[:within]] > 0).sum())
    total = float(totals[within - 1]) if within else inner.total
    return Ball(inner.left + within - right, inner.right + right, total, inner.error)


def _narrow(around: Surroundings, budget: float, limit: int) -> tuple[Ball, Ball]:
    """A ball that is surely within the budget and the limit, and one that holds every weight that may be."""
    inner = Ball(0, 0, 0.0, 0.0)
    outer = Ball(around.first, around.free.total - around.last, math.inf, 0.0)
    if outer.count <= UNDECIDED:
        return inner, outer
    sums = KeySums(around.line, around.free, int(around.left_edge[0]))
    # Every weight within the budget itself is taken; none beyond count * budget can be.
    radii = budget * np.exp2(np.arange(-4, math.log2(outer.count) + 2))
    low, high = 0.0, float(radii[-1])
    while outer.count - inner.count > UNDECIDED:
        balls = around.balls(sums, radii)
        count = balls.left + balls.right
        excess = balls.total - budget * count
        good = np.flatnonzero((excess <= -balls.error) & (count <= limit))
        bad = np.flatnonzero((excess > balls.error) | (count > limit))
        before = (inner.count, outer.count)
        if len(good):
            inner, low = balls[good[-1]], float(radii[good[-1]])
        if len(bad):
            outer, high = balls[bad[0]], float(radii[bad[0]])
        if (inner.count, outer.count) == before:
            break  # equal distances, or a mean too close to the budget for prefix sums
        radii = np.linspace(low, high, PROBES + 2)[1:-1]
    return inner, outer


def _exactly_within(around: Surroundings, inner: Ball, distances: Doubles, budget: float, doubtful: Indices) -> int:
    """How many of the sorted `distances` keep the mean within the budget, by exact summation."""
    near = around.line.distances(around.between(Ball(0, 0, 0.0, 0.0), inner)[0], around.centre)
    low, high = int(doubtful[0]), int(doubtful[-1]) + 1
    while low < high:
        middle = (low + high) // 2
        total = math.fsum(near.tolist() + distances[: middle + 1].tolist())
        if total <= budget * (inner.count + middle + 1):
            low = middle + 1
        else:
            high = middle
    return low
