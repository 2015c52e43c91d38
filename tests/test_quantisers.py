"""Every method of the comparison, on a small network: what it promises of its values, and what it leaves alone."""

import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.cluster import KMeans
from torch import nn

from pipeline.base.errors import InputError
from pipeline.base.settings import Quantiser
from pipeline.comparing.fake_quantisation import weight_layers
from pipeline.comparing.finding import find_method, known_methods
from pipeline.comparing.palette import Palette, k_means, nearest
from pipeline.comparing.task import Task
from pipeline.measuring.evaluation import measure
from pipeline.methods import apot
from pipeline.methods.uniform import LearnedStep
from pipeline.network.build import build
from pipeline.network.weights import load_weights

CASES = {
    "apot-4": {"method": "apot", "bits": 4},
    "apot-2": {"method": "apot", "bits": 2},
    "uniform-8": {"method": "uniform", "bits": 8},
    "uniform-3": {"method": "uniform", "bits": 3},
    "kmeans-layer-4": {"method": "kmeans_layer", "bits": 4},
    "kmeans-network-6": {"method": "kmeans_network", "bits": 6},
    "palettize-4": {"method": "coreml_palettize", "bits": 4},
}
LARGEST = {
    "apot-4": 15,
    "apot-2": 3,
    "uniform-8": 255,
    "uniform-3": 7,
    "kmeans-layer-4": 16,
    "kmeans-network-6": 64,
    "palettize-4": 16,
}


@pytest.fixture(scope="module")
def outcomes():
    return {}


@pytest.fixture
def quantised(request, task, outcomes):
    """The task, its outcome and what was measured; each case is run once."""
    name = request.param
    if name not in outcomes:
        chosen = task(**CASES[name])
        outcome = find_method(name, chosen.quantiser).quantise(chosen)
        work = chosen.work
        outcomes[name] = chosen, outcome, *measure(work.fabric, work.network, work.dataset, outcome.shared)
    return name, *outcomes[name]


every_case = pytest.mark.parametrize("quantised", CASES, indirect=True)


@every_case
def test_few_values_per_codebook(quantised):
    name, task, _, metrics, network = quantised
    outer_weights = [layer.weight_name for layer in weight_layers(task.model) if layer.outer]
    for codebook in network.codebooks:
        outer = codebook.names[0] in outer_weights and name.startswith(("apot", "uniform"))
        assert len(codebook.values) <= (255 if outer else LARGEST[name]), codebook.names
    assert metrics["lzw_bytes"] < metrics["float_bytes"]


@every_case
def test_as_many_epochs_as_wfn(quantised):
    name, task, _, _, _ = quantised
    expected = 0 if name == "palettize-4" else task.settings.training_epochs
    assert [row["epoch"] for row in task.work.epochs] == list(range(expected))


@every_case
def test_all_weights_are_in_codebooks(quantised):
    """Every convolution and linear weight; the network's codebook also has batch-norm and biases."""
    name, task, outcome, _, _ = quantised
    listed = [each for group in outcome.shared for each in group]
    assert len(set(listed)) == len(listed)
    weights = {f"{name}.weight" for name, module in task.model.named_modules()
               if isinstance(module, nn.Conv2d | nn.Linear)}  # fmt: skip
    assert weights <= set(listed)
    assert (set(listed) == weights) == (name != "kmeans-network-6")


@every_case
def test_the_network_is_an_ordinary_one_again(quantised, dataset, settings, tmp_path):
    """Its file loads into timm's network, which is then as accurate; quantised activations need their clips as well."""
    _, task, outcome, metrics, _ = quantised
    plain = build(settings.model, seed=1)
    weights = task.model.state_dict()
    clips = {name for name in weights if ".input_quantiser." in name}
    assert bool(clips) == (outcome.activation_bits is not None)
    whole = {name: value.contiguous() for name, value in weights.items() if name not in clips}
    save_file(whole, tmp_path / "model.safetensors")
    load_weights(plain, tmp_path / "model.safetensors")
    assert metrics["parameters"] == sum(each.numel() for each in plain.parameters())  # a clip is no weight
    if not clips:
        assert measure(task.work.fabric, plain, dataset, outcome.shared)[0] == metrics


def test_every_width_starts_with_the_full_learning_rate(task, monkeypatch):
    chosen = task(method="apot", bits=2)
    seen, original = [], Task.train

    def watched(self, optimizer, *arguments, **options):
        seen.append([group["lr"] for group in optimizer.param_groups])
        return original(self, optimizer, *arguments, **options)

    monkeypatch.setattr(Task, "train", watched)
    apot.quantise(chosen)
    rate = chosen.settings.quantise.rates["apot"]
    assert seen == [[rate, rate * apot.WEIGHT_CLIP_RATE, rate * apot.ACTIVATION_CLIP_RATE]] * 3


@pytest.mark.parametrize("name", ["uniform-3", "apot-4"])
def test_training_that_diverges_is_one_line(task, settings, name):
    rates = {CASES[name]["method"]: 1e30}
    chosen = task(settings.changed({"quantise.rates": rates}), **CASES[name])
    with pytest.raises(InputError, match="the loss is (nan|inf); try a smaller learning rate"):
        find_method(name, chosen.quantiser).quantise(chosen)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["apot-4", "kmeans-layer-4"])
def test_same_seed_same_numbers(task, name):
    def run():
        chosen = task(**CASES[name])
        find_method(name, chosen.quantiser).quantise(chosen)
        return chosen.model.state_dict()

    one, other = run(), run()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_uniform_weights_are_multiples_of_a_step():
    weight = nn.Parameter(torch.randn(1000, generator=torch.Generator().manual_seed(0)))
    projection = LearnedStep(weight, 3)
    result = projection(weight)
    multiples = result.detach() / projection.step.detach()
    torch.testing.assert_close(multiples, multiples.round())
    assert sorted(multiples.round().int().unique().tolist()) == [-3, -2, -1, 0, 1, 2, 3]


def test_learned_step_gradients_are_those_of_the_paper():
    """Equation 3 there: round(w/s) - w/s within range, -Q or Q beyond it, times 1 / sqrt(N Q)."""
    weight = nn.Parameter(torch.tensor([-9.0, -1.3, 0.2, 0.9, 9.0]))
    projection = LearnedStep(weight, 3)
    projection.step.data.fill_(1.0)
    gradient = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    projection(weight).backward(gradient)
    expected = gradient @ torch.tensor([-3.0, -1 + 1.3, 0 - 0.2, 1 - 0.9, 3.0]) / (5 * 3) ** 0.5
    torch.testing.assert_close(projection.step.grad, expected)
    torch.testing.assert_close(weight.grad, gradient * torch.tensor([0.0, 1, 1, 1, 0]))


def test_k_means_by_hand():
    weights = np.array([0, 0, 0, 1, 1.2, 5, 5.5, 5.5], dtype=np.float32)
    assert k_means(weights, 3, seed=0).tolist() == pytest.approx([0, 1.1, 16 / 3])
    assert k_means(weights, 8, seed=0).tolist() == pytest.approx([0, 1, 1.2, 5, 5.5])
    assert nearest(torch.tensor([0.4, 0.6, 3.0, 9.0]), torch.tensor([0.0, 1.0, 5.0])).tolist() == [0, 1, 1, 2]


def test_k_means_of_a_histogram_is_as_good_as_that_of_all_weights():
    """Going on with every single weight from there improves the squared error by less than 1 %."""
    weights = np.random.default_rng(0).laplace(0, 0.02, 60_000).astype(np.float32)

    def error(values):
        return float(np.square(weights[:, None] - values[None, :]).min(axis=1).sum())

    found = k_means(weights, 16, seed=0)
    exact = KMeans(16, init=found[:, None], n_init=1).fit(weights[:, None]).cluster_centers_[:, 0]
    assert error(exact) <= error(found) < 1.01 * error(exact)


def test_a_palette_moves_values_by_the_summed_gradient():
    one, other = nn.Parameter(torch.tensor([0.0, 1.0, 0.0])), nn.Parameter(torch.tensor([[1.0], [4.0]]))
    palette = Palette([[one, other]], k=3, seed=0)
    assert palette.values.tolist() == [0, 1, 4]
    one.grad, other.grad = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[4.0], [5.0]])
    assert palette.pull_(torch.tensor(0.5)) == {}
    assert palette.values.grad.tolist() == [4, 6, 5]
    with torch.no_grad():
        palette.values -= torch.tensor([1.0, 2.0, 3.0])
    palette.push_values_()
    assert one.tolist() == [-1, -1, -1]
    assert other.tolist() == [[-1], [1]]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"method": "apot", "bits": 6}, "baselines.quantisers.mine.bits = 6: allowed for apot: 2 to 5"),
        ({"method": "uniform"}, "baselines.quantisers.mine.bits = None: allowed for uniform: 2 to 8"),
        ({"method": "lsq"}, r"mine.method = 'lsq': no such method; allowed: apot, "),
    ],
)
def test_what_is_not_allowed_is_named(chosen, message):
    with pytest.raises(InputError, match=message):
        find_method("mine", Quantiser(**chosen, repeat=0))


def test_a_width_for_a_method_without_one_is_named(monkeypatch):
    monkeypatch.setattr(apot, "BITS", None)
    with pytest.raises(InputError, match="mine.bits = 4: apot has no width; allowed: no bits at all"):
        find_method("mine", Quantiser(method="apot", bits=4, repeat=0))


def test_a_missing_package_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("coremltools", "pipeline.methods.coreml"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(InputError, match="'coreml_palettize': needs the package coremltools; `uv sync --group peers`"):
        find_method("mine", Quantiser(method="coreml_palettize", bits=4, repeat=0))


def test_methods_are_found_by_their_files():
    assert {"apot", "kmeans_layer", "kmeans_network", "uniform"} <= set(known_methods())


def test_shared_weights_are_refused_where_each_layer_has_a_codebook(task):
    chosen = task(method="kmeans_layer", bits=4)
    convolutions = [module for module in chosen.model.modules() if isinstance(module, nn.Conv2d)]
    same = next(b for a in convolutions for b in convolutions if a is not b and a.weight.shape == b.weight.shape)
    first = next(a for a in convolutions if a is not same and a.weight.shape == same.weight.shape)
    same.weight = first.weight
    with pytest.raises(InputError, match="shares the weight of"):
        find_method("mine", chosen.quantiser).quantise(chosen)
