"""Not a stage of `dvc repro`: chooses the learning rates of a profile, on images kept from the training images.

Every method has the same grid of rates; `pipeline/base/rates.py` has the rule. Test images are not looked at, and the
seed is not one of the results.
"""

from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd
from typer import Option

from pipeline.base.errors import DivergedError
from pipeline.base.rates import FOLDER, Candidate, at_the_edge, candidates, chosen, together
from pipeline.base.results import CARD, METRICS, read_csv, read_json, to_csv, writable, write_files
from pipeline.base.settings import load_settings
from pipeline.comparing.finding import find_method
from pipeline.training.device import seed_torch
from pipeline.training.several_runs import several_runs
from stages.common.baseline import make_baseline
from stages.common.cli import Out, Runs, run
from stages.common.fixed import make_fixed
from stages.common.folders import DATA, RUNS, Places
from stages.common.quantised import Named, make_quantised
from stages.common.work import device_and_data, files_of_baseline


def rates(
    runs: Runs = None,
    out: Out = None,
    table: Annotated[Path, Option(help="Folder for the table, a CSV file named after the profile.")] = FOLDER,
    method: Annotated[list[str], Option(help="This one alone, others stay as the table has them; repeatable.")] = [],  # noqa: B006
) -> None:
    """Train every method at every rate, and say which rates to write into the profile."""
    settings = load_settings()
    settings = settings.repeated(settings.rates.repeat)
    data, out = (runs or RUNS / settings.profile) / DATA, writable(out or RUNS / "rates" / settings.profile)
    fabric, dataset, settings = device_and_data(settings, data)
    cells, known = candidates(settings, method), table / f"{settings.profile}.csv"
    for cell in cells:  # what would stop it later; and the code of a method decides which work this is
        if cell.quantiser:
            find_method(cell.line, cell.quantiser)
    dataset = dataset.held_out(settings.rates.validation_share, settings.seed)
    decides = settings.model_dump(mode="json") | {"method": method}
    rows = []
    inputs = [data / CARD, *files_of_baseline(settings)]
    with several_runs(fabric, out, decides, inputs) as made:
        baseline = made.make(
            "baseline",
            lambda out: make_baseline("rates@baseline", settings, fabric, dataset, Places(data, out, out)),
        )

        def make(out: Path, cell: Candidate) -> None:
            seed_torch(fabric, settings.seed)
            stage, places = f"rates@{cell.name}", Places(data, baseline, out)
            if cell.quantiser:
                make_quantised(Named(stage, cell.line, cell.quantiser), cell.settings, fabric, dataset, places)
            else:
                make_fixed(stage, cell.settings, fabric, dataset, places)

        for cell in cells:
            try:
                metrics = read_json(made.make(cell.name, partial(make, cell=cell)) / METRICS)
            except DivergedError as error:
                fabric.print(f"rates: {cell.name}: {error}")
                metrics = None
            rows.append(cell.row(metrics))
            fabric.print(f"rates: {len(rows)} of {len(cells)}: {cell.name}: top-1 {rows[-1]['top1']}")
    found = pd.DataFrame(rows)
    if method and (before := read_csv(known)) is not None:
        found = together(before, found)
    marked = chosen(found)
    if fabric.is_global_zero:
        write_files(table, {known.name: to_csv(marked)})
    fabric.print(marked[marked["chosen"]].to_string(index=False))
    if edge := at_the_edge(marked):
        fabric.print(f"{', '.join(edge)}: best at an end of rates.grid; a rate beyond it may be better")


if __name__ == "__main__":
    run(rates)
