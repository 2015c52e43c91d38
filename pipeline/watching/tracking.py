"""MLflow, which looks on: one run per setting, logged live by long stages and completed by the last stage.

DVC owns the truth. No output depends on MLflow, no run id leaves this module, and a failure here is a warning. A run is
recognised by its key, derived from settings and metrics, so nothing is logged twice. Importing mlflow and opening its
store takes seconds: whether the database has a run is asked with plain sqlite3, and work that is done within two
minutes is left to the last stage.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from pipeline.base.errors import first_line
from pipeline.base.results import Run, repository
from pipeline.watching.labels import Label
from pipeline.watching.models import NETWORK, save_model

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY = "wfn.key"
PACKED = "wfn.packed"  # the digest of the packed file that a run has as an artifact
ARTIFACTS = {".csv", ".json", ".md", ".tex", ".png", ".svg", ".html"}
LIVE_AFTER = 120.0  # seconds of work
PARAMS_AT_ONCE = 100  # MLflow's limit per call


def database() -> Path:
    """MLflow's SQLite file."""
    return repository() / "mlflow.db"


def run_key(run: Run) -> str:
    """What identifies a result: the same settings with the same metrics are the same run."""
    return hashlib.sha256(json.dumps([run.settings, run.metrics], sort_keys=True).encode()).hexdigest()[:16]


def logged_keys(path: Path) -> set[str]:
    """Keys of the finished, not deleted runs in an MLflow database; empty where there is none."""
    return set(_logged(path, KEY).values())


def _logged(path: Path, tag: str) -> dict[str, str]:
    """Values of a tag of the finished, not deleted runs in an MLflow database, by the run's id."""
    if not path.exists():
        return {}
    query = (
        "select runs.run_uuid, tags.value from tags join runs on runs.run_uuid = tags.run_uuid "
        "where tags.key = ? and runs.status = 'FINISHED' and runs.lifecycle_stage = 'active'"
    )
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return dict(connection.execute(query, (tag,)))
    except sqlite3.DatabaseError:  # not one that MLflow has set up
        return {}


def complete(runs: Sequence[tuple[Label, Run]]) -> int:
    """Log those finished runs that the database lacks; returns how many those were."""
    known = logged_keys(database())
    missing = [(label, run) for label, run in runs if run_key(run) not in known]
    for label, run in missing:
        rows = [] if run.iterations is None else run.iterations.to_dict("records")
        steps = [(step, {str(key): value for key, value in row.items()}) for step, row in enumerate(rows)]
        LiveRun(label, run.settings, after=0, steps=steps).finish(run)
    return len(missing)


def add_networks(networks: Sequence[tuple[Run, Path]]) -> int:
    """Give logged runs their packed files, as models that MLflow loads; returns how many did not have theirs."""
    ids = {key: run_id for run_id, key in _logged(database(), KEY).items()}
    have = _logged(database(), PACKED)
    lacking = []
    for run, path in networks:
        run_id, digest = ids.get(run_key(run)), hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        if run_id and have.get(run_id) != digest:
            lacking.append((run_id, digest, path))
    if not lacking:
        return 0
    try:
        client = _connect()
        for run_id, digest, path in lacking:
            with tempfile.TemporaryDirectory() as folder:
                model = Path(folder) / NETWORK
                save_model(path, model)
                client.log_artifacts(run_id, str(model), NETWORK)
            client.set_tag(run_id, PACKED, digest)
    except Exception as error:  # as of every other failure here
        print(f"warning: MLflow tracking stopped: {first_line(error)}", file=sys.stderr, flush=True)
    return len(lacking)


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

    steps: numbers and rows of the steps that there are already. After the first failure every method does nothing.
    """

    def __init__(
        self, label: Label, settings: Mapping[str, Any], after: float, steps: Sequence[tuple[int, Any]] = ()
    ) -> None:
        self._label, self._settings = label, settings
        self._opens_at = time.monotonic() + after
        self._steps: list[tuple[int, Mapping[str, Any]]] = list(steps)
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._failed = False
        self._guarded(lambda: None)

    def log_step(self, step: int, row: Mapping[str, Any]) -> None:
        """One row of iterations.csv, as metrics of that step."""
        self._steps.append((step, row))
        self._guarded(self._log_steps)

    def finish(self, run: Run) -> None:
        """The headline metrics, the files for people, and the key that says the run is complete."""
        self._guarded(lambda: self._finish(run))

    def fail(self) -> None:
        """The work was broken off."""
        self._guarded(lambda: self._open_client().set_terminated(self._run_id, "FAILED"))

    def _guarded(self, work: Callable[[], None]) -> None:
        if self._failed or time.monotonic() < self._opens_at:
            return
        try:
            if not self._run_id:
                self._start()
            work()
        except Exception as error:  # whatever MLflow raises, the work that it watches goes on
            print(f"warning: MLflow tracking stopped: {first_line(error)}", file=sys.stderr, flush=True)
            self._failed = True

    def _open_client(self) -> MlflowClient:
        if self._client is None:
            self._client = _connect()
        return self._client

    def _start(self) -> None:
        client, label = self._open_client(), self._label
        with _initialising():
            found = client.get_experiment_by_name(label.experiment)
            experiment = (
                found.experiment_id
                if found
                else client.create_experiment(label.experiment, (repository() / "mlartifacts").as_uri())
            )
        self._run_id = client.create_run(experiment, run_name=label.name, tags=_tags(label)).info.run_id
        from mlflow.entities import Param

        params = [Param(key, str(value)) for key, value in flatten(self._settings)]
        for start in range(0, len(params), PARAMS_AT_ONCE):
            client.log_batch(self._run_id, params=params[start : start + PARAMS_AT_ONCE])

    def _log_steps(self) -> None:
        for step, row in self._steps:
            self._log_metrics({f"rounds/{key}": value for key, value in row.items()}, step)
        self._steps.clear()

    def _log_metrics(self, values: Mapping[str, Any], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        numbers = {key: float(value) for key, value in values.items() if isinstance(value, int | float)}
        metrics = [Metric(key, value, now, step) for key, value in numbers.items() if math.isfinite(value)]
        self._open_client().log_batch(self._run_id, metrics=metrics)

    def _finish(self, run: Run) -> None:
        client = self._open_client()
        if run_key(run) in logged_keys(database()):  # a repeat of a known result
            client.delete_run(self._run_id)
            return
        # MLflow's comparison opens on the metric that came first.
        self._log_metrics(run.metrics, step=0)
        self._log_steps()
        for path in sorted(run.folder.iterdir()):
            if path.suffix in ARTIFACTS:
                client.log_artifact(self._run_id, str(path))
        client.set_tag(self._run_id, KEY, run_key(run))
        client.set_terminated(self._run_id)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as dotted keys with their values."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _initialising() -> FileLock:
    # Two processes that set up a new database at once fail both.
    return FileLock(f"{database()}.lock")


def _connect() -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with _initialising():
        # MLflow retries for minutes where the database cannot be written; this fails at once.
        with closing(sqlite3.connect(database())) as connection:
            connection.execute("begin immediate")
        client = MlflowClient(tracking_uri=f"sqlite:///{database()}")
        client.search_experiments(max_results=1)
    return client


def _tags(label: Label) -> dict[str, str]:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository(), capture_output=True, text=True, check=False
    ).stdout.strip()
    tags = {"git.commit": commit, "dvc.stage": label.stage, "dvc.experiment": os.environ.get("DVC_EXP_NAME", "")}
    return {key: value for key, value in tags.items() if value}
