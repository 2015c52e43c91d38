import numpy as np
import pytest
import torch
from conftest import changed, fixable_weights, working
from torch import nn

from pipeline.base.errors import InputError
from pipeline.fixing.rounds import fix_network
from pipeline.fixing.summary import centres_table, describe
from pipeline.training import machine
from pipeline.training.device import launch
from wfn import delta_schedule
from wfn.method import fixer


def fixed_network(settings, dataset):
    """A network as `fix` makes it, from its initial weights: what is tested here does not need a trained one."""
    seen = []
    with working(settings, dataset) as work:
        work.live.log_step = lambda *step: seen.append(step)
        fixed = fix_network(work)
    assert seen == list(enumerate(fixed.rounds))
    weights = fixable_weights(work.model, settings.fixing).numpy()
    for ours, counted in zip((fixed.codebook, fixed.usage), np.unique(weights, return_counts=True), strict=True):
        assert ours.tolist() == counted.tolist()
    return work.model, fixed.rounds


def test_the_budget_shrinks_to_delta():
    assert delta_schedule(0.01, 4) == [0.04, 0.03, 0.02, 0.01]


SHORT = {"fixing__fractions": (0.5, 0.9, 1.0)}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fixing__clustering": "incremental"},
        {"fixing__distance": "euclidean"},
        {"fixing__fix_batch_norm": False},
        {"alpha": 0.0},
        {"finetune__optimizer": "sgd", "finetune__weight_decay": 0.1},
        {"finetune__epochs": 0},
        {"hardware__precision": "bf16-mixed"},
    ],
    ids=str,
)
def test_a_network_of_few_values(settings, dataset, changes):
    settings = changed(settings, **SHORT, **changes)
    model, rounds = fixed_network(settings, dataset)
    weights = fixable_weights(model, settings.fixing).numpy()
    assert [row["fraction"] for row in rounds] == [0.5, 0.9, 1.0]
    assert [row["fixed"] for row in rounds] == pytest.approx([0.5, 0.9, 1.0], abs=1e-5)
    assert rounds[-1]["fixed"] == 1
    assert len(set(weights.tolist())) == rounds[-1]["centres"] < 250
    assert rounds[-1]["entropy"] < 7
    assert rounds[-1]["zeros"] == pytest.approx((weights == 0).mean())
    trains = settings.finetune.epochs > 0
    assert [row["loss"] is not None for row in rounds] == [False, trains, trains]
    assert [row["regulariser"] is not None for row in rounds[1:]] == [trains and settings.alpha > 0] * 2
    norms = [module.weight for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    few = len(torch.cat(norms).unique()) <= len(set(weights.tolist()))
    assert few == settings.fixing.fix_batch_norm or not trains


@pytest.mark.parametrize(
    ("told", "emulated"),
    [
        ("model name: x\nflags\t\t: fpu avx2 avx512bw\n", True),
        ("model name: x\nflags\t\t: fpu avx512bw avx512_bf16\n", False),
        ("Features\t: fp asimd bf16 i8mm\n", False),
        ("Features\t: fp asimd\n", True),
        ("", False),  # nothing is known
    ],
)
def test_bf16_that_is_emulated_is_said(settings, tmp_path, monkeypatch, capfd, told, emulated):
    monkeypatch.setattr(machine, "PROCESSORS", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(told)
    for precision, said in (("bf16-mixed", emulated), ("32-true", False)):
        launch(changed(settings, hardware__precision=precision).hardware, seed=0)
        warned = "warning: hardware.precision = 'bf16-mixed': this processor has no instructions for it"
        assert (warned in capfd.readouterr().err) == said


def test_weights_fixed_in_a_round_stay_through_the_next_training(settings, dataset, monkeypatch):
    """Watched from outside: what a clustering pass has fixed is unchanged when the next pass reads the network."""
    passes = []
    original = fixer.cluster

    def watched(weights, *arguments, **options):
        if not len(weights):  # a look at the arguments
            return original(weights, *arguments, **options)
        if passes:
            fixed = passes[-1].fixed
            assert torch.equal(weights[fixed], passes[-1].values[fixed])
            assert not torch.equal(weights[~fixed], passes[-1].values[~fixed])
        passes.append(original(weights, *arguments, **options))
        return passes[-1]

    monkeypatch.setattr(fixer, "cluster", watched)
    fixed_network(changed(settings, fixing__fractions=(0.3, 0.6, 0.9, 1.0)), dataset)
    assert len(passes) == 4


def test_the_regulariser_pulls_weights_to_their_centres(settings, dataset):
    """After a round of training, more weights are near a centre with it than without."""
    pulled, free = (
        fixed_network(changed(settings, **SHORT, alpha=alpha, finetune__epochs=4, finetune__lr=0.001), dataset)[1]
        for alpha in (2.0, 0.0)
    )
    assert pulled[-1]["centres"] < free[-1]["centres"]


def test_same_seed_same_numbers(settings, dataset):
    settings = changed(settings, **SHORT)
    (one, rounds), (other, again) = (fixed_network(settings, dataset) for _ in range(2))
    for row in rounds + again:
        del row["seconds"], row["train_seconds"]
    assert rounds == again
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_describe_by_hand():
    values = np.array([0, 0, 0.5, 0.5, -0.75, 0.6875, 0.5, 0], dtype=np.float32)
    row = describe(*np.unique(values, return_counts=True))
    assert row["centres"] == 4
    assert row["zeros"] == row["order_0"] == 3 / 8
    assert (row["order_1"], row["order_2"], row["order_3"]) == (3 / 8, 1 / 8, 1 / 8)  # 0.6875 = 1 - 1/4 - 1/16
    table = centres_table(*np.unique(values, return_counts=True))
    assert table["value"].tolist() == [0, 0.5, -0.75, 0.6875]
    assert table["count"].tolist() == [3, 3, 1, 1]
    assert table["terms"].tolist() == ["0", "2^-1", "-2^0 + 2^-2", "2^0 - 2^-2 - 2^-4"]


@pytest.mark.parametrize("accelerator", [name for name in ("cuda", "mps") if not getattr(torch, name).is_available()])
def test_a_device_that_is_not_there_is_named(settings, accelerator):
    with pytest.raises(InputError, match=f"hardware.accelerator = '{accelerator}': not available here"):
        launch(changed(settings, hardware__accelerator=accelerator).hardware, seed=0)
