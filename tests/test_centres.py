from itertools import pairwise

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfn.method.centres import candidate_centres, format_terms, ladder, power_terms, term_count

deltas = st.floats(0.004, 0.95)
orders = st.integers(0, 21)
maxima = st.one_of(st.just(0.0), st.floats(2**-10, 300))


@given(delta=deltas, order=orders, exponent=st.integers(-12, 0), max_abs=maxima)
def test_same_as_oracle(delta, order, exponent, max_abs):
    assert candidate_centres(delta, order, 2.0**exponent, max_abs).tolist() == oracle.candidates(
        delta, order, 2.0**exponent, max_abs
    )


@given(delta=deltas, order=orders, max_abs=maxima)
def test_sums_of_few_powers_of_two(delta, order, max_abs):
    centres = candidate_centres(delta, order, 2**-7, max_abs)
    assert term_count(centres).max() <= order + 1
    assert (centres == -centres[::-1]).all()
    assert (centres.astype(np.float32) == centres).all()


@given(delta=st.floats(0.004, 0.5), weight=st.floats(2**-7, 100))
def test_every_weight_is_near_a_rung(delta, weight):
    rungs = ladder(delta, 2**-7, weight * (1 + delta) / (1 - delta) * 1.0001)
    assert (np.abs(rungs - weight) / weight).min() <= delta * 1.0001


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False))
def test_terms_add_up_and_are_few(value):
    terms = power_terms(value)
    assert sum(sign * 2.0**exponent for sign, exponent in terms) == value
    assert len(terms) == term_count([value])[0] <= 13
    exponents = [exponent for _, exponent in terms]
    assert all(a - b >= 2 for a, b in pairwise(exponents))  # non-adjacent


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1, "2^0"), (-0.125, "-2^-3"), (0.75, "2^0 - 2^-2"), (-0.625, "-2^-1 - 2^-3"), (0.3125, "2^-2 + 2^-4")],
)
def test_terms_for_people(value, text):
    assert format_terms(value) == text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((0.0, 0, 0.1, 1.0), "delta = 0.0"),
        ((1.0, 0, 0.1, 1.0), "delta = 1.0"),
        ((0.1, -1, 0.1, 1.0), "order = -1"),
        ((0.1, 0, 0.0, 1.0), "zero_threshold = 0.0"),
        ((0.1, 0, 0.1, float("inf")), "max_abs = inf"),
    ],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        candidate_centres(*arguments)
