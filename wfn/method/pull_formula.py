"""The pull of one weight towards the centres, as its formula says it (method, section 7).

f(w) = sum_j p_j(w) D(w, c_j),   p(w) = softmin_j(D(w, c_j) / temperature)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import prange

from wfn.compiling import compiled
from wfn.method.centres import Doubles


class Formula(NamedTuple):
    """What f depends on: centres [k], rising; relative: whether D is the distance relative to |w|.

    Weights of at most zero_threshold in magnitude use |w - c| in any case, with the zero centre at distance 0.
    """

    centres: Doubles
    zero_threshold: float
    temperature: float
    relative: bool


@compiled(parallel=True)
def exact(weights, centres, zero_threshold, temperature, relative):  # type: ignore[no-untyped-def]
    """f(w), f'(w) [P] float64 at weights [P] float64, and by how much f' differs from that on both sides [P].

    The other arguments are those of `Formula`.

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
