"""Slow, independent versions of the engine, written from the method's description with plain loops and full matrices.

They share no code with `wfn`; the tests hold the engine against them.
"""

import math
from collections import Counter
from fractions import Fraction
from functools import cmp_to_key, partial

import numpy as np

MAX_ORDER = 20
LARGEST = (2 - 2**-23) * 2.0**127  # of float32; 2^128 is beyond it


def round_to_powers(rung, delta, order, zero_threshold):
    lowest = math.ceil(math.log2(zero_threshold) - order - 1)
    total = 2.0 ** round(math.log2(rung))
    for _ in range(order):
        missing = rung - total
        if abs(missing) < delta * rung:
            break
        total += math.copysign(2.0 ** max(lowest, round(math.log2(abs(missing)))), missing)
    return total


def candidates(delta, order, zero_threshold, max_abs):
    found = {0.0}
    rung = zero_threshold
    while rung < max_abs:
        value = min(round_to_powers(rung, delta, order, zero_threshold), LARGEST)
        found |= {value, -value}
        rung = rung * (1 + delta) / (1 - delta)
    return sorted(found)


def distance(weight, centre, zero_threshold, kind):
    if centre == 0 and abs(weight) < zero_threshold:
        return 0.0
    if kind == "euclidean":
        return abs(weight - centre)
    return abs(weight - centre) / abs(weight) if weight else math.inf


def nearer(one, other, *, centre, kind):
    """Order of (distance, weight, index). Distances that look the same in float64 are told apart exactly.

    Truly equal distances: the lower weight first, then the order of the weights.
    """
    if one[0] == other[0] and 0 < one[0] < math.inf and one[1] != other[1]:
        exact = [abs(Fraction(weight) - Fraction(centre)) for _, weight, _ in (one, other)]
        if kind == "relative":
            exact = [gap / abs(Fraction(weight)) for gap, (_, weight, _) in zip(exact, (one, other), strict=True)]
        if exact[0] != exact[1]:
            return -1 if exact[0] < exact[1] else 1
    return -1 if one < other else int(one > other)


def cluster(weights, fraction, delta, *, zero_threshold=2**-7, mode="recluster", fixed=None, distance_kind="relative"):
    """Values, fixed mask, set of centres and the taken weights per centre, one greedy step after the other."""
    weights = [float(weight) for weight in weights]
    values = list(weights)
    fixed = [False] * len(weights) if fixed is None or mode == "recluster" else [bool(flag) for flag in fixed]
    target = int(len(weights) * fraction)
    steps = []
    order, budget = 0, delta
    while sum(fixed) < target:
        free = [i for i in range(len(weights)) if not fixed[i]]
        options = candidates(delta, order, zero_threshold, max(abs(weights[i]) for i in free))
        matrix = np.abs(np.array([weights[i] for i in free])[:, None] - np.array(options)[None, :])
        votes = Counter(matrix.argmin(axis=1).tolist())
        centre = options[min(votes, key=lambda option: (-votes[option], option))]

        ranked = sorted(
            ((distance(weights[i], centre, zero_threshold, distance_kind), weights[i], i) for i in free),
            key=cmp_to_key(partial(nearer, centre=centre, kind=distance_kind)),
        )
        taken, paid = 0, []
        for far, *_ in ranked[: target - sum(fixed)]:
            if far > 0:
                paid.append(far)
                if math.fsum(paid) > budget * len(paid):
                    break
            taken += 1
        if taken:
            for *_, i in ranked[:taken]:
                values[i], fixed[i] = centre, True
            steps.append((centre, taken))
            budget = delta
            order = 0 if mode == "incremental" else order
        else:
            order += 1
            if order > MAX_ORDER:
                budget *= 2
    return values, fixed, steps


def regulariser(weights, centres, *, zero_threshold, temperature=0.05, distance="relative"):
    """Mean loss and gradient [N] in float64, by automatic differentiation of the formula."""
    import torch

    w = torch.tensor(np.asarray(weights), dtype=torch.float64, requires_grad=True)
    c = torch.tensor(np.asarray(centres), dtype=torch.float64)
    gap = (w[:, None] - c[None, :]).abs()
    small = w.abs()[:, None] <= zero_threshold
    far = gap / w.abs()[:, None].clamp_min(torch.finfo(torch.float64).tiny) if distance == "relative" else gap
    far = torch.where(small, gap, far)
    far = torch.where(small & (c == 0)[None, :], torch.zeros_like(far), far)
    loss = (torch.softmax(-far / temperature, dim=1) * far).sum(dim=1).mean()
    loss.backward()
    return float(loss.detach()), w.grad.numpy()
