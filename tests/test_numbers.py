"""Networks and settings of odd numbers: what the library and the pipeline make of them, and that nothing is NaN."""

import itertools
import math
import re

import numpy as np
import oracle
import pytest
import torch
from catalogue import note
from conftest import changed, fixable_weights, working
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import wfn
from pipeline.base.errors import DivergedError, InputError
from pipeline.base.settings import Quantiser
from pipeline.comparing.finding import find_method
from pipeline.comparing.task import Task
from pipeline.data.memory import prepare
from pipeline.fixing.rounds import fix_network
from pipeline.measuring.codebooks import Quantised
from pipeline.measuring.evaluation import evaluate, measure
from pipeline.network.build import build
from pipeline.network.parameters import fixable_parameters, layers
from pipeline.network.weights import load_weights
from pipeline.training.loop import Plan, one_cycle, pretrain, train
from wfn import WeightFixer, cluster
from wfn.method.centres import LARGEST

SECTION = "Numbers"
ROUNDS = (0.3, 0.9, 1.0)


def small_network(dtype=torch.float32):
    """A convolution of four channels, batch-norm and a linear layer; 483 weights."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    return network.to(dtype)


@torch.no_grad()
def fill_(network, change):
    """`change` every parameter."""
    for parameter in network.parameters():
        parameter.copy_(change(parameter))


def all_of(value):
    return lambda network: fill_(network, lambda each: torch.full_like(each, value))


def times(factor):
    return lambda network: fill_(network, lambda each: each * factor)


def signs_times(size):
    """Plus and minus one size in turns."""
    return lambda network: fill_(
        network, lambda each: size * (1 - 2 * (torch.arange(each.numel()) % 2)).to(each.dtype).view_as(each)
    )


@torch.no_grad()
def first_layer_zero(network):
    first = next(network.parameters())
    first.zero_()
    return first


@torch.no_grad()
def first_channel_zero(network):
    first = next(network.parameters())[0]
    first.zero_()
    return first


def fix_round_by_round(network, **options):
    """Fix with a task that has no gradient, so that the pull alone moves weights; returns the fixer.

    Every gradient must be finite.
    """
    fixer = WeightFixer(network, **{"delta": 0.01, "fractions": ROUNDS} | options)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    fixer.attach(optimizer)
    for round_ in fixer.rounds():
        for _ in range(2 if round_.trains else 0):
            optimizer.zero_grad()
            loss = 1 + sum(0 * parameter.clamp(-1, 1).sum() for parameter in network.parameters())
            loss.backward()
            assert fixer.pull_(loss).isfinite()
            assert all(each.grad.isfinite().all() for each in network.parameters() if each.grad is not None)
            optimizer.step()
        outcome = fixer.fix_()
        assert outcome.fixed == pytest.approx(round_.fraction, abs=0.004)
        assert math.isfinite(outcome.entropy)
    return fixer


def assert_fixed(network, fixer, path):
    """Every weight is one of the codebook, which is what is used; the packed file holds the same bits."""
    weights = torch.cat([each.detach().float().flatten() for each in fixer.parameters.values()])
    codebook, usage = weights.unique(return_counts=True)
    assert torch.equal(fixer.codebook(), codebook)
    assert torch.equal(fixer.usage(), usage)
    assert codebook.isfinite().all()
    wfn.pack(network, path)
    state, unpacked = network.state_dict(), wfn.unpack(path)
    for name, tensor in state.items():
        assert (
            unpacked[name].contiguous().view(-1).view(torch.uint8).equal(tensor.contiguous().view(-1).view(torch.uint8))
        ), name


# Case, what is done to the weights, options, the values that come out.
ONE_RESULT = [
    ("a network of zeros", all_of(0.0), {}, [0.0]),
    ("a network of -0.0", all_of(-0.0), {}, [0.0]),
    ("all weights 1", all_of(1.0), {}, [1.0]),
    ("all weights 1e-42, a denormal", all_of(1e-42), {}, [0.0]),
    ("all weights 1e-45, the smallest number there is", all_of(1e-45), {}, [0.0]),
    ("trained weights times 1e-39", times(1e-39), {}, [0.0]),
    ("all weights 2^100", all_of(2.0**100), {}, [2.0**100]),
    ("all weights 2^127", all_of(2.0**127), {}, [2.0**127]),
    ("both signs of the largest float32", signs_times(LARGEST), {}, [-LARGEST, LARGEST]),
    ("zero_threshold larger than every weight", times(0.5), {"zero_threshold": 0.999}, [0.0]),
    ("zero_threshold 1e300", times(1.0), {"zero_threshold": 1e300}, [0.0]),
    ("zero_threshold 1e-45 with weights of 1e-42", all_of(1e-42), {"zero_threshold": 1e-45, "delta": 0.3}, None),
    ("a network of zeros, euclidean", all_of(0.0), {"distance": "euclidean"}, [0.0]),
    ("a network of zeros, incremental", all_of(0.0), {"mode": "incremental"}, [0.0]),
]


@pytest.mark.parametrize(("case", "change", "options", "expected"), ONE_RESULT, ids=[each[0] for each in ONE_RESULT])
def test_what_becomes_of_odd_weights(case, change, options, expected, tmp_path):
    network = small_network()
    change(network)
    fixer = fix_round_by_round(network, **options)
    assert_fixed(network, fixer, tmp_path / "network.wfn")
    if expected is None:
        assert len(fixer.codebook()) <= 3
        note(SECTION, case, "fixed; the pull, which would be infinite, is as large as a number can be")
        return
    assert fixer.codebook().tolist() == expected
    assert fixer.outcomes[-1].entropy == pytest.approx(math.log2(len(expected)), abs=1e-4)
    values = " and ".join(f"{value:g}" for value in expected)
    note(SECTION, case, f"fixed to {values}: {math.log2(len(expected)):.0f} bits a weight; packed to the bit")


@pytest.mark.parametrize(
    ("case", "zero"),
    [("one layer of zeros", first_layer_zero), ("one output channel of zeros", first_channel_zero)],
)
def test_zeros_among_ordinary_weights_stay_zero(case, zero, tmp_path):
    network = small_network()
    part = zero(network)
    fixer = fix_round_by_round(network)
    assert_fixed(network, fixer, tmp_path / "network.wfn")
    assert part.count_nonzero() == 0
    assert len(fixer.codebook()) > 3
    note(SECTION, case, "its weights are fixed to 0, the others as ever")


@pytest.mark.parametrize(("case", "factor"), [("weights up to 1e30", 1e30), ("weights up to 1e37", 1e37)])
def test_huge_weights_keep_sign_and_size(case, factor, tmp_path):
    network = small_network()
    times(factor)(network)
    before = torch.cat([each.detach().flatten() for each in network.parameters()])
    fixer = fix_round_by_round(network, delta=0.03)
    assert_fixed(network, fixer, tmp_path / "network.wfn")
    after = torch.cat([each.detach().flatten() for each in network.parameters()])
    large = before.abs() > 1
    assert torch.equal(before.sign()[large], after.sign()[large])
    assert ((after - before).abs() / before.abs())[large].median() < 0.1
    note(SECTION, case, "fixed to sums of powers of two of that size")


def test_without_a_weight_to_fix_there_is_no_centre_yet():
    network = small_network()
    fixer = WeightFixer(network, delta=0.01, fractions=(1e-12, 1.0))
    optimizer = torch.optim.Adam(network.parameters())
    fixer.attach(optimizer)
    rounds = fixer.rounds()
    next(rounds)
    outcome = fixer.fix_()
    assert (outcome.fixed, outcome.centres, outcome.distinct, outcome.entropy) == (0, 0, 0, 0)
    assert len(fixer.codebook()) == len(fixer.usage()) == 0
    assert all((indices == -1).all() for indices in fixer.indices().values())
    next(rounds)
    loss = network(torch.randn(4, 1, 8, 8)).square().mean()
    loss.backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    assert fixer.pull_(loss) == 0
    assert all(torch.equal(each.grad, one) for each, one in zip(network.parameters(), gradients, strict=True))
    optimizer.step()
    assert fixer.fix_().fixed == 1
    note(SECTION, "fractions [1e-12, 1.0]: no weight to fix in the first round", "an empty codebook of 0 bits, no pull")


@pytest.mark.parametrize("mode", ["recluster", "incremental"])
def test_a_round_without_further_weights_changes_nothing(mode):
    network = small_network()
    fixer = WeightFixer(network, delta=0.01, fractions=(0.5, 0.5001, 1.0), mode=mode)
    first, second = fixer.fix_(), fixer.fix_()
    assert first.fixed == second.fixed
    fixer.fix_()
    assert fixer.outcomes[-1].fixed == 1
    note(SECTION, f"a fraction that fixes no further weight, {mode}", "as many weights fixed as before")


OPTIONS = [
    ("delta 0.9999, in one round", {"delta": 0.9999, "fractions": (1.0,)}),
    ("delta * rounds just below 1", {"delta": 0.333333}),
    ("alpha 0", {"alpha": 0.0}),
    ("alpha 1e-12", {"alpha": 1e-12}),
    ("alpha 1e6", {"alpha": 1e6}),
    ("alpha 1e300", {"alpha": 1e300}),
    ("temperature 1e-9", {"temperature": 1e-9, "fractions": (0.5, 1.0)}),
    ("temperature 1e9", {"temperature": 1e9}),
]


@pytest.mark.parametrize(("case", "options"), OPTIONS, ids=[each[0] for each in OPTIONS])
def test_settings_at_their_limits(case, options, tmp_path):
    network = small_network()
    fixer = fix_round_by_round(network, **options)
    assert_fixed(network, fixer, tmp_path / "network.wfn")
    note(SECTION, case, "fixed, with finite gradients")


def test_a_delta_that_would_need_too_many_candidates_is_one_line():
    network = small_network()
    all_of(0.5)(network)
    with pytest.raises(ValueError, match="delta = 1e-12: more than 4,194,304 candidate centres") as caught:
        WeightFixer(network, delta=1e-12)
    assert "\n" not in str(caught.value)
    note(SECTION, "delta 1e-12", "refused before any work", str(caught.value))
    all_of(0.0)(network)  # none needed
    assert wfn.fix(network, delta=1e-12).codebook().tolist() == [0]
    note(SECTION, "delta 1e-12 of a network of zeros", "fixed to 0")


def test_parameters_of_one_weight_and_of_none(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.none = nn.Parameter(torch.tensor([0.3])), nn.Parameter(torch.empty(0, 3))

    network = Odd()
    fixer = wfn.fix(network, delta=0.01, include="all")
    assert_fixed(network, fixer, tmp_path / "network.wfn")
    assert fixer.codebook().tolist() == pytest.approx([0.3], rel=0.02)
    assert fixer.indices()["none"].shape == (0, 3)
    alone = wfn.fix([nn.Parameter(torch.empty(0))], delta=0.01)
    assert (len(alone.codebook()), alone.outcomes[-1].fixed, alone.outcomes[-1].entropy) == (0, 0, 0)
    note(SECTION, "one weight only; a parameter without any", "one value; no value")


def test_frozen_parameters_are_fixed_and_not_pulled(tmp_path):
    network = small_network()
    for parameter in network[0].parameters():
        parameter.requires_grad_(False)
    fixer = WeightFixer(network, delta=0.01, fractions=ROUNDS, include=nn.Conv2d)  # of these, all are frozen
    optimizer = torch.optim.Adam(network.parameters())
    fixer.attach(optimizer)
    for round_ in fixer.rounds():
        before = network[0].weight.clone()
        for _ in range(2 if round_.trains else 0):
            optimizer.zero_grad()
            loss = network(torch.randn(4, 1, 8, 8)).square().mean()
            loss.backward()
            assert fixer.pull_(loss) == 0
            optimizer.step()
        assert torch.equal(network[0].weight, before)
        fixer.fix_()
    assert_fixed(network, fixer, tmp_path / "network.wfn")
    note(SECTION, "every parameter that is fixed is frozen", "fixed; the others train on without a pull")


HALVES = [
    ("float16, both signs of its largest number", torch.float16, signs_times(65504.0), [-65504.0, 65504.0]),
    ("float16, denormals", torch.float16, all_of(6e-8), [0.0]),
    ("float16 zeros", torch.float16, all_of(0.0), [0.0]),
    ("bfloat16, both signs of its largest number", torch.bfloat16, signs_times(3.3895313892515355e38), None),
    ("bfloat16, denormals", torch.bfloat16, all_of(1e-40), [0.0]),
]


@pytest.mark.parametrize(("case", "dtype", "change", "expected"), HALVES, ids=[each[0] for each in HALVES])
def test_narrow_types(case, dtype, change, expected, tmp_path):
    network = small_network(dtype)
    change(network)
    fixer = fix_round_by_round(network)
    assert_fixed(network, fixer, tmp_path / "network.wfn")
    largest = torch.finfo(dtype).max
    assert fixer.codebook().tolist() == (expected or [-largest, largest])
    note(SECTION, case, f"fixed to {' and '.join(f'{value:g}' for value in fixer.codebook().tolist())}")


def test_a_small_pull_reaches_float16():
    """Its strength alone, shared by many weights, would be nothing there."""
    one, same = (nn.Parameter(torch.full((1 << 20,), 0.3, dtype=dtype)) for dtype in (torch.float16, torch.float32))
    for parameter in (one, same):
        fixer = WeightFixer([parameter], delta=0.01, fractions=(0.5, 1.0))
        fixer.attach(torch.optim.SGD([parameter], lr=0.1))
        fixer.fix_()
        parameter.sum().mul(0).backward()
        fixer.pull_(0.05)
    free = one.grad != 0
    assert free.any()
    torch.testing.assert_close(one.grad[free].float(), same.grad[free], rtol=0.3, atol=6e-8)


def test_a_type_that_cannot_hold_the_values_of_the_others_is_named():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).half())
    times(1e30)(network[0])
    with pytest.raises(ValueError, match="1.weight: a centre is too large for torch.float16, its type") as caught:
        wfn.fix(network, delta=0.01)
    note(SECTION, "float16 beside float32 weights of 1e30", "one line, nothing is changed", str(caught.value))


def test_nothing_to_fix_is_one_line(settings):
    network = nn.Sequential(nn.Embedding(5, 3))
    with pytest.raises(ValueError, match="there are no parameters to fix") as caught:
        WeightFixer(network, delta=0.01)
    note(SECTION, "a network of embeddings only, in the library", "one line", str(caught.value))
    with pytest.raises(InputError, match="fixing.parameters = layers: there are no parameters to fix") as caught:
        fixable_parameters(network, settings.fixing)
    note(SECTION, "a network of embeddings only, in the pipeline", "one line", str(caught.value))
    assert [layer.roles for layer in layers(network)] == [frozenset()]


# Against the slow oracle: numbers of all sizes, both signs and some equal.
odd = st.sampled_from(
    [0.0, -0.0, 1e-45, -1e-42, 1e-30, 2**-7, -(2**-7), 0.3, 0.5, -1.0, 65504.0, 1e30, -3e38, LARGEST, -LARGEST]
)
any_float = st.floats(width=32, allow_nan=False, allow_infinity=False)


@example([LARGEST, LARGEST, -LARGEST, 0.0], 0.6, 0.1, 2**-7, "recluster")
@example([1e-42] * 5, 1.0, 0.1, 0.999, "recluster")
@hypothesis_settings(max_examples=150, deadline=None)
@given(
    weights=st.lists(st.one_of(odd, any_float), min_size=1, max_size=8),
    fraction=st.sampled_from([0.3, 0.6, 1.0]),
    delta=st.sampled_from([0.1, 0.25, 0.5, 0.9]),
    zero_threshold=st.sampled_from([2**-7, 2.0**-140, 0.999, 1e6]),
    mode=st.sampled_from(["recluster", "incremental"]),
)
def test_odd_weights_are_clustered_as_by_the_oracle(weights, fraction, delta, zero_threshold, mode):
    given_weights = torch.tensor(weights, dtype=torch.float32)
    ours = cluster(given_weights, fraction, delta, zero_threshold=zero_threshold, mode=mode)
    values, fixed, steps = oracle.cluster(
        given_weights.tolist(), fraction, delta, zero_threshold=zero_threshold, mode=mode
    )
    assert [(step.centre, step.taken) for step in ours.steps] == steps
    assert ours.centres.isfinite().all()
    fates = zip(given_weights.tolist(), ours.values.tolist(), ours.fixed.tolist(), strict=True)
    expected = zip(given_weights.tolist(), np.float32(values).tolist(), fixed, strict=True)
    assert sorted(fates) == sorted(expected)


# In the pipeline

SHORT = {"fixing__fractions": (0.5, 0.9, 1.0)}
NETWORKS = {
    "a network of zeros": all_of(0.0),
    "one layer of zeros": first_layer_zero,
    "one output channel of zeros": first_channel_zero,
    "all weights 0.25": all_of(0.25),
    "all weights 1e-42": all_of(1e-42),
}
METHODS = {
    "apot": {"method": "apot", "bits": 3},
    "uniform": {"method": "uniform", "bits": 3},
    "kmeans_layer": {"method": "kmeans_layer", "bits": 4},
    "kmeans_network": {"method": "kmeans_network", "bits": 4},
    "coreml_palettize": {"method": "coreml_palettize", "bits": 4},
}


def assert_measured(metrics):
    assert all(value is None or math.isfinite(value) for value in metrics.values()), metrics
    assert 0 <= metrics["entropy"] <= 32


@pytest.mark.parametrize("network", NETWORKS)
def test_fixing_odd_networks(network, settings, dataset):
    with working(changed(settings, **SHORT), dataset) as work:
        NETWORKS[network](work.model)
        fixed = fix_network(work)
        metrics, _ = measure(work.fabric, work.network, dataset, [fixed.names])
    weights = fixable_weights(work.model, settings.fixing)
    assert_measured(metrics)
    assert fixed.rounds[-1]["fixed"] == 1
    assert torch.equal(weights.unique(), torch.from_numpy(fixed.codebook))
    note(SECTION, f"stage `fix`: {network}", "fixed, trained, measured; no number is NaN")


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("network", NETWORKS)
def test_quantising_odd_networks(method, network, settings, dataset):
    quantiser = Quantiser(**METHODS[method], repeat=0)
    with working(changed(settings, **SHORT), dataset) as work:
        NETWORKS[network](work.model)
        outcome = find_method("mine", quantiser).quantise(Task(work, quantiser))
        metrics, quantised = measure(work.fabric, work.network, dataset, outcome.shared)
    assert_measured(metrics)
    assert all(len(codebook.values) <= 255 for codebook in quantised.codebooks)
    assert all(np.isfinite(codebook.values).all() for codebook in quantised.codebooks)
    if network == "a network of zeros":
        note(
            SECTION, f"method {method}: odd networks ({', '.join(NETWORKS)})", "quantised; no scale is divided by zero"
        )


PIPELINE = [
    ("fixing.zero_threshold 0.999", {"fixing__zero_threshold": 0.999}),
    ("fixing.fractions [1e-12, 1.0]", {"fixing__fractions": (1e-12, 1.0)}),
    ("delta 0.333333 in three rounds", {"delta": 0.333333}),
    ("fixing.temperature 1e-9", {"fixing__temperature": 1e-9, "fixing__fractions": (0.5, 1.0)}),
    ("batches of two images, mostly of one class", {"finetune__batch_size": 2, "fixing__fractions": (0.5, 1.0)}),
    ("fewer images than a batch", {"finetune__batch_size": 512}),
]


@pytest.mark.parametrize(("case", "changes"), PIPELINE, ids=[each[0] for each in PIPELINE])
def test_fixing_with_settings_at_their_limits(case, changes, settings, dataset):
    with working(changed(settings, **SHORT | changes), dataset) as work:
        fixed = fix_network(work)
        metrics, _ = measure(work.fabric, work.network, dataset, [fixed.names])
    assert_measured(metrics)
    assert fixed.rounds[-1]["fixed"] == 1
    assert all(value is None or math.isfinite(value) for row in fixed.rounds for value in row.values())
    note(SECTION, f"stage `fix`: {case}", "fixed, trained, measured")


def attempt(settings, dataset, work_on):
    with working(settings, dataset) as work:
        work_on(work)


def line_of(caught):
    """What an error says, in one line; the folder of the checkpoint is named after the code and the settings."""
    line = re.sub(r"\.ckpt/\w+/", ".ckpt/NAME/", str(caught.value))
    assert "\n" not in line
    return line


def freeze(model):
    model.requires_grad_(False)


@torch.no_grad()
def output_nan(model):
    list(model.parameters())[-1][0] = math.nan


LINES = [
    ("delta 1e-9", {"delta": 1e-9}, fix_network, None, "fix: delta = 1e-09: more than 4,194,304 candidate centres"),
    ("every weight frozen", {}, fix_network, freeze, "fix: round 2/3: all weights of test_resnet are frozen"),
    ("every weight frozen", {}, pretrain, freeze, "pretrain: all weights of test_resnet are frozen"),
    (
        "a network that gives NaN for test images",
        {},
        fix_network,
        output_nan,
        "fix: round 1/3: top-1: the outputs of the network are not finite for 40 of the 40 test images",
    ),
    (
        "batches of two images in two parts",
        {"finetune__batch_size": 2, "hardware__accumulate": 2},
        fix_network,
        None,
        "fix: round 2/3: batches of 2 images in 2 parts (hardware.devices x nodes x accumulate): batch-norm needs two",
    ),
    (
        "a learning rate that breaks pretraining",
        {"pretrain__lr": 1e30},
        pretrain,
        None,
        "pretrain: epoch 1/1 (1/2 in all): ",
    ),
    (
        "a learning rate that breaks a round",
        {"finetune__optimizer": "sgd", "finetune__lr": 1e38},
        fix_network,
        None,
        "fix: round 2/3: epoch 1/1 (1/2 in all): ",
    ),
]


@pytest.mark.parametrize(("case", "changes", "work_on", "change", "begins"), LINES)
def test_what_cannot_work_is_one_line(case, changes, work_on, change, begins, settings, dataset):
    def try_it(work):
        if change:
            change(work.model)
        work_on(work)

    with pytest.raises(InputError) as caught:
        attempt(changed(settings, **SHORT | changes), dataset, try_it)
    line = line_of(caught)
    assert line.startswith(begins), line
    stage = "pretrain" if work_on is pretrain else "fix"
    note(SECTION, f"stage `{stage}`: {case}", "one line", line)


# The network before a training broke


def state_of(work):
    return {name: value.clone() for name, value in work.model.state_dict().items()}


@pytest.mark.parametrize("epoch", [1, 2])
def test_the_last_good_network_is_kept_for_a_checkpoint(epoch, settings, dataset, repository):
    """Weights that are lost in the last step of an epoch, whose loss is finite still, are noticed as well."""
    states, steps = [], itertools.count(1)

    def work_on(work):
        def after_step():
            if next(steps) == epoch * dataset.batch_count(64):
                with torch.no_grad():
                    next(work.model.parameters()).view(-1)[0] = math.inf

        states.append(state_of(work))
        work.keep = lambda _: states.append(state_of(work))  # at the end of an epoch
        optimizer = torch.optim.SGD(work.network.parameters(), lr=0.01)
        train(work, Plan("mine", "mine.lr", 3, 64, optimizer, after_step=after_step))

    with pytest.raises(DivergedError) as caught:
        attempt(settings, dataset, work_on)
    assert len(states) == epoch
    assert line_of(caught) == (
        f"mine: epoch {epoch}/3 ({epoch}/9 in all): the weights are not finite; try a smaller learning rate (mine.lr); "
        "the network before this epoch is kept, for model.checkpoint: .ckpt/NAME/last-good.safetensors"
    )
    (path,) = repository.glob(".ckpt/*/last-good.safetensors")
    assert str(caught.value).endswith(str(path.relative_to(repository)))
    fresh = build(settings.model, seed=9)
    load_weights(fresh, path)
    for name, value in states[-1].items():
        assert torch.equal(fresh.state_dict()[name], value), name
    note(SECTION, f"weights that are lost in epoch {epoch}", "the network before it is kept", line_of(caught))


@pytest.mark.parametrize("method", ["apot", "uniform", "kmeans_layer"])
def test_the_last_good_network_of_a_method_has_plain_names(method, settings, dataset, repository):
    quantiser = Quantiser(**METHODS[method], repeat=0)
    with pytest.raises(DivergedError) as caught:
        attempt(
            settings.changed({"quantise.rates": {method: 1e38}}),
            dataset,
            lambda work: find_method("mine", quantiser).quantise(Task(work, quantiser)),
        )
    (path,) = repository.glob(".ckpt/*/last-good.safetensors")
    load_weights(build(settings.model, seed=9), path)
    happens = "the network before the epoch is kept, under the model's own names"
    note(SECTION, f"a learning rate that breaks {method}", happens, line_of(caught))


@pytest.mark.parametrize("steps", range(1, 41))
def test_every_number_of_steps_has_a_schedule(steps):
    """The rate is largest once, and a step before nothing at the end."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = one_cycle(optimizer, 0.5, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert all(0 < rate <= 0.5 for rate in rates)
    assert max(rates) >= 0.4 or steps <= 5
    if steps == 5:
        note(SECTION, "pretraining of one step, or of five", "its learning rate never rises, it only falls")


def test_pictures_of_one_value_are_refused(tmp_path, settings):
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (16, 16), (10 + 20 * i, 0, 30 * i)).save(tmp_path / "pictures" / name / f"{i}.png")
    own = settings.data.model_copy(
        update={"root": tmp_path / "pictures", "name": "mine", "channels": 3, "mini": None, "test_share": 0.5}
    )
    with pytest.raises(InputError, match="channel 1 has one value in all training pictures") as caught:
        prepare(own.model_copy(update={"statistics": "images"}), seed=0)
    note(SECTION, "pictures whose green is 0 everywhere", "refused: no deviation to divide by", str(caught.value))
    found = prepare(own.model_copy(update={"statistics": "model"}), seed=0)
    assert found.card["std"][1] == 0
    note(SECTION, "the same with data.statistics: model", "divided by the model's own deviation")


def test_nothing_measured_of_nothing_is_nan():
    metrics = Quantised([], [], 0).metrics()
    assert metrics["entropy"] == metrics["unique"] == metrics["zero_share"] == 0


def test_nan_is_no_accuracy(fabric, model, dataset):
    output_nan(model)
    with pytest.raises(DivergedError, match="not finite for 40 of the 40 test images"):
        evaluate(fabric, model, dataset)
