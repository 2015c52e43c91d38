"""MLflow, which looks on: one run per setting, logged live by long stages and completed by the last stage.

DVC owns the truth. No output depends on MLflow, no run id leaves this room, and what fails here is one line. A run is
recognised by its key, derived from its stage, settings and metrics, and logged once: processes of one machine ask and
log under one lock; of equal runs that several machines have logged, the earliest stays. Work that is done within two
minutes is left to the last stage.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.base.errors import first_line
from pipeline.base.git import head
from pipeline.base.results import Run, repository, run_key
from pipeline.watching.database import StoreError
from pipeline.watching.labels import Label
from pipeline.watching.shown import CURVES, numbers, parameters
from pipeline.watching.store import AFTERWARDS, HEARD, KEY, TRAINING, WRITER, Logged, Store
from pipeline.watching.writer import this_writer

ARTIFACTS = {".csv", ".json", ".md", ".tex", ".png", ".svg", ".html"}
LIVE_AFTER = 120.0  # seconds of work
PROMPT = 0.5  # seconds in which a store has failed at once
METRICS_AT_ONCE = 1000  # MLflow's limit per call

Steps = Sequence[tuple[int, Mapping[str, Any]]]


@contextmanager
def live_run(
    label: Label, settings: Mapping[str, Any], first_process: bool = True, after: float = LIVE_AFTER
) -> Iterator[LiveRun]:
    """A run that is open while the work inside goes on, from its first step after so many seconds.

    Marked as failed where the work is broken off. Work that ends sooner is not logged here; of several processes only
    the first one logs.
    """
    run = LiveRun(label, settings, after if first_process else math.inf)
    try:
        yield run
    except BaseException:
        run.fail()
        raise


class LiveRun:
    """A run that is logged while it goes on, once it has for `after` seconds; steps before that are logged then.

    After the first failure, which is one line, every method does nothing: the last stage logs the run.
    """

    def __init__(self, label: Label, settings: Mapping[str, Any], after: float) -> None:
        self._label, self._settings = label, settings
        self._began, self._opens_at = time.time(), time.monotonic() + after
        self._steps: list[tuple[int, Mapping[str, Any]]] = []
        self._store: Store | None = None
        self._run_id = ""
        self._failed = False
        self._guarded(lambda _: None)

    def log_step(self, step: int, row: Mapping[str, Any]) -> None:
        """One row of iterations.csv, as metrics of that step."""
        self._steps.append((step, row))
        self._guarded(self._log_steps)

    def finish(self, run: Run) -> None:
        """The headline metrics, the files for people, and the key that says the run is complete."""

        def finishing(store: Store) -> None:
            with store.locked():
                finish(store, self._run_id, self._label, run, self._steps)

        self._guarded(finishing)

    def fail(self) -> None:
        """The work was broken off."""
        self._guarded(lambda store: store.call("set_terminated", self._run_id, "FAILED"))

    def _guarded(self, work: Callable[[Store], None]) -> None:
        began = time.monotonic()
        if self._failed or began < self._opens_at:
            return
        try:
            if self._store is None:
                self._store = Store(TRAINING, in_all=True)
            if not self._run_id:
                self._run_id = start(self._store, self._label, self._began)
                log_settings(self._store, self._run_id, self._label, self._settings)
            work(self._store)
        except Exception as error:  # whatever MLflow raises, the work that it watches goes on
            line = f"{first_line(error)}; {self._label.stage} goes on, stage `track` logs it later"
            print(f"warning: not logged to MLflow: {line}", file=sys.stderr, flush=True)
            self._failed = True
            # Of a store that is slow to fail nothing more is asked, which would take as long again.
            if self._store is not None and self._run_id and time.monotonic() - began < PROMPT:
                with suppress(StoreError):  # where this fails too, the last stage says it, once this process has gone
                    self._store.call("set_terminated", self._run_id, "FAILED")

    def _log_steps(self, store: Store) -> None:
        log_steps(store, self._run_id, self._steps)
        self._steps.clear()


def start(store: Store, label: Label, began: float, afterwards: bool = False) -> str:
    """Open a run whose work began at a time (seconds since 1970), and may be over by now; returns its id."""
    with store.locked():
        experiment = store.experiment(label.experiment)
    tags = _tags(label) | {WRITER: this_writer()} | ({AFTERWARDS: "yes"} if afterwards else {})
    run = store.call("create_run", experiment, start_time=int(began * 1000), tags=tags, run_name=label.name)
    if not run.info.run_id:
        raise StoreError(f"{store.place.name} does not answer as MLflow does")
    return str(run.info.run_id)


def log_settings(store: Store, run_id: str, label: Label, settings: Mapping[str, Any]) -> None:
    """What tells this run apart, as parameters."""
    from mlflow.entities import Param

    params = [Param(key, value) for key, value in parameters(label.stage, settings).items()]
    store.call("log_batch", run_id, params=params)


@contextmanager
def opened(store: Store, label: Label, settings: Mapping[str, Any], began: float) -> Iterator[str]:
    """The id of a run of past work, to be completed inside; nothing of it stays where that fails."""
    run_id = start(store, label, began, afterwards=True)
    try:
        log_settings(store, run_id, label, settings)
        yield run_id
    except BaseException:
        with suppress(StoreError):  # where this fails too, the next one finds a run whose process is gone
            store.call("delete_run", run_id)
        raise


def log_steps(store: Store, run_id: str, steps: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
    """Rows of iterations.csv with their numbers, as curves."""
    _log_metrics(store, run_id, [(f"{CURVES}{key}", value, step) for step, row in steps for key, value in row.items()])


def finish(store: Store, run_id: str, label: Label, run: Run, steps: Steps) -> None:
    """Complete an open run, as long as the work itself took; delete it where the result is known already.

    Of the processes of a machine, the one that holds the store's lock calls this.
    """
    key, experiment = run_key(label.stage, run), store.experiment(label.experiment)
    query = f"tags.`{KEY}` = '{key}' and attributes.status = 'FINISHED'"
    if store.search([experiment], query):
        store.call("delete_run", run_id)
        return
    # MLflow's comparison opens on the metric that came first.
    _log_metrics(store, run_id, [(name, value, 0) for name, value in numbers(run.metrics).items()])
    log_steps(store, run_id, steps)
    for name in file_names(run):
        store.call("log_artifact", run_id, str(run.folder / name))
    store.call("set_tag", run_id, KEY, key)
    began = store.call("get_run", run_id).info.start_time
    ended = None if run.seconds is None else began + round(run.seconds * 1000)
    store.call("set_terminated", run_id, "FINISHED", ended)
    if store.place.is_server:
        delete_doubles(store, store.search([experiment], query))


def file_names(run: Run) -> list[str]:
    """Files of a run's folder that are for people."""
    return sorted(path.name for path in run.folder.iterdir() if path.suffix in ARTIFACTS)


def delete_doubles(store: Store, runs: Iterable[Logged]) -> None:
    """Of finished runs with one key the earliest stays.

    Each of several machines deletes all the others: one that finishes last sees them all.
    """
    seen: set[str] = set()
    for run in sorted(runs, key=lambda run: (run.started, run.run_id)):
        if run.key in seen:
            try:
                store.call("delete_run", run.run_id)
            except StoreError as error:
                if "deleted" not in str(error):  # by another machine, just now
                    raise
        elif run.key:
            seen.add(run.key)


def _log_metrics(store: Store, run_id: str, values: Iterable[tuple[str, Any, int]]) -> None:
    """Those of the named values that are finite numbers, each at its step; and that the writer is at work."""
    from mlflow.entities import Metric, RunTag

    now = int(time.time() * 1000)
    heard = [RunTag(HEARD, str(now // 1000))]
    numbers = [(key, float(value), step) for key, value, step in values if isinstance(value, int | float)]
    metrics = [Metric(key, value, now, step) for key, value, step in numbers if math.isfinite(value)]
    for first in range(0, len(metrics), METRICS_AT_ONCE):
        store.call("log_batch", run_id, metrics=metrics[first : first + METRICS_AT_ONCE], tags=heard)


def _tags(label: Label) -> dict[str, str]:
    tags = {
        "git.commit": head(repository()),
        "dvc.stage": label.stage,
        "dvc.experiment": os.environ.get("DVC_EXP_NAME", ""),
    }
    return {key: value for key, value in tags.items() if value}
