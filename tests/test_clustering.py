import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import oracle
from pipeline.wfn import prefix
from pipeline.wfn.centres import term_count
from pipeline.wfn.clustering import cluster

ZERO_THRESHOLD = 2**-7


def vector(values):
    return torch.tensor(values, dtype=torch.float32)


# Few distinct values give ties and duplicates; the rest covers zeros, denormals, tiny, ordinary and huge weights.
tied = st.sampled_from([0.0, 2**-7, -(2**-7), 0.25, 0.5, -0.5, 0.75, 1.0, -1.0, 1.5, 0.003, -0.006])
ordinary = st.floats(-2, 2, width=32)
any_size = st.one_of(
    st.floats(-1e4, 1e4, width=32), st.floats(-(2**-7), 2**-7, width=32), st.sampled_from([1e-45, -1e-40, 1e-30])
)
weight_lists = st.one_of(
    *(st.lists(kind, min_size=1, max_size=40) for kind in (tied, ordinary, any_size)),
    st.lists(st.one_of(tied, ordinary, any_size), min_size=1, max_size=40),
    st.lists(st.floats(0.125, 8, width=32).map(lambda w: -w), min_size=1, max_size=30),
    st.tuples(any_size, st.integers(1, 30)).map(lambda pair: [pair[0]] * pair[1]),
)
deltas = st.one_of(st.sampled_from([0.0075, 0.01, 0.1, 0.25, 0.5, 0.9]), st.floats(0.005, 0.95))
fractions = st.one_of(st.sampled_from([0.0, 0.3, 0.5, 0.975, 1.0]), st.floats(0, 1))
modes = st.sampled_from(["recluster", "incremental"])
distances = st.sampled_from(["relative", "euclidean"])


def assert_same(ours, weights, values, fixed, steps):
    assert [(step.centre, step.taken) for step in ours.steps] == steps
    counts = np.zeros(len(ours.order_counts), dtype=int)
    for centre, taken in steps:
        counts[term_count([centre])[0]] += taken
    assert_array_equal(ours.order_counts, counts)
    assert_array_equal(ours.centres, sorted({value for value, is_fixed in zip(values, fixed, strict=True) if is_fixed}))
    # Which of several equal weights were taken is the engine's affair: compare weight by weight as multisets.
    fates = zip(weights.tolist(), ours.values.tolist(), ours.fixed.tolist(), strict=True)
    assert sorted(fates) == sorted(zip(weights.tolist(), values, fixed, strict=True))


@pytest.mark.parametrize("undecided", [prefix.UNDECIDED, 1])
@settings(max_examples=300, deadline=None)
@given(weights=weight_lists, fraction=fractions, delta=deltas, mode=modes, distance=distances)
def test_same_as_oracle(undecided, weights, fraction, delta, mode, distance):
    """With 1 undecided weight allowed, even short lists go through prefix sums and the radius search."""
    weights = vector(weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix, "UNDECIDED", undecided)
        ours = cluster(weights, fraction, delta, mode=mode, distance=distance)
    values, fixed, steps = oracle.cluster(
        weights.tolist(), fraction, delta, mode=mode, distance_kind=distance, zero_threshold=ZERO_THRESHOLD
    )
    assert_same(ours, weights, values, fixed, steps)
