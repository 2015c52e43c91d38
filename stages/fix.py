"""Stages `fix`, `repeats`, `sweep` and `variants`: fix the baseline network to few shared values."""

from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.base.settings import load_settings
from stages.common.cli import Changes, Stage, changes, run
from stages.common.fixed import make_fixed
from stages.common.work import Places, device_and_data, stage_name

# What acts here; images and baseline were made before.
READS = ("delta", "alpha", "seed", "fixing", "finetune", "hardware")


def fix(
    data: Annotated[Path, Option(help="Folder that stage data wrote.")],
    baseline: Annotated[Path, Option(help="Folder that stage pretrain wrote.")],
    out: Annotated[Path, Option(help="Folder for the fixed network, its metrics and tables.")],
    stage: Stage = "fix",
    change: Changes = [],  # noqa: B006
) -> None:
    """Fix every weight of the baseline network to few shared values, round by round."""
    settings = load_settings().for_stage(stage).changed(changes(change, "fix", READS))
    fabric, dataset = device_and_data(settings, data)
    make_fixed(stage_name(stage), settings, fabric, dataset, Places(data, baseline, out))


if __name__ == "__main__":
    run(fix)
