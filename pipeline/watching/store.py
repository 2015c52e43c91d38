"""The store of MLflow's runs: which it has, and a client for it that is opened late and given up early.

Importing mlflow and opening its store takes seconds, so an SQLite file is asked with plain sqlite3, and whether there
is anything to write to is found out first. A damaged or half set up database of the clone's own is set aside and made
anew: DVC keeps the truth, and the last stage fills it. Any other is left as it is.
"""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote, urlparse

from filelock import FileLock

from pipeline.base.errors import first_line
from pipeline.watching.database import HALF_SET_UP, DamagedError, StoreError, check, named, set_aside
from pipeline.watching.patience import held, knock, within
from pipeline.watching.place import Place, place
from pipeline.watching.shown import experiment_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

# Tags: what identifies a result, the digest of its packed file, who logs it, when they last did (Unix time), and that
# its work was over by then.
KEY, PACKED, WRITER, HEARD, AFTERWARDS = "wfn.key", "wfn.packed", "wfn.writer", "wfn.heard", "wfn.afterwards"
NOTE = "mlflow.note.content"  # shown as the description of a run
TRAINING, COMPLETING = 4.0, 60.0  # seconds that a training, or the last stage, waits for a store or a lock
SHARE = 0.01  # of the time of a long training
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",  # a file that is set aside is let go
}


@dataclass(frozen=True)
class Logged:
    """A run that MLflow has. started: milliseconds since 1970. files: address of its artifacts."""

    run_id: str
    status: str
    started: int
    files: str
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What identifies its result; empty for a run that is not ours, or not complete."""
        return self.tags.get(KEY, "") if self.status == "FINISHED" else ""

    @property
    def heard(self) -> float:
        """When its writer last logged anything, seconds since 1970."""
        said = self.tags.get(HEARD, "")
        return float(said) if said.isdecimal() else self.started / 1000


class Store:
    """MLflow at the place that the environment names.

    patience: seconds that a call may take, or to wait for a lock. in_all: whether all calls together may take no
    longer, besides a share of a long training.
    """

    def __init__(self, patience: float, in_all: bool) -> None:
        self.place: Place = place()
        self._patience, self._in_all = patience, in_all
        self._spent, self._since = 0.0, time.monotonic()
        self.answered = False  # whether a call has come back
        self._examined, self._said = False, False
        self._lock = FileLock(self.place.lock)
        self._client: MlflowClient | None = None
        self._experiments: dict[str, str] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among the processes of this machine."""
        with held(self._lock, self._patience - 1, self._say_once):
            yield

    def _say_once(self, line: str) -> None:
        if not self._said:
            print(line, file=sys.stderr, flush=True)
        self._said = True

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """What a method of MlflowClient returns. Raises StoreError where the store cannot be used or takes too long."""
        client = self._client or self._open()
        start = time.monotonic()
        try:
            found = within(self._left(), self.place.name, lambda: getattr(client, method)(*arguments, **options))
            self.answered = True
            return found
        except StoreError:
            raise
        except Exception as error:
            self._explain(error)
        finally:
            self._spent += time.monotonic() - start

    def runs(self, experiments: Iterable[str]) -> list[Logged]:
        """Our runs that are not deleted: all that an SQLite file has, of a server those of the experiments."""
        database = self.place.database
        if database is not None:
            try:
                self._checked(lambda: check(database, thorough=not self._examined))
                self._examined = True
                return list(_read(database)) if database.exists() else []
            except sqlite3.OperationalError as error:
                if HALF_SET_UP.search(str(error)):  # empty, or not set up yet
                    return []
                raise named(database, error) from None
        found = [self.call("get_experiment_by_name", name) for name in sorted(set(experiments))]
        ids = [each.experiment_id for each in found if each is not None]
        return self.search(ids, "")

    def search(self, experiment_ids: list[str], query: str) -> list[Logged]:
        """Runs of experiments, page by page."""
        runs: list[Logged] = []
        token: str | None = None
        while experiment_ids:
            page = self.call("search_runs", experiment_ids, query, max_results=1000, page_token=token)
            runs += [_logged(run) for run in page]
            token = page.token
            if not token:
                break
        return runs

    def experiment(self, name: str) -> str:
        """The id of an experiment, made where there is none; it shows its numbers without any setting up."""
        if name not in self._experiments:
            found = self.call("get_experiment_by_name", name) or self._made(name)
            for key, value in experiment_tags().items():
                if found.tags.get(key) != value:
                    self.call("set_experiment_tag", found.experiment_id, key, value)
            self._experiments[name] = str(found.experiment_id)
        return self._experiments[name]

    def files(self, run: Logged, folder: str = "") -> set[str]:
        """Paths of the artifacts that a run has, in one folder."""
        if run.files.startswith("file:"):
            root = Path(unquote(urlparse(run.files).path))
            return {path.relative_to(root).as_posix() for path in (root / folder).glob("*")}
        return {each.path for each in self.call("list_artifacts", run.run_id, folder or None)}

    def _made(self, name: str) -> Any:
        """A new experiment, or the one that another machine has made just now."""
        artifacts = self.place.artifacts
        try:
            self.call("create_experiment", name, None if artifacts is None else artifacts.as_uri())
        except StoreError as error:
            if "already exists" not in str(error):
                raise
        return self.call("get_experiment_by_name", name)

    def _left(self) -> float:
        if not self._in_all:
            return self._patience
        return min(self._patience, self._patience + SHARE * (time.monotonic() - self._since) - self._spent)

    def _open(self) -> MlflowClient:
        """A client, once it is known that there is something to write to; a new database is set up."""
        database, artifacts = self.place.database, self.place.artifacts
        if self.place.unusable:
            raise StoreError(self.place.unusable)
        if self.place.is_server:
            start = time.monotonic()
            try:
                knock(self.place, min(10.0, self._left() / 2))
            finally:
                self._spent += time.monotonic() - start
        if artifacts is not None and artifacts.exists() and not artifacts.is_dir():
            raise StoreError(f"{artifacts.name} is a file and not a folder; move it away")
        if database is not None:
            self._checked(lambda: check(database))
        for key, value in DEFAULTS.items():
            os.environ.setdefault(key, value)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(math.ceil(self._patience / 2)))
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic", "urllib3"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        if database is None:
            self._client = MlflowClient(tracking_uri=self.place.uri)
        else:
            self._client = self._checked(self._set_up)
        return self._client

    def _set_up(self) -> MlflowClient:
        """A client of the SQLite file. MLflow tries for minutes where it cannot write: this asks once."""
        from mlflow import MlflowClient

        with self.locked():  # two processes that set up a new database at once fail both
            try:
                client = MlflowClient(tracking_uri=self.place.uri)
                client.search_experiments(max_results=1)
            except Exception as error:
                self._explain(error)
        return client

    def _checked(self, work: Callable[[], Any]) -> Any:
        """What `work` returns on a usable database; a damaged one of our own is set aside first."""
        try:
            return work()
        except DamagedError as error:
            database = self.place.database
            if database is None or not self.place.own:
                raise StoreError(f"{error}; move it away") from None
            with self.locked():
                try:
                    return work()  # another process may have been faster
                except DamagedError:
                    away = set_aside(database)
            line = f"MLflow: {error}; it is set aside as {away.name}, a new one is made"
            print(line, file=sys.stderr, flush=True)
            return work()

    def _explain(self, error: Exception) -> NoReturn:
        """Raise what an error of MLflow means."""
        database, text = self.place.database, " ".join(str(error).split())
        if database is not None:
            check(database, thorough=True)
            if HALF_SET_UP.search(text) and self._client is None:
                raise DamagedError(f"{database.name} is half set up") from None
        said = self.place.without_password(first_line(error))
        raise StoreError(f"{self.place.name}: {said[:200]}") from None


def _logged(run: MlflowRun) -> Logged:
    info = run.info
    return Logged(info.run_id, info.status, info.start_time or 0, info.artifact_uri or "", dict(run.data.tags))


def _read(database: Path) -> Iterator[Logged]:
    query = (
        "select run_uuid, status, start_time, artifact_uri, tags.key, tags.value from runs join tags using (run_uuid) "
        "where lifecycle_stage = 'active' and tags.key in (?, ?, ?, ?, ?, ?)"
    )
    rows: dict[tuple[str, str, int, str], dict[str, str]] = {}
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        for *run, tag, value in connection.execute(query, (KEY, PACKED, WRITER, HEARD, AFTERWARDS, NOTE)):
            rows.setdefault(tuple(run), {})[tag] = value
    for (run_id, status, started, files), tags in rows.items():
        yield Logged(run_id, status, started or 0, files or "", tags)
