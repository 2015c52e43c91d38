"""A network quantised by another method, from its settings to its files."""

from __future__ import annotations

import time
from typing import NamedTuple

import pandas as pd
from lightning_fabric import Fabric

from pipeline.base.results import CODEBOOKS, WEIGHTS
from pipeline.base.settings import Quantiser, Settings
from pipeline.comparing.finding import find_method
from pipeline.comparing.task import Task
from pipeline.data.dataset import Dataset
from pipeline.measuring.evaluation import measure
from pipeline.training.loop import EPOCH_COLUMNS
from pipeline.training.work import Job, at_work
from stages.common.folders import Places
from stages.common.work import Result, baseline_network, own_files, write_run


class Named(NamedTuple):
    """One of `baselines.quantisers` under its name, for the DVC stage that makes it."""

    stage: str
    name: str
    quantiser: Quantiser


def make_quantised(named: Named, settings: Settings, fabric: Fabric, dataset: Dataset, places: Places) -> None:
    """Quantise the baseline network; write it."""
    quantiser = named.quantiser
    method = find_method(named.name, quantiser)
    model = baseline_network(settings, places.baseline).to(fabric.device)
    epochs, inputs = settings.training_epochs, [places.baseline / WEIGHTS, *own_files(settings)]
    job = Job(named.stage, settings.of_quantiser(quantiser), inputs, epochs, settings.quantise.batch_size)

    with at_work(fabric, model, dataset, settings, job) as work:
        start = time.perf_counter()
        outcome = method.quantise(Task(work, quantiser))
        # A run that went on after a break has its training's seconds from before it, too.
        seconds = max(time.perf_counter() - start, sum(row["seconds"] for row in work.epochs))
        metrics, quantised = measure(fabric, work.network, dataset, outcome.shared)
        metrics["activation_bits"] = outcome.activation_bits
        rows = pd.DataFrame(work.epochs, columns=list(EPOCH_COLUMNS))
        tables = {CODEBOOKS: quantised.codebook_table()}
        write_run(places.out, work, Result(metrics, rows, seconds, rows["seconds"].sum(), len(rows), tables))
