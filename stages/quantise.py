"""Stage `quantise`: the baseline network quantised by another method."""

from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.base.settings import load_settings
from stages.common.cli import run
from stages.common.quantised import Named, make_quantised
from stages.common.work import Places, device_and_data, stage_name


def quantise(
    data: Annotated[Path, Option(help="Folder that stage data wrote.")],
    baseline: Annotated[Path, Option(help="Folder that stage pretrain wrote.")],
    name: Annotated[str, Option(help="One of baselines.quantisers in params.yaml.")],
    out: Annotated[Path, Option(help="Folder for the quantised network, its metrics and tables.")],
) -> None:
    """Quantise the baseline network by the method that baselines.quantisers has under this name."""
    settings, quantiser = load_settings().for_quantiser(name)
    fabric, dataset, settings = device_and_data(settings, data)
    named = Named(stage_name(f"quantise@{name}"), name, quantiser)
    make_quantised(named, settings, fabric, dataset, Places(data, baseline, out))


if __name__ == "__main__":
    run(quantise)
