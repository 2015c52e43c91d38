"""Not a stage of `dvc repro`: chooses the learning rates of a profile, on images kept from the training images.

Every method has the same grid of rates; `pipeline/base/rates.py` has the rule. Test images are not looked at, and the
seed is not one of the results.
"""

import json
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
from typer import Option

from pipeline.base.errors import InputError
from pipeline.base.rates import FOLDER, candidates, chosen
from pipeline.base.results import CARD, METRICS, to_csv, write_files
from pipeline.base.settings import load_settings
from pipeline.training.checkpoint import several_runs
from stages.common.baseline import make_baseline
from stages.common.cli import run
from stages.common.fixed import make_fixed
from stages.common.quantised import Named, make_quantised
from stages.common.work import Places, device_and_data


def rates(
    data: Annotated[Path, Option(help="Folder that stage data wrote.")],
    out: Annotated[Path, Option(help="Folder for a folder of every run.")],
    table: Annotated[Path, Option(help="Folder for the table, a CSV file named after the profile.")] = FOLDER,
) -> None:
    """Train every method at every rate, and say which rates to write into the profile."""
    settings = load_settings()
    settings = settings.repeated(settings.rates.repeat)
    fabric, dataset = device_and_data(settings, data)
    dataset = dataset.held_out(settings.rates.validation_share, settings.seed)
    cells = candidates(settings)
    decides = settings.model_dump(mode="json")
    rows = []
    with several_runs(fabric, out, decides, [data / CARD]) as runs:
        baseline = runs.folder / "baseline"
        with runs.make("baseline") as folder:
            if folder:
                make_baseline("rates@baseline", settings, fabric, dataset, Places(data, folder, folder))
        for cell in cells:
            torch.manual_seed(settings.seed + fabric.global_rank)
            stage = f"rates@{cell.name}"
            try:
                with runs.make(cell.name) as folder:
                    places = Places(data, baseline, folder or runs.folder)
                    if folder and cell.quantiser:
                        named = Named(stage, cell.line, cell.quantiser)
                        make_quantised(named, cell.settings, fabric, dataset, places)
                    elif folder:
                        make_fixed(stage, cell.settings, fabric, dataset, places)
                metrics = json.loads((runs.folder / cell.name / METRICS).read_text())
            except InputError as error:  # the loss was not finite
                fabric.print(f"rates: {cell.name}: {error}")
                metrics = None
            rows.append(cell.row(metrics))
            fabric.print(f"rates: {len(rows)} of {len(cells)}: {cell.name}: top-1 {rows[-1]['top1']}")
    marked = chosen(pd.DataFrame(rows))
    if fabric.is_global_zero:
        write_files(table, {f"{settings.profile}.csv": to_csv(marked)})
    fabric.print(marked[marked["chosen"]].to_string(index=False))


if __name__ == "__main__":
    run(rates)
