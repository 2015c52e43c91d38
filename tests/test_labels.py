"""What runs are called in MLflow."""

import pytest
from conftest import changed

from pipeline.watching.labels import Label, label_of
from stages.common import folders

EXPERIMENT = "weight-fixing-mnist5k"


@pytest.mark.parametrize(
    ("stage", "changes", "name"),
    [
        ("fix", {}, "WFN delta=0.01 alpha=0.4 seed=0"),
        ("repeats@2", {"seed": 2}, "WFN delta=0.01 alpha=0.4 seed=2"),
        ("sweep@0.0075-0.4-0", {"delta": 0.0075}, "WFN delta=0.0075 alpha=0.4 seed=0"),
        ("variants@coarse", {"delta": 0.02}, "WFN delta=0.02 alpha=0.4 seed=0"),
        ("variants@x", {"alpha": 0.0, "fixing__fractions": (1.0,)}, "WFN one shot delta=0.01 alpha=0 seed=0"),
        ("fix", {"fixing__fix_batch_norm": False}, "WFN delta=0.01 alpha=0.4 bn=float seed=0"),
    ],
)
def test_a_fixed_network(settings, stage, changes, name):
    assert label_of(stage, changed(settings, **changes).of_fixing()) == Label(EXPERIMENT, name, stage)


def test_a_baseline_a_method_and_the_report(settings):
    baseline = Label(EXPERIMENT, "baseline test_resnet", "pretrain")
    assert label_of("pretrain", settings.of_baseline()) == baseline
    repeated, quantiser = settings.for_quantiser("apot-3-again")
    again = Label(EXPERIMENT, "apot-3-again seed=1", "quantise@apot-3-again")
    assert label_of("quantise@apot-3-again", repeated.of_quantiser(quantiser)) == again
    assert label_of("report", settings.model_dump(mode="json")) == Label(EXPERIMENT, "report", "report")


def test_exploring_and_choosing_have_experiments_of_their_own(settings):
    baseline = label_of("explore@baseline", settings.for_explore().of_baseline())
    assert baseline == Label(f"{EXPERIMENT}-explore", "baseline test_resnet", "explore@baseline")
    values = settings.changed(
        {"alpha": 0.0, "fixing.fix_batch_norm": False, "fixing.distance": "euclidean"}
    ).of_fixing()
    name = "WFN delta=0.01 alpha=0 bn=float euclidean seed=0"
    assert label_of("explore@x", values) == Label(f"{EXPERIMENT}-explore", name, "explore@x")
    assert label_of("rates@wfn_lr-0.1", values) == Label(f"{EXPERIMENT}-rates", "wfn_lr-0.1 seed=0", "rates@wfn_lr-0.1")
    assert label_of("rates@baseline", settings.of_baseline()).name == "baseline test_resnet"


def test_every_run_has_a_label_that_tells_it_apart(settings):
    """Whatever stage makes it, its label says which; and names differ within an experiment."""
    labels = []
    for made in folders.all_runs(settings):
        kind, _, cell = made.stage.partition("@")
        if kind == "quantise":
            own, quantiser = settings.for_quantiser(cell)
            decides = own.of_quantiser(quantiser)
        elif cell == "baseline" or kind == "pretrain":
            decides = (settings.for_explore() if cell else settings).of_baseline()
        else:
            decides = settings_of(settings, kind, cell).of_fixing()
        label = label_of(made.stage, decides)
        assert label.stage == made.stage
        assert label.experiment.endswith("-explore") == made.stage.startswith("explore")
        labels.append((label.experiment, label.name))
    assert len(set(labels)) == len(labels)


def settings_of(settings, kind, cell):
    """As the stages' command lines have them."""
    if kind == "explore":
        return settings.explored()[cell]
    return settings.for_stage(f"{kind}@{cell}")
