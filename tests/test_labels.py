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
        ("sweep@0.0075-0.4", {"delta": 0.0075}, "WFN delta=0.0075 alpha=0.4 seed=0"),
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
    repeated, quantiser = settings.for_quantiser("apot-4-again")
    again = Label(EXPERIMENT, "apot-4-again seed=1", "quantise@apot-4-again")
    assert label_of("quantise@apot-4-again", repeated.of_quantiser(quantiser)) == again
    assert label_of("report", settings.model_dump(mode="json")) == Label(EXPERIMENT, "report", "report")


def test_exploring_has_an_experiment_of_its_own(settings):
    small = settings.for_stage("explore")
    baseline = label_of("explore_baseline", small.of_baseline())
    assert baseline == Label(f"{EXPERIMENT}-explore", "baseline test_resnet", "explore_baseline")
    stage = "explore@0.03-0.0-False"
    values = small.changed({"delta": 0.03, "alpha": 0.0, "fixing.fix_batch_norm": False}).of_fixing()
    assert label_of(stage, values) == Label(f"{EXPERIMENT}-explore", "WFN delta=0.03 alpha=0 bn=float seed=0", stage)


def test_every_stage_that_trains_has_a_label(settings):
    """Whatever stage it is, its label says which."""
    for made in folders.all_runs(settings):
        own = settings.for_stage(made.stage)
        kind, _, cell = made.stage.partition("@")
        if kind == "quantise":
            own, quantiser = settings.for_quantiser(cell)
            decides = own.of_quantiser(quantiser)
        else:
            decides = own.of_baseline() if kind in ("pretrain", "explore_baseline") else own.of_fixing()
        label = label_of(made.stage, decides)
        assert label.stage == made.stage
        assert label.experiment.endswith("-explore") == made.stage.startswith("explore")
