"""Stages `pretrain` and `baselines`: the baseline network, with weights from a file, from timm, or trained here."""

from pipeline.base.results import EXAMPLES, write_files
from pipeline.base.settings import load_settings
from pipeline.data.examples import sheet
from stages.common.baseline import make_baseline
from stages.common.cli import Changes, Out, Runs, Stage, changes, run
from stages.common.folders import places
from stages.common.work import device_and_data

OF_A_CLASS = 8  # pictures on the sheet of examples

# What acts here; the images were made before.
READS = ("seed", "model", "pretrain", "hardware")


def pretrain(
    stage: Stage = "pretrain",
    runs: Runs = None,
    out: Out = None,
    change: Changes = [],  # noqa: B006
) -> None:
    """Make the baseline network: load its weights, or train it here."""
    given = load_settings()
    settings = given.for_stage(stage).changed(changes(change, "pretrain", READS))
    where = places(given, stage, runs, out)
    fabric, dataset, settings = device_and_data(settings, where.data)
    # Read before the training: a picture that has gone since must not lose it.
    examples = sheet(dataset.examples(OF_A_CLASS), dataset.card["class_names"])
    make_baseline(stage, settings, fabric, dataset, where)
    if fabric.is_global_zero:
        write_files(where.out, {EXAMPLES: examples})


if __name__ == "__main__":
    run(pretrain)
