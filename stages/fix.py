"""Stages `fix`, `repeats`, `sweep`, `variants` and `explore`: fix the baseline network to few shared values."""

from pathlib import Path
from typing import Annotated

import pandas as pd
from typer import Option

from pipeline.base.results import CARD, CENTRES, WEIGHTS
from pipeline.base.settings import load_settings
from pipeline.fixing.rounds import fix_network
from pipeline.fixing.summary import centres_table
from pipeline.measuring.evaluation import measure
from pipeline.training.work import Job, at_work
from stages.common.cli import Changes, Stage, changes, run
from stages.common.work import Result, baseline_network, device_and_data, stage_name, write_run


def fix(
    data: Annotated[Path, Option(help="Folder that stage data wrote.")],
    baseline: Annotated[Path, Option(help="Folder that stage pretrain wrote.")],
    out: Annotated[Path, Option(help="Folder for the fixed network, its metrics and tables.")],
    stage: Stage = "fix",
    change: Changes = [],  # noqa: B006
) -> None:
    """Fix every weight of the baseline network to few shared values, round by round."""
    settings = load_settings().for_stage(stage).changed(changes(change))
    fabric, dataset = device_and_data(settings, data)
    epochs, inputs = settings.training_epochs, [data / CARD, baseline / WEIGHTS]
    job = Job(stage_name(stage), settings.of_fixing(), inputs, epochs, settings.finetune.batch_size)

    with at_work(fabric, baseline_network(settings, baseline), dataset, settings, job) as work:
        fixed = fix_network(work)
        rounds = pd.DataFrame(fixed.rounds)
        metrics, _ = measure(fabric, work.network, dataset, [fixed.names])
        tables = {CENTRES: centres_table(fixed.codebook, fixed.usage)}
        seconds, train_seconds = rounds["seconds"].sum(), rounds["train_seconds"].sum()
        write_run(out, work, Result(metrics, rounds, seconds, train_seconds, epochs, tables))


if __name__ == "__main__":
    run(fix)
