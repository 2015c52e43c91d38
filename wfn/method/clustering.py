"""One clustering pass: the greedy choice of shared values (method, section 6), exact and fast.

A pass is a piecewise-constant map of the real line: every step takes an interval of weights around its centre. So the
weights are sorted once, the free ones are a short list of ranges, votes are differences of ranks, and a step costs
microseconds beside the walk over the weights that it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from wfn.compiling import compiled
from wfn.method.centres import Distance, Doubles, Floats, candidate_centres, check_distance, term_count
from wfn.method.piecewise import Pieces, map_constant
from wfn.method.walk import Positions, walk

Mode = Literal["recluster", "incremental"]

# Above this order the candidates no longer change; the budget is doubled instead.
MAX_ORDER = 20
# Sign, exponent and nine mantissa bits: fine enough that few cells hold a border between two centres. Fewer for few
# weights, whose table would be larger than they are.
LEADING_BITS, FEWEST_LEADING_BITS = 18, 10


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
    check_distance(distance)
    candidate_centres(delta, 0, zero_threshold, 0.0)  # refuses bad arguments before any work

    everything = weights.detach().cpu().contiguous().numpy()
    keep = fixed.detach().cpu().numpy() if mode == "incremental" and fixed is not None else None
    kept = np.unique(everything[:0] if keep is None else everything[keep])
    ascending = np.sort(everything if keep is None else everything[~keep])
    if not all(np.isfinite(part[[0, -1]]).all() for part in (kept, ascending) if len(part)):
        raise ValueError("weights: NaN and infinite values cannot be clustered")

    greedy = _Pass(ascending, delta, zero_threshold, distance)
    greedy.run(int(len(everything) * fraction) - (len(everything) - len(ascending)), mode)
    chosen = np.array([step.centre for step in greedy.steps], dtype=np.float32)
    orders = np.bincount(term_count(chosen), [step.taken for step in greedy.steps])
    parts = (*greedy.apply(everything, keep), np.union1d(kept, chosen))
    values, is_fixed, centres = (torch.from_numpy(part).to(weights.device) for part in parts)
    return Clustering(values, is_fixed, centres, tuple(int(count) for count in orders), tuple(greedy.steps))


class _Pass:
    """The greedy loop over ascending weights [N], which stand on a ring (see `walk`)."""

    def __init__(self, ascending: Floats, delta: float, zero_threshold: float, distance: Distance) -> None:
        self.ascending, self.size = ascending, len(ascending)
        self.steps: list[Step] = []
        self._delta, self._zero_threshold, self._relative = delta, zero_threshold, distance == "relative"
        self._taken: list[tuple[Positions, float]] = []  # stretches [3, 2] of positions and their centre
        self._candidates: dict[tuple[int, float], tuple[Doubles, Positions]] = {}
        self._set_free_(np.array([[0, self.size]]))

    def run(self, wanted: int, mode: Mode) -> None:
        """Take `wanted` of the weights."""
        order, budget = 0, self._delta
        while wanted > 0:
            centre = self._most_voted(order)
            taken, mean = self._take(centre, budget, wanted)
            if taken:
                self.steps.append(Step(centre, taken, order, mean))
                wanted -= taken
                budget = self._delta
                order = 0 if mode == "incremental" else order
            else:
                order += 1
                budget = budget * 2 if order > MAX_ORDER else budget

    # The free weights

    def _set_free_(self, ranges: Positions) -> None:
        """Positions and ends [R, 2] of the ranges of free weights, and how many free weights stand before each."""
        self._free = ranges
        self._before = np.cumsum((ranges - ranges[:, :1]).ravel())

    def _free_before(self, positions: Positions) -> Positions:
        """How many free weights stand before each position [P]."""
        return np.interp(positions, self._free.ravel(), self._before).astype(np.int64)  # exact: slopes of 0 and 1

    def _end_of(self, number: int) -> int:
        """A position before which `number` free weights stand."""
        return int(np.interp(number, self._before, self._free.ravel()))

    def _outside(self, start: int, end: int) -> Positions:
        """The free ranges [R, 2] from `end` on round the ring to `start`; N is added beyond position N."""
        ranges = np.clip(np.concatenate([self._free, self._free + self.size]), end, start + self.size)
        return ranges[ranges[:, 0] < ranges[:, 1]]

    def _take_(self, start: int, end: int, centre: float) -> None:
        """Give the free weights from `start` to `end` on the ring to a centre."""
        left = self._outside(start, end)
        again = left[:, 0] >= self.size
        self._set_free_(np.concatenate([left[again] - self.size, left[~again]]))
        laps = np.array([[-self.size], [0], [self.size]]) + np.array([start, end])
        self._taken.append((np.clip(laps, 0, self.size), centre))

    # One step

    def _up_to(self, values: ArrayLike) -> Positions:
        """How many weights are at most each of the values [P] float64."""
        exact = np.asarray(values, dtype=np.float64)
        # searchsorted would copy all weights to float64; a bound rounded down to float32 is as exact.
        with np.errstate(over="ignore", under="ignore"):  # beyond float32 is beyond all weights
            bounds = exact.astype(np.float32)
            bounds = np.where(bounds > exact, np.nextafter(bounds, np.float32(-np.inf)), bounds)
        return np.searchsorted(self.ascending, bounds, side="right")

    def _most_voted(self, order: int) -> float:
        """The candidate nearest to the most free weights; the lower one of equals."""
        largest = float(np.abs(self.ascending[[self._free[0, 0], self._free[-1, 1] - 1]]).max())
        key = (min(order, MAX_ORDER), largest)
        if key not in self._candidates:
            centres = candidate_centres(self._delta, key[0], self._zero_threshold, largest)
            self._candidates[key] = centres, self._up_to((centres[:-1] + centres[1:]) / 2)
        centres, borders = self._candidates[key]
        votes = np.diff(self._free_before(borders), prepend=0, append=self._before[-1])
        return float(centres[np.argmax(votes)])

    def _take(self, centre: float, budget: float, limit: int) -> tuple[int, float]:
        """Give at most `limit` weights to a centre: those at distance 0, then the nearest within the budget.

        Returns how many, and the mean distance of the latter.
        """
        # Free of charge: weights equal to the centre, or for the zero centre all below the threshold.
        below = -self._zero_threshold if centre == 0 else np.nextafter(centre, -np.inf)
        last = np.nextafter(self._zero_threshold, -np.inf) if centre == 0 else centre
        low, high = self._up_to([below, last])
        before, until = self._free_before(np.array([low, high])).tolist()
        equal = until - before
        if equal >= limit:
            self._take_(low, self._end_of(before + limit), centre)
            return limit, 0.0
        if centre == 0 and self._relative:  # all others are at distance 1
            self._take_(low, high, centre)
            if budget < 1:
                return equal, 0.0
            self._take_(0, self._end_of(limit - equal), centre)
            return limit, 1.0
        ranges = self._outside(low, high)
        start, end, count, total = walk(self.ascending, ranges, centre, budget, limit - equal, self._relative)
        if equal + count:
            self._take_(start, end, centre)
        return equal + count, total / max(1, count)

    def _runs(self) -> tuple[Positions, Floats]:
        """All weights as runs of one fate: borders [R + 1] and centres [R], NaN for a free run."""
        borders = np.unique(np.concatenate([[[0, self.size]], *(stretches for stretches, _ in self._taken)]))
        centres = np.full(len(borders) - 1, np.nan, dtype=np.float32)
        for stretches, centre in reversed(self._taken):  # a stretch may hold what was taken before it
            for start, end in np.searchsorted(borders, stretches):
                centres[start:end] = centre
        return borders, centres

    def apply(self, weights: Floats, keep: NDArray[np.bool_] | None) -> tuple[Floats, NDArray[np.bool_]]:
        """The pass as a map of weights [N] of any order, those of `keep` [N] left out: values [N] and fixed [N]."""
        borders, centres = self._runs()
        low, high = self.ascending[borders[:-1]], self.ascending[borders[1:] - 1]
        # Equal weights that were cut apart get a piece of their own, marked inf, and are dealt out afterwards.
        cut = np.unique(high[:-1][high[:-1] == low[1:]])
        with np.errstate(over="ignore", under="ignore"):  # below the lowest float32 is -inf
            upper = np.union1d(high, np.nextafter(cut, np.float32(-np.inf)))
        constant = centres[np.searchsorted(high, upper)]
        constant[np.isin(upper, cut)] = np.inf
        leading_bits = min(LEADING_BITS, max(FEWEST_LEADING_BITS, len(weights).bit_length() - 4))
        pieces = Pieces.build(np.append(upper, np.float32(np.inf)), leading_bits)
        values, fixed = map_constant(pieces, weights, np.append(constant, np.float32(np.nan)))
        if keep is not None:
            np.copyto(values, weights, where=keep)
            fixed |= keep
        if len(cut):
            _deal_out_(values, fixed, weights, cut, np.searchsorted(self.ascending, cut), borders, centres)
        return values, fixed


@compiled()
def _deal_out_(values, fixed, weights, cut, positions, borders, centres):  # type: ignore[no-untyped-def]
    """Weights that are marked inf, each equal to one of `cut` [C], get the centres of their runs in their order.

    positions [C]: where the weights of each value begin.
    """
    runs = np.searchsorted(borders, positions, side="right") - 1
    for i in range(len(values)):
        if values[i] == np.inf:
            which = np.searchsorted(cut, weights[i])
            if positions[which] == borders[runs[which] + 1]:
                runs[which] += 1
            positions[which] += 1
            centre = centres[runs[which]]
            fixed[i] = centre == centre
            values[i] = centre if fixed[i] else weights[i]
