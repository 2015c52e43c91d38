"""The walk outward from a centre: the nearest weights, one by one, as long as their mean distance is within a budget.

The weights stand in ascending order on a ring: beyond the largest ones come the most negative ones. The relative
distance |w - c| / |w| = |c| |1/w - 1/c| grows both ways round from the centre up to a seam at zero, which is infinitely
far; the euclidean distance up to a seam between the largest and the most negative weights. What the walk passes is
taken, so that a whole pass of clustering looks at every weight about once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wfn.compiling import compiled
from wfn.method.centres import Floats

Positions = NDArray[np.int64]


@compiled()
def _excess(one: float, other: float, bound: float) -> float:
    """A number with exactly the sign of one + other - bound."""
    total = one + other
    if total != bound:
        return total - bound
    part = total - one
    return (one - (total - part)) + (other - part)


@compiled()
def _left_first(left: float, right: float, centre: float, relative: bool) -> bool:
    """Which of two weights beside the centre is nearer, exactly; of equally near ones the lower.

    Relative: for a positive centre c and weights l, r the distances are c/l - 1 and 1 - c/r, here multiplied by l r;
    products of float32 are exact in float64.
    """
    if relative:
        excess = _excess(centre * left, centre * right, 2 * left * right)
        excess = -excess if (centre > 0) == (left * right > 0) else excess
    else:
        excess = _excess(left, right, 2 * centre)
    return excess > 0 or (excess == 0 and left < right)


@compiled(error_model="numpy")
def _look(ascending, position, reachable, centre, relative):  # type: ignore[no-untyped-def]
    """The weight at a position of the ring, and its distance."""
    weight = np.float64(ascending[position - ascending.size if position >= ascending.size else position])
    gap = abs(weight - centre) if reachable else np.inf
    return weight, gap / abs(weight) if relative else gap


@compiled()
def walk(
    ascending: Floats, ranges: Positions, centre: float, budget: float, limit: int, relative: bool
) -> tuple[int, int, int, float]:
    """Pass the nearest weights, at most `limit`, as long as their mean distance to `centre` is at most `budget`.

    ascending [N]: the weights. ranges [R, 2]: first position and end of each range of weights that may be passed, in
    the order of the ring from the centre on, where N is added beyond position N; at least `limit` weights, none of them
    at distance 0. Of equal distances the lower weight comes first.

    Returns where on the ring, from below 0 to beyond N, the stretch that was passed starts and ends; how many weights
    it has, and the sum of their distances.
    """
    size = ascending.size
    seam = np.searchsorted(ascending, 0) + size * (centre > 0) if relative else size
    first, last = 0, len(ranges) - 1
    right, left = ranges[first, 0], ranges[last, 1] - 1  # to look at next
    right_weight, right_far = _look(ascending, right, right < seam, centre, relative)
    left_weight, left_far = _look(ascending, left, left >= seam, centre, relative)
    count, total, rest = 0, 0.0, 0.0  # total + rest is the sum, and total is what math.fsum would say
    while True:
        from_left = left_far < right_far
        if left_far == right_far:
            from_left = _left_first(left_weight, right_weight, centre, relative)
        far = left_far if from_left else right_far
        rough = total + far
        part = rough - total
        rest += (total - (rough - part)) + (far - part)
        if not rough + rest <= budget * (count + 1):
            break
        total = rough + rest
        rest -= total - rough
        count += 1
        if from_left:
            left -= 1
        else:
            right += 1
        if count == limit:
            break
        if from_left:
            if left < ranges[last, 0]:
                last -= 1
                left = ranges[last, 1] - 1
            left_weight, left_far = _look(ascending, left, left >= seam, centre, relative)
        else:
            if right == ranges[first, 1]:
                first += 1
                right = ranges[first, 0]
            right_weight, right_far = _look(ascending, right, right < seam, centre, relative)
    return left + 1 - size, right, count, total
