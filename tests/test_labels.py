"""What runs are called in MLflow."""

import pytest
from conftest import changed

from pipeline.watching.labels import WIDTH, Label, label_of
from pipeline.watching.shown import numbers, parameters
from stages.common import folders

EXPERIMENT = "weight-fixing-mnist5k"


@pytest.mark.parametrize(
    ("stage", "changes", "name"),
    [
        ("fix", {}, "WFN 0.01/0.4 s0"),
        ("repeats@2", {"seed": 2}, "WFN 0.01/0.4 s2"),
        ("sweep@0.0075-0.4-0", {"delta": 0.0075}, "WFN 0.0075/0.4 s0 sweep"),
        ("variants@coarse", {"delta": 0.02}, "coarse"),
        ("fix", {"alpha": 0.0, "fixing__fractions": (1.0,)}, "WFN 0.01/0 s0 one shot"),
        ("fix", {"fixing__fix_batch_norm": False}, "WFN 0.01/0.4 s0 bn=float"),
    ],
)
def test_a_fixed_network(settings, stage, changes, name):
    assert label_of(stage, changed(settings, **changes).of_fixing()) == Label(EXPERIMENT, name, stage)


def test_a_baseline_a_method_and_the_report(settings):
    baseline = Label(EXPERIMENT, "baseline s0 test_resnet", "pretrain")
    assert label_of("pretrain", settings.of_baseline()) == baseline
    repeated, quantiser = settings.for_quantiser("apot-3-again")
    again = Label(EXPERIMENT, "apot-3-again", "quantise@apot-3-again")
    assert label_of("quantise@apot-3-again", repeated.of_quantiser(quantiser)) == again
    assert label_of("report", settings.model_dump(mode="json")) == Label(f"{EXPERIMENT}-report", "report", "report")


def test_exploring_and_choosing_have_experiments_of_their_own(settings):
    stage = "explore@baseline_repeat-1"
    baseline = label_of(stage, settings.for_explore().repeated(1).of_baseline())
    assert baseline == Label(f"{EXPERIMENT}-explore", "baseline s1 test_resnet", stage)
    values = settings.changed(
        {"alpha": 0.0, "fixing.fix_batch_norm": False, "fixing.distance": "euclidean"}
    ).of_fixing()
    name = "WFN 0.01/0 s0 bn=float euclidean"
    assert label_of("explore@x", values) == Label(f"{EXPERIMENT}-explore", name, "explore@x")
    for key, value, word in (
        ("clustering", "incremental", "incremental"),
        ("parameters", "all", "all"),
        ("temperature", 0.01, "temperature=0.01"),
        ("zero_threshold", 0.001, "zero_threshold=0.001"),
    ):
        ablated = settings.changed({f"fixing.{key}": value}).of_fixing()
        assert label_of("explore@x", ablated).name == f"WFN 0.01/0.4 s0 {word}"
    assert label_of("rates@wfn_lr-0.1", values) == Label(f"{EXPERIMENT}-rates", "wfn_lr-0.1", "rates@wfn_lr-0.1")
    assert label_of("rates@baseline", settings.of_baseline()).name == "baseline s0 test_resnet"


def test_every_run_has_a_label_that_tells_it_apart(settings):
    """Whatever stage makes it, its label says which; and names differ in what a list shows of them."""
    labels = []
    for made in folders.all_runs(settings):
        kind, _, cell = made.stage.partition("@")
        if kind == "quantise":
            own, quantiser = settings.for_quantiser(cell)
            decides = own.of_quantiser(quantiser)
        elif kind in ("pretrain", "baselines"):
            decides = settings.for_stage(made.stage).of_baseline()
        elif cell in settings.explore_baselines():
            decides = settings.explore_baselines()[cell].of_baseline()
        else:
            decides = settings_of(settings, kind, cell).of_fixing()
        label = label_of(made.stage, decides)
        assert label.stage == made.stage
        assert label.experiment.endswith("-explore") == made.stage.startswith("explore")
        labels.append((label.experiment, label.name[:WIDTH]))
    assert len(set(labels)) == len(labels)


def settings_of(settings, kind, cell):
    """As the stages' command lines have them."""
    if kind == "explore":
        return settings.explored()[cell]
    return settings.for_stage(f"{kind}@{cell}")


def test_a_long_name_keeps_both_ends():
    names = [label_of(f"quantise@kmeans-layer-4-{end}", {"profile": "x"}).name for end in ("again", "once-more")]
    assert names == ["kmeans-layer-4-again", "kmeans-lay\u2026once-more"]
    assert {len(name) for name in names} == {20}


def test_every_run_has_the_same_few_parameters(settings):
    """Comparisons leave out a parameter that only some of the runs have."""
    own, quantiser = settings.for_quantiser("apot-3")
    decided = [settings.of_baseline(), settings.of_fixing(), own.of_quantiser(quantiser)]
    baseline, fixed, apot = [parameters("x", each) for each in decided]
    assert baseline.keys() == fixed.keys() == apot.keys()
    assert len(fixed) <= 12
    assert [(each["method"], each["delta"], each["alpha"], each["bits"]) for each in (baseline, fixed, apot)] == [
        ("baseline", "-", "-", "-"),
        ("wfn", "0.01", "0.4", "-"),
        ("apot", "-", "-", "3"),
    ]
    assert (fixed["lr"], apot["lr"]) == (str(settings.finetune.lr), str(settings.quantise.rates["apot"]))
    without = settings.changed({"quantise.rates": {}}).of_quantiser(quantiser)
    assert parameters("x", without)["lr"] == "-"  # which of the profile's it trains at, the method knows
    trial = settings.changed({"data.mini": 10}).of_fixing()
    assert parameters("x", trial)["data"] == "mnist5k, 10 of each class"


def test_the_comparison_opens_on_alpha_bits_delta_and_top1(settings):
    """MLflow takes the first three parameters that differ, and the first metric."""
    assert sorted(set(parameters("fix", settings.of_fixing())) - {"data"})[:3] == ["alpha", "bits", "delta"]
    assert list(numbers({"top1": 98.0, "parameters": 3, "unique": 140, "entropy": 2.5})) == [
        "top1",
        "values",
        "entropy",
    ]
