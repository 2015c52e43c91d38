"""Stage `pretrain`: the baseline network, with weights from a file, from timm, or trained here."""

from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.base.settings import load_settings
from stages.common.baseline import make_baseline
from stages.common.cli import Changes, changes, run
from stages.common.work import Places, device_and_data, stage_name

# What acts here; the images were made before.
READS = ("seed", "model", "pretrain", "hardware")


def pretrain(
    data: Annotated[Path, Option(help="Folder that stage data wrote.")],
    out: Annotated[Path, Option(help="Folder for the baseline network and its metrics.")],
    change: Changes = [],  # noqa: B006
) -> None:
    """Make the baseline network: load its weights, or train it here."""
    settings = load_settings().changed(changes(change, "pretrain", READS))
    fabric, dataset = device_and_data(settings, data)
    make_baseline(stage_name("pretrain"), settings, fabric, dataset, Places(data, out, out))


if __name__ == "__main__":
    run(pretrain)
