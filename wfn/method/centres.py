"""Candidate centres: additive powers of two that cover a range of weights (method, section 5).

A centre is a sum of a few signed powers of two, so that multiplying by it takes shifts and adds only.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Distance = Literal["relative", "euclidean"]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

# Below the first term by more than this, a further term no longer fits into a float32 significand.
FLOAT32_SPAN = 23
LARGEST = float(np.finfo(np.float32).max)
# More rungs are no small set of values, and the arrays of a single step would fill the memory.
MOST_RUNGS = 1 << 22


def check_distance(distance: str) -> None:
    """Raise ValueError for a word that is not a `Distance`."""
    if distance not in get_args(Distance):
        raise ValueError(f"distance = {distance!r}: must be 'relative' or 'euclidean'")


@lru_cache(maxsize=64)
def _ladder(delta: float, zero_threshold: float, max_abs: float) -> NDArray[np.float64]:
    rungs = []
    rung = zero_threshold
    while rung < max_abs:
        rungs.append(rung)
        rung = rung * (1 + delta) / (1 - delta)
    return np.array(rungs)


def ladder(delta: float, zero_threshold: float, max_abs: float) -> NDArray[np.float64]:
    """Rungs [J] from `zero_threshold` up to, not including, `max_abs`.

    Neighbours stand a factor (1 + delta) / (1 - delta) apart, so every value between them lies within
    relative distance `delta` of one of them.

    Raises ValueError unless 0 < delta < 1, zero_threshold > 0 and max_abs is finite in float32, and for more rungs than
    `MOST_RUNGS`.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta = {delta}: a relative distance budget lies between 0 and 1, both excluded")
    if not 0 < zero_threshold < math.inf:
        raise ValueError(f"zero_threshold = {zero_threshold}: must be positive and finite")
    if not 0 <= max_abs <= LARGEST:
        raise ValueError(f"max_abs = {max_abs}: must be a float32 number, finite and not negative")
    if max_abs <= zero_threshold:
        return np.empty(0)
    # The ladder up to the next power of two serves every smaller maximum: only its end differs.
    top = max(2.0 ** math.ceil(math.log2(max_abs)), max_abs)
    if math.log(top) - math.log(zero_threshold) > MOST_RUNGS * (math.log1p(delta) - math.log1p(-delta)):
        raise ValueError(
            f"delta = {delta}: more than {MOST_RUNGS:,} candidate centres between zero_threshold = {zero_threshold:g} "
            f"and the largest weight, {max_abs:g}; a larger delta is needed"
        )
    rungs = _ladder(delta, zero_threshold, top)
    return rungs[: np.searchsorted(rungs, max_abs, side="left")]


def round_to_powers(
    values: NDArray[np.float64], delta: float, order: int, zero_threshold: float
) -> NDArray[np.float64]:
    """Each positive value [J] as at most `order` + 1 signed powers of two [J].

    The first term is the power nearest in log scale; each further one is the power nearest to what is still
    missing, added only while that is at least `delta` of the value. No exponent lies below
    log2(zero_threshold) - order - 1, nor below what float32 can hold beside the first term.
    """
    exponent = np.rint(np.log2(values))
    lowest = np.maximum(math.log2(zero_threshold) - order - 1, exponent - FLOAT32_SPAN)
    rounded = np.exp2(exponent)
    for _ in range(order):
        missing = values - rounded
        size = np.abs(missing)
        open_ = size >= delta * values
        if not open_.any():
            break
        exponent = np.rint(np.log2(np.where(open_, size, 1.0)))
        term = np.sign(missing) * np.exp2(np.maximum(exponent, np.ceil(lowest)))
        rounded = np.where(open_, rounded + term, rounded)
    return rounded


def candidate_centres(delta: float, order: int, zero_threshold: float, max_abs: float) -> NDArray[np.float64]:
    """Sorted, distinct candidates [K]: the rounded ladder, its negatives, and zero.

    `order` 0 gives pure powers of two; each further order allows one more term. Every value is exact in float32, whose
    largest number, 2^128 - 2^104, stands for 2^128.

    Raises ValueError as `ladder` does, and for a negative order.
    """
    if order < 0:
        raise ValueError(f"order = {order}: must not be negative")
    positive = round_to_powers(ladder(delta, zero_threshold, max_abs), delta, order, zero_threshold).clip(max=LARGEST)
    return np.unique(np.concatenate([-positive, [0.0], positive]))


def signed_digits(values: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Non-adjacent form of float32 values [k]: positive digits [k], negative digits [k], exponents [k].

    values = (positive - negative) * 2**exponent, where the set bits of the two integers are the powers of two to add
    and to subtract. The non-adjacent form has the fewest terms of all signed binary forms.
    """
    fraction, exponent = np.frexp(np.asarray(values, dtype=np.float32).astype(np.float64))
    integer = np.rint(np.ldexp(np.abs(fraction), 24)).astype(np.int64)
    half = integer >> 1
    three_halves = integer + half
    changed = half ^ three_halves
    positive, negative = three_halves & changed, half & changed
    flip = fraction < 0
    return (
        np.where(flip, negative, positive),
        np.where(flip, positive, negative),
        exponent.astype(np.int64) - 24,
    )


def term_count(values: ArrayLike) -> NDArray[np.int64]:
    """Fewest signed powers of two that add up to each float32 value [k]; 0 for zero."""
    positive, negative, _ = signed_digits(values)
    return np.bitwise_count(positive).astype(np.int64) + np.bitwise_count(negative)


def power_terms(value: float) -> list[tuple[int, int]]:
    """One centre as its terms, largest first: (sign, exponent) with value = sum of sign * 2**exponent."""
    positive, negative, exponent = (int(part[0]) for part in signed_digits([value]))
    terms = [
        (sign, bit + exponent)
        for sign, digits in ((1, positive), (-1, negative))
        for bit in range(digits.bit_length())
        if digits >> bit & 1
    ]
    return sorted(terms, key=lambda term: -term[1])


def format_terms(value: float) -> str:
    """A centre in a form for people: `2^-3 - 2^-6`; `0` for zero."""
    signed = [("-" if sign < 0 else "+", f"2^{exponent}") for sign, exponent in power_terms(value)]
    if not signed:
        return "0"
    (sign, power), rest = signed[0], signed[1:]
    return " ".join([power if sign == "+" else f"-{power}", *(f"{sign} {power}" for sign, power in rest)])
