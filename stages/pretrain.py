"""Stage `pretrain`: the baseline network, with weights from a file, from timm, or trained here."""

from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.base.results import EXAMPLES, write_files
from pipeline.base.settings import load_settings
from pipeline.data.examples import sheet
from stages.common.baseline import make_baseline
from stages.common.cli import Changes, changes, run
from stages.common.work import Places, device_and_data, stage_name

OF_A_CLASS = 8  # pictures on the sheet of examples


def pretrain(
    data: Annotated[Path, Option(help="Folder that stage data wrote.")],
    out: Annotated[Path, Option(help="Folder for the baseline network and its metrics.")],
    change: Changes = [],  # noqa: B006
) -> None:
    """Make the baseline network: load its weights, or train it here."""
    settings = load_settings().changed(changes(change))
    fabric, dataset = device_and_data(settings, data)
    # Read before the training: a picture that has gone since must not lose it.
    examples = sheet(dataset.examples(OF_A_CLASS), dataset.card["class_names"])
    make_baseline(stage_name("pretrain"), settings, fabric, dataset, Places(data, out, out))
    if fabric.is_global_zero:
        write_files(out, {EXAMPLES: examples})


if __name__ == "__main__":
    run(pretrain)
