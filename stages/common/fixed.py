"""A fixed network, from its settings to its files."""

from __future__ import annotations

import pandas as pd
from lightning_fabric import Fabric

from pipeline.base.results import CENTRES, WEIGHTS
from pipeline.base.settings import Settings
from pipeline.data.dataset import Dataset
from pipeline.fixing.rounds import fix_network
from pipeline.fixing.summary import centres_table
from pipeline.measuring.evaluation import measure
from pipeline.training.work import Job, at_work
from stages.common.folders import Places
from stages.common.work import Result, baseline_network, own_files, write_run


def make_fixed(stage: str, settings: Settings, fabric: Fabric, dataset: Dataset, places: Places) -> None:
    """Fix the baseline network round by round; write it."""
    epochs, inputs = settings.training_epochs, [places.baseline / WEIGHTS, *own_files(settings)]
    job = Job(stage, settings.of_fixing(), inputs, epochs, settings.finetune.batch_size)

    with at_work(fabric, baseline_network(settings, places.baseline), dataset, settings, job) as work:
        fixed = fix_network(work)
        rounds = pd.DataFrame(fixed.rounds)
        metrics, _ = measure(fabric, work.network, dataset, [fixed.names])
        tables = {CENTRES: centres_table(fixed.codebook, fixed.usage)}
        seconds, train_seconds = rounds["seconds"].sum(), rounds["train_seconds"].sum()
        write_run(places.out, work, Result(metrics, rounds, seconds, train_seconds, epochs, tables))
