"""Not a stage of `dvc repro`: chooses the learning rates of a profile, on images kept from the training images.

Every method has the same grid of rates. Chosen is the rate of the smallest network among those that are not worse than
the method's best by more than one standard error of its top-1. Test images are not looked at, and the seed is not one
of the results.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
from lightning_fabric import Fabric
from typer import Option

from pipeline.base.errors import InputError
from pipeline.base.rates import chosen
from pipeline.base.results import CARD, WEIGHTS, to_csv, write_files
from pipeline.base.settings import Quantiser, Settings, load_settings
from pipeline.comparing.task import Task, find_method
from pipeline.data.dataset import Dataset
from pipeline.fixing.rounds import fix_network
from pipeline.measuring.evaluation import measure
from pipeline.training.work import Job, at_work
from stages.common.baseline import make_baseline
from stages.common.cli import run
from stages.common.work import Places, baseline_network, device_and_data


def rates(
    data: Annotated[Path, Option(help="Folder that stage data wrote.")],
    out: Annotated[Path, Option(help="Folder for the table, a CSV file named after the profile.")] = Path(
        "profiles/rates"
    ),
) -> None:
    """Train every method at every rate, and say which rates to write into the profile."""
    settings = load_settings()
    settings = settings.repeated(settings.rates.repeat)
    fabric, dataset = device_and_data(settings, data)
    dataset = dataset.held_out(settings.rates.validation_share, settings.seed)
    with tempfile.TemporaryDirectory() as folder:
        places = Places(data, Path(folder), Path(folder))
        make_baseline("rates@baseline", settings, fabric, dataset, places)
        rows = []
        for row in _candidates(settings, fabric, dataset, places):
            rows.append(row)
            table = chosen(pd.DataFrame(rows), dataset.card["test"]["images"])
            write_files(out, {f"{settings.profile}.csv": to_csv(table)})
            fabric.print(f"rates: {row}")
    for row in table[table["chosen"]].to_dict("records"):
        fabric.print(f"rates: {row['method']}: {row['rate']:g}")


def _candidates(settings: Settings, fabric: Fabric, dataset: Dataset, places: Places) -> Iterator[dict[str, Any]]:
    """A row for WFN and for the first setting of every method of the comparison, at each rate of the grid."""
    first: dict[str, tuple[str, Quantiser]] = {}
    for name, quantiser in settings.baselines.quantisers.items():
        first.setdefault(quantiser.method, (name, quantiser))
    for method, named in [("wfn", None), *first.items()]:
        for rate in settings.rates.grid:
            row = {"method": method, "bits": named[1].bits if named else None, "rate": rate}
            try:
                metrics = _trained(_at_rate(settings, method, rate), named, (fabric, dataset), places)
            except InputError as error:  # the loss was not finite
                fabric.print(f"rates: {error}")
                metrics = {}
            yield row | {
                "top1": metrics.get("top1"),
                "megabytes": metrics["coded_bytes"] / 1e6 if metrics else None,
                "entropy": metrics.get("entropy"),
                "unique": metrics.get("unique"),
            }


def _at_rate(settings: Settings, method: str, rate: float) -> Settings:
    """The settings with this rate for the method."""
    if method == "wfn":
        return settings.model_copy(update={"finetune": settings.finetune.model_copy(update={"lr": rate})})
    return settings.model_copy(update={"quantise": settings.quantise.model_copy(update={"rates": {method: rate}})})


def _trained(
    settings: Settings, named: tuple[str, Quantiser] | None, place: tuple[Fabric, Dataset], places: Places
) -> dict[str, Any]:
    """What is measured, on the images held out, of the baseline network after one method."""
    fabric, dataset = place
    torch.manual_seed(settings.seed + fabric.global_rank)
    model = baseline_network(settings, places.baseline).to(fabric.device)
    decides = settings.of_quantiser(named[1]) if named else settings.of_fixing()
    batch = settings.quantise.batch_size if named else settings.finetune.batch_size
    inputs = [places.data / CARD, places.baseline / WEIGHTS]
    decides |= {"held_out": settings.rates.validation_share}
    job = Job("rates", decides, inputs, settings.training_epochs, batch, logged=False)
    with at_work(fabric, model, dataset, settings, job) as work:
        if named:
            shared = find_method(*named).quantise(Task(work, named[1])).shared
        else:
            shared = [fix_network(work).names]
        return measure(fabric, work.network, dataset, shared)[0]


if __name__ == "__main__":
    run(rates)
