"""One clustering pass: the greedy choice of shared values (method, section "Minimalist clustering"), exact and fast.

A pass is a piecewise-constant map of the real line: every step takes an interval of weights around its centre. So the
weights are sorted once, the free ones are a short list of ranges, votes are differences of ranks, and a step costs
microseconds, whatever the number of weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from wfn.centres import candidate_centres, term_count
from wfn.line import Distance, Doubles, Floats, FreeRanges, Indices, Line
from wfn.piecewise import Pieces, map_constant
from wfn.prefix import Surroundings, longest_prefix

Mode = Literal["recluster", "incremental"]

# Above this order the candidates no longer change; the budget is doubled instead.
MAX_ORDER = 20
# Sign, exponent and nine mantissa bits: fine enough that few cells hold a border between two centres.
LEADING_BITS = 18


class Step(NamedTuple):
    """One success of the greedy loop."""

    centre: float
    taken: int  # weights given to the centre
    order: int  # order of the candidates it was chosen from
    mean_distance: float  # over the weights taken at a distance above 0


@dataclass(frozen=True)
class Clustering:
    """What a pass did to weights [N].

    values [N] float32: the centre of each fixed weight, the weight itself elsewhere. fixed [N] bool.
    centres [k] float32, sorted: the distinct values of the fixed weights. order_counts: weights newly taken per number
    of power-of-two terms of their centre (index 0: the zero centre). steps: the successes, in their order.
    """

    values: torch.Tensor
    fixed: torch.Tensor
    centres: torch.Tensor
    order_counts: tuple[int, ...]
    steps: tuple[Step, ...]


def cluster(
    weights: torch.Tensor,
    fraction: float,
    delta: float,
    *,
    zero_threshold: float = 2**-7,
    mode: Mode = "recluster",
    fixed: torch.Tensor | None = None,
    distance: Distance = "relative",
) -> Clustering:
    """Fix int(N * fraction) of the weights [N] to greedily chosen centres within the mean distance `delta`.

    weights: float32 [N] on any device; never changed. The work is done on the CPU, so every device gets the same
    result, returned on the device of `weights`. fraction: in [0, 1], against all N.
    zero_threshold: weights smaller in magnitude may become zero free of charge.
    mode "recluster": every weight is free at first and the order only grows (the authors' program); "incremental":
    the weights marked in `fixed` bool [N] stay, and the order restarts for every centre (the paper's Algorithm 1).

    Raises ValueError for weights that are not one finite float32 vector, and for arguments out of range.
    """
    if weights.ndim != 1 or weights.dtype != torch.float32:
        raise ValueError(f"weights: one float32 vector expected, not {weights.dtype} {tuple(weights.shape)}")
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction = {fraction}: must lie in [0, 1]")
    if mode not in ("recluster", "incremental"):
        raise ValueError(f"mode = {mode!r}: must be 'recluster' or 'incremental'")
    if distance not in ("relative", "euclidean"):
        raise ValueError(f"distance = {distance!r}: must be 'relative' or 'euclidean'")

    everything = weights.detach().cpu().contiguous().numpy()
    wanted = int(len(everything) * fraction)
    if mode == "incremental" and fixed is not None and fixed.any():
        keep = fixed.detach().cpu().numpy()
        free = everything[~keep]
        greedy = _Pass(free, delta, zero_threshold, distance, restart_order=True)
        greedy.run(max(0, wanted - int(keep.sum())))
        values, is_fixed = everything.copy(), keep.copy()
        values[~keep], is_fixed[~keep] = greedy.apply(free)
        centres = np.unique(values[is_fixed])
    else:
        greedy = _Pass(everything, delta, zero_threshold, distance, restart_order=mode == "incremental")
        greedy.run(wanted)
        values, is_fixed = greedy.apply(everything)
        centres = np.unique(np.array([step.centre for step in greedy.steps], dtype=np.float32))

    orders = np.bincount(term_count([step.centre for step in greedy.steps]), [step.taken for step in greedy.steps])
    return Clustering(
        values=torch.from_numpy(values).to(weights.device),
        fixed=torch.from_numpy(is_fixed).to(weights.device),
        centres=torch.from_numpy(centres).to(weights.device),
        order_counts=tuple(int(count) for count in orders),
        steps=tuple(greedy.steps),
    )


class _Candidates(NamedTuple):
    centres: Doubles  # [K] sorted
    borders: Indices  # [K - 1] positions of the midpoints on the line
    negative: int  # how many midpoints are negative


class _Segment(NamedTuple):
    """A run of weights with one fate, `start` to `end` on the line; `low` to `high` in value."""

    low: float
    high: float
    start: int
    end: int
    centre: float  # NaN: still free


class _Pass:
    """The greedy loop over one set of free weights."""

    def __init__(
        self, weights: Floats, delta: float, zero_threshold: float, distance: Distance, *, restart_order: bool
    ) -> None:
        candidate_centres(delta, 0, zero_threshold, 0.0)  # refuses bad arguments before any work
        ascending = np.sort(weights)
        if len(ascending) and not (math.isfinite(ascending[0]) and math.isfinite(ascending[-1])):
            raise ValueError("weights: NaN or infinite values cannot be clustered")
        self.line = Line(ascending, distance)
        self.free = FreeRanges(len(self.line.weights))
        self.free_zeros = self.line.zeros
        self.steps: list[Step] = []
        self._delta, self._zero_threshold, self._restart_order = delta, zero_threshold, restart_order
        self._taken: list[tuple[int, int, float]] = []  # start, end, centre
        self._candidates: dict[tuple[int, float], _Candidates] = {}

    def run(self, wanted: int) -> None:
        """Take `wanted` of the weights."""
        order, budget = 0, self._delta
        while wanted > 0:
            centre = self._most_voted(order)
            if centre == 0 and self.line.relative:
                taken, mean = self._take_zero(budget, wanted)
            else:
                taken, mean = self._take(centre, budget, wanted)
            if taken:
                self.steps.append(Step(centre, taken, order, mean))
                wanted -= taken
                budget = self._delta
                order = 0 if self._restart_order else order
            else:
                order += 1
                budget = budget * 2 if order > MAX_ORDER else budget

    # Votes

    def _max_abs(self) -> float:
        """Largest magnitude among the free weights; 0 if there are none."""
        if self.free.total == 0:
            return 0.0
        numbers = [0, self.free.total - 1]
        if self.line.relative:  # the ends of the line are tiny; the largest of both signs meet at the origin
            middle = int(self.free.count_before(np.array([self.line.origin]))[0])
            numbers = [max(0, middle - 1), min(middle, self.free.total - 1)]
        positions = [self.free.ranges(number, number + 1)[0][0] for number in numbers]
        return float(np.abs(self.line.weights[positions]).max())

    def _candidates_for(self, order: int) -> _Candidates:
        key = (min(order, MAX_ORDER), self._max_abs())
        if key not in self._candidates:
            centres = candidate_centres(self._delta, key[0], self._zero_threshold, key[1])
            midpoints = (centres[:-1] + centres[1:]) / 2
            self._candidates[key] = _Candidates(centres, self.line.rank(midpoints, "right"), int((midpoints < 0).sum()))
        return self._candidates[key]

    def _most_voted(self, order: int) -> float:
        """The candidate nearest to the most free weights; the lower one of equals."""
        candidates = self._candidates_for(order)
        below, total = self.free.count_before(candidates.borders), self.free.total
        if self.line.relative:  # from positions, positives first, to ascending order with the zeros between
            positives = self.free.count_before(np.array([self.line.origin]))
            split = candidates.negative
            below = np.concatenate([below[:split] - positives, below[split:] + total - positives + self.free_zeros])
            total += self.free_zeros
        votes = np.diff(below, prepend=0, append=total)
        return float(candidates.centres[np.argmax(votes)])

    # Taking

    def _record(self, first: int, last: int, centre: float) -> None:
        self._taken += [(start, end, centre) for start, end in self.free.take_(first, last)]

    def _take_zero(self, budget: float, limit: int) -> tuple[int, float]:
        """Give weights to zero by relative distance: 0 below the threshold, 1 for all others."""
        total = self.free.total
        small_end, origin, small_start = self.free.count_before(
            np.concatenate(
                [
                    self.line.rank(np.array([self._zero_threshold]), "left"),
                    [self.line.origin],
                    self.line.rank(np.array([-self._zero_threshold]), "right"),
                ]
            )
        ).tolist()
        # Free of charge, lower weights first; the line has the positive weights before the negative ones.
        from_negatives = min(limit, total - small_start)
        from_zeros = min(limit - from_negatives, self.free_zeros)
        from_positives = min(limit - from_negatives - from_zeros, small_end)
        chosen = [(small_start, small_start + from_negatives), (0, from_positives)]
        at_zero = from_negatives + from_zeros + from_positives
        if budget >= 1:
            from_negatives = min(limit - at_zero, small_start - origin)
            from_positives = min(limit - at_zero - from_negatives, origin - small_end)
            chosen += [(origin, origin + from_negatives), (small_end, small_end + from_positives)]
            at_distance_1 = from_negatives + from_positives
        else:
            at_distance_1 = 0
        self.free_zeros -= from_zeros
        for first, last in sorted(chosen, reverse=True):  # from the back, so that the numbers in front stay
            self._record(first, last, 0.0)
        return at_zero + at_distance_1, float(at_distance_1 > 0)

    def _take(self, centre: float, budget: float, limit: int) -> tuple[int, float]:
        """Give the weights within the budget to a centre: those at distance 0, then the longest prefix."""
        around = Surroundings(self.line, self.free, centre, self._zero_threshold if centre == 0 else 0.0)
        equal = around.last - around.first
        if equal >= limit:
            self._record(around.first, around.first + limit, centre)
            return limit, 0.0
        ball = longest_prefix(around, budget, limit - equal)
        self._record(around.first - ball.left, around.last + ball.right, centre)
        return equal + ball.count, ball.total / max(1, ball.count)

    # The map

    def apply(self, weights: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """The pass as a map of the weights [N] it was made from, in any order: values [N] and fixed [N]."""
        segments = self._segments()
        # Equal weights that were cut apart get a piece of their own, marked inf, and are dealt out afterwards.
        cut = {one.high for one, following in pairwise(segments) if one.high == following.low}
        pieces: list[tuple[float, float]] = []  # upper end, centre
        for segment in segments:
            whole = segment.high not in cut
            if whole or segment.low < segment.high:
                upper = segment.high if whole else float(np.nextafter(np.float32(segment.high), np.float32(-np.inf)))
                pieces.append((upper, segment.centre))
            if not whole and pieces[-1:] != [(segment.high, math.inf)]:
                pieces.append((segment.high, math.inf))
        table = np.array([*pieces, (math.inf, math.nan)], dtype=np.float32)
        values, fixed = map_constant(Pieces.build(table[:, 0].copy(), LEADING_BITS), weights, table[:, 1].copy())
        if cut:
            self._deal_out(weights, cut, segments, values, fixed)
        return values, fixed

    def _segments(self) -> list[_Segment]:
        """All weights as runs of one fate, ascending."""
        size, origin = len(self.line.weights), self.line.origin
        runs = sorted([*self._taken, *((start, end, math.nan) for start, end in self.free.ranges(0, self.free.total))])
        halves: tuple[list[_Segment], list[_Segment]] = ([], [])
        for start, end, centre in runs:
            for half, low, high in ((0, start, min(end, origin)), (1, max(start, origin), min(end, size))):
                if low < high:
                    first, last = self.line.weights[[low, high - 1]].tolist()
                    halves[half].append(_Segment(first, last, low, high, centre))
        if not self.line.relative:
            return halves[0] + halves[1]
        zeros = ((self.line.zeros - self.free_zeros, 0.0), (self.free_zeros, math.nan))
        return halves[1] + [_Segment(0.0, 0.0, 0, count, centre) for count, centre in zeros if count] + halves[0]

    def _deal_out(
        self,
        weights: Floats,
        cut: set[float],
        segments: list[_Segment],
        values: Floats,
        fixed: NDArray[np.bool_],
    ) -> None:
        """Weights whose value several segments share: so many to each segment, in the order of the weights."""
        marked = np.flatnonzero(np.isinf(values))
        marked = marked[np.argsort(weights[marked], kind="stable")]
        shares = []
        for segment in segments:
            if segment.low == segment.high:
                shares += [(segment.end - segment.start, segment.centre)] * (segment.low in cut)
                continue
            first, last = (
                self.line.rank(np.array([segment.low]), "right"),
                self.line.rank(np.array([segment.high]), "left"),
            )
            shares += [(int(first[0]) - segment.start, segment.centre)] * (segment.low in cut)
            shares += [(segment.end - int(last[0]), segment.centre)] * (segment.high in cut)
        counts, centres = zip(*shares, strict=True)
        dealt = np.repeat(np.array(centres, dtype=np.float32), counts)
        fixed[marked] = ~np.isnan(dealt)
        values[marked] = np.where(np.isnan(dealt), weights[marked], dealt)
