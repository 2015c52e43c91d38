"""Stages `fix`, `repeats`, `sweep` and `variants`: fix the baseline network to few shared values."""

from pipeline.base.settings import load_settings
from stages.common.cli import Changes, Out, Runs, Stage, changes, run
from stages.common.fixed import make_fixed
from stages.common.folders import places
from stages.common.work import device_and_data

# What acts here; images and baseline were made before.
READS = ("delta", "alpha", "seed", "fixing", "finetune", "hardware")


def fix(stage: Stage = "fix", runs: Runs = None, out: Out = None, change: Changes = []) -> None:  # noqa: B006
    """Fix every weight of the baseline network to few shared values, round by round."""
    given = load_settings()
    settings = given.for_stage(stage).changed(changes(change, "fix", READS))
    where = places(given, stage, runs, out)
    fabric, dataset, settings = device_and_data(settings, where.data)
    make_fixed(stage, settings, fabric, dataset, where)


if __name__ == "__main__":
    run(fix)
