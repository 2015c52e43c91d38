"""The last stage's work: MLflow gets what it lacks - runs, files, packed networks - and loses what is left over."""

from __future__ import annotations

import hashlib
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.base.errors import first_line
from pipeline.base.results import Run, run_key
from pipeline.watching.labels import REPORT, Label
from pipeline.watching.models import NETWORK, save_model
from pipeline.watching.shown import run_address
from pipeline.watching.store import AFTERWARDS, COMPLETING, NOTE, PACKED, WRITER, Logged, Store
from pipeline.watching.tracking import delete_doubles, file_names, finish, opened
from pipeline.watching.writer import is_gone

# The line that leads to the page.
OURS = re.compile(r"Stage `[^`\n]*`, on the \[page of results\][^\n]*")
PAUSE = 0.05  # seconds in which another process gets the lock
AGAIN_AFTER = (1.0, 4.0, 10.0)  # seconds


@dataclass(frozen=True)
class Result:
    """A finished run, what it is called, and its packed file where it has one that loads."""

    label: Label
    run: Run
    packed: Path | None = None

    @property
    def key(self) -> str:
        """What identifies it."""
        return run_key(self.label.stage, self.run)

    @property
    def digest(self) -> str:
        """What identifies its packed file."""
        return "" if self.packed is None else hashlib.sha256(self.packed.read_bytes()).hexdigest()[:16]


@dataclass
class Completed:
    """What was missing and what of it was logged: runs, packed networks, runs without some of their files.

    fault: why the rest could not be; empty where nothing is missing any more.
    """

    runs: int
    networks: int
    missing: int = 0
    logged: int = 0
    networks_missing: int = 0
    networks_logged: int = 0
    refilled: int = 0
    fault: str = ""

    def __str__(self) -> str:
        """One line that says so."""
        refilled = f", files of {self.refilled} more" if self.refilled else ""
        if not self.fault:
            return (
                f"{self.logged} of {self.runs} runs were missing in MLflow, {self.networks_logged} of {self.networks} "
                f"packed networks{refilled}; `make ui` shows them"
            )
        return (
            f"{self.missing - self.logged} of {self.runs} runs could not be logged to MLflow, "
            f"{self.networks_missing - self.networks_logged} of {self.networks} packed networks"
            f"{f' ({self.logged} runs were logged)' if self.logged else ''}: {self.fault}; the next `dvc repro` tries "
            "again"
        )


def complete(results: Sequence[Result]) -> Completed:
    """Log what MLflow lacks of these results; says what was logged. Raises nothing that MLflow raises.

    A store that was in use and then failed, as a server does whose database is busy, is asked again for a while.
    """
    with_network = sum(result.packed is not None for result in results)
    done = Completed(len(results), with_network, missing=len(results), networks_missing=with_network)
    store = Store(COMPLETING, in_all=False)
    for pause in (*AGAIN_AFTER, 0.0):
        try:
            _complete(store, results, done)
            done.fault = ""
            break
        except Exception as error:  # DVC has the results: nothing is lost
            done.fault = first_line(error)
        if not store.answered:
            break
        time.sleep(pause)
    return done


def _complete(store: Store, results: Sequence[Result], done: Completed) -> None:
    known = _known(store, results)
    lacking = [result for result in results if not _is_complete(store, known, result)]
    done.missing = done.logged + sum(result.key not in known for result in results)
    done.networks_missing = done.networks_logged + sum(not _has_network(store, known, result) for result in results)
    for result in lacking:
        with store.locked():
            _log(store, result, done)
        time.sleep(PAUSE)
    _lead_to_page(store, results)


def _lead_to_page(store: Store, results: Sequence[Result]) -> None:
    """Every run says in its description where the page of results is: among the files of the report's run."""
    known = {run.key: run for run in store.runs(result.label.experiment for result in results) if run.key}
    report = next((result for result in results if result.label.stage == REPORT and result.key in known), None)
    if report is None:
        return
    page = known[report.key].run_id
    lacking = [
        result
        for result in results
        if result is not report and result.key in known and page not in known[result.key].tags.get(NOTE, "")
    ]
    for result in lacking:
        address = run_address("", store.experiment(report.label.experiment), page)
        line = (
            f"Stage `{result.label.stage}`, on the [page of results]({address}/artifacts/index.html) "
            f"(`{report.run.folder}/index.html`) under its key {result.key}."
        )
        written = known[result.key].tags.get(NOTE, "")
        note = with_line(written, line)
        if note != written:
            store.call("set_tag", known[result.key].run_id, NOTE, note)


def with_line(written: str, line: str) -> str:
    """A run's description with this line in place of an older one of ours; what a person has written stays."""
    return OURS.sub(lambda _: line, written, count=1) if written else line


def _known(store: Store, results: Sequence[Result]) -> dict[str, Logged]:
    """The finished runs by their keys, after doubles, and open runs whose process is gone, were put in order."""
    runs = store.runs(result.label.experiment for result in results)
    for run in runs:
        if run.status == "RUNNING" and WRITER in run.tags and is_gone(run.tags[WRITER], run.heard):
            if AFTERWARDS in run.tags:  # a last stage that was killed had only begun to copy it from its files
                store.call("delete_run", run.run_id)
            else:
                store.call("set_terminated", run.run_id, "KILLED")
    keys = {result.key for result in results}
    finished = sorted((run for run in runs if run.key in keys), key=lambda run: (run.started, run.run_id))
    delete_doubles(store, finished)
    return {run.key: run for run in reversed(finished)}


def _lacking_files(store: Store, known: dict[str, Logged], result: Result) -> list[str]:
    have = store.files(known[result.key])
    return [name for name in file_names(result.run) if name not in have]


def _has_network(store: Store, known: dict[str, Logged], result: Result) -> bool:
    """Whether a run has its packed file and what MLflow needs to load it; True for one that has none to have."""
    if result.packed is None:
        return True
    run = known.get(result.key)
    if run is None or run.tags.get(PACKED) != result.digest:
        return False
    return f"{NETWORK}/MLmodel" in store.files(run, NETWORK) and bool(store.files(run, f"{NETWORK}/artifacts"))


def _is_complete(store: Store, known: dict[str, Logged], result: Result) -> bool:
    has_run = result.key in known and not _lacking_files(store, known, result)
    return has_run and _has_network(store, known, result)


def _log(store: Store, result: Result, done: Completed) -> None:
    """Log what is lacking of a result, asked again under the lock: another process may have been faster."""
    known = {run.key: run for run in store.runs([result.label.experiment]) if run.key}
    if result.key not in known:
        seconds = result.run.seconds or 0.0
        began = time.time() - seconds
        rows = [] if result.run.iterations is None else result.run.iterations.to_dict("records")
        steps = [(step, {str(key): value for key, value in row.items()}) for step, row in enumerate(rows)]
        with opened(store, result.label, result.run.settings, began) as run_id:
            finish(store, run_id, result.label, result.run, steps)
        done.logged += 1
        known = {run.key: run for run in store.runs([result.label.experiment]) if run.key}
    elif lacking := _lacking_files(store, known, result):
        for name in lacking:
            store.call("log_artifact", known[result.key].run_id, str(result.run.folder / name))
        done.refilled += 1
    if result.packed is not None and not _has_network(store, known, result):
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / NETWORK
            save_model(result.packed, model)
            store.call("log_artifacts", known[result.key].run_id, str(model), NETWORK)
        store.call("set_tag", known[result.key].run_id, PACKED, result.digest)
        done.networks_logged += 1
