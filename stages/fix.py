"""Stages `fix`, `repeats`, `sweep` and `explore`: fix the baseline network to few shared values."""

import os
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
from typer import Option

from pipeline.base.results import CENTRES, WEIGHTS
from pipeline.base.settings import load_settings
from pipeline.data.dataset import CARD
from pipeline.fixing.rounds import fix_network
from pipeline.fixing.summary import centres_table
from pipeline.measuring.evaluation import measure
from pipeline.network.parameters import fixable_parameters, names_of
from pipeline.training.checkpoint import resumable
from pipeline.training.device import set_up
from pipeline.watching.tracking import live_run
from stages.common.cli import Changes, changes, run
from stages.common.folders import fix_label
from stages.common.work import Cost, baseline_network, device_and_data, write_run
from wfn.free import read_weights


def fix(
    data: Annotated[Path, Option(help="Folder that stage data wrote.")],
    baseline: Annotated[Path, Option(help="Folder that stage pretrain wrote.")],
    out: Annotated[Path, Option(help="Folder for the fixed network, its metrics and tables.")],
    change: Changes = [],  # noqa: B006
    repeat: Annotated[int, Option(help="Added to the seed: a repeat of the same setting.", min=0)] = 0,
) -> None:
    """Fix every weight of the baseline network to few shared values, round by round."""
    settings = load_settings().changed(changes(change)).repeated(repeat)
    fabric, dataset = device_and_data(settings, data)
    model = baseline_network(settings, baseline)
    network = set_up(fabric, model, settings.hardware)
    label, decided_by = fix_label(settings, os.environ.get("DVC_STAGE", "fix")), settings.of_fixing()

    with (
        live_run(label, decided_by, fabric.is_global_zero) as live,
        resumable(fabric, decided_by, [data / CARD, baseline / WEIGHTS]) as checkpoint,
    ):
        generator = torch.Generator().manual_seed(settings.seed)
        rounds = pd.DataFrame(fix_network(fabric, network, dataset, settings, generator, live.log_step, checkpoint))
        fixed = fixable_parameters(model, settings.fixing.parameters, batch_norm=settings.fixing.fix_batch_norm)
        metrics, _ = measure(fabric, network, dataset, [names_of(model, fixed)])
        images = settings.training_epochs * dataset.card["train"]["images"]
        cost = Cost(rounds["seconds"].sum(), images, rounds["train_seconds"].sum())
        tables = {CENTRES: centres_table(read_weights(fixed).cpu().numpy())}
        write_run(out, model, metrics, decided_by, rounds, cost, tables, fabric, live)


if __name__ == "__main__":
    run(fix)
