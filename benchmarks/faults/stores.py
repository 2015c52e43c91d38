"""MLflow's store is down, slow, damaged, somebody else's or busy: the work goes on, and `track` brings what was lost.

In each state of the store `fix`, which logs from its first second on, must make the same bytes, no more than five
seconds later, and say in one line that it was not logged and why; `track` must end well and say in one line what it
could not log. Once the state is over, the next `track` leaves every run there once, none open, with all of its files.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType

from filelock import FileLock

from benchmarks.faults.finding import Bench, Finding
from benchmarks.faults.project import (
    ENVIRONMENT,
    differences,
    forget,
    fresh_and_live,
    last_line,
    logged,
    logged_files,
    not_as_made,
    undisturbed,
    work,
)
from tests.clones import run_in
from tests.mlflow_servers import DATABASE, FILES, Server, answering

TITLE = "MLflow"
LATER = 5.0  # seconds
WRITERS = 4
NOTHING: Mapping[str, str] = MappingProxyType({})
OWN, OWN_FILES = "mlflow.db", "mlartifacts"

Done = subprocess.CompletedProcess[str]
Environment = Mapping[str, str]
State = Callable[[Path], AbstractContextManager[Environment]]


def run(bench: Bench) -> Iterator[Finding]:
    """Every state once; a server that is killed and a store without its files so many times; four writers at once."""
    clone = fresh_and_live(bench, "stores")
    expected = runs_in(clone)
    lasts = max(_fixed(clone)[1] for _ in range(3))
    for name, state in NO_HELP.items():
        yield in_state(clone, name, state, expected, lasts)
    forget(clone, "track")
    lasts = _fixed(clone)[1]  # with a database that has to be set up
    for name, state in MENDED.items():
        yield in_state(clone, name, state, expected, lasts, mended=True)
    yield without_files(clone, bench, expected)
    server = Server(_empty_folder(bench.folder / "server"))
    try:
        yield several_writers(bench, server, expected)
        yield killed_server(clone, bench, server, expected)
    finally:
        server.end()


def in_state(
    clone: Path, name: str, state: State, expected: dict[str, str], lasts: float, mended: bool = False
) -> Finding:
    """One state. lasts: seconds that `fix` takes without it. mended: it is mended by itself, and so nothing is lost."""
    forget(clone, "track")
    with state(clone) as environment:
        done, seconds = _fixed(clone, environment)
        tracked = work(clone, "track", None, environment)
    faults = [not_as_made(done, undisturbed(clone, "fix"), clone / "made"), *_lines(done, mended)]
    if seconds > lasts + LATER:
        faults.append(f"`fix` takes {seconds:.1f} s and {lasts:.1f} s without it")
    if tracked.returncode or "Traceback" in tracked.stderr or ("could not be logged" in tracked.stdout) == mended:
        faults.append(f"`track` ends with {tracked.returncode} and says {last_line(tracked)}")
    faults += _brought(clone, expected)
    found = "; ".join(filter(None, faults))
    return Finding(name, 1, [found] if found else [], f"`fix` {seconds - lasts:+.1f} s")


def _lines(done: Done, mended: bool) -> Iterator[str]:
    """What is wrong with what `fix` has said of MLflow: one line, beside one for each lock that it waited for."""
    said = [line for line in done.stderr.splitlines() if "MLflow" in line and "waiting" not in line]
    begins, ends = "warning: not logged to MLflow: ", "; fix goes on, stage `track` logs it later"
    if mended:
        begins, ends = "MLflow: mlflow.db is ", ", a new one is made"
    if len(said) != 1 or not (said[0].startswith(begins) and said[0].endswith(ends)):
        yield f"`fix` says {' / '.join(said)[:300] or 'nothing'}"


def _brought(clone: Path, expected: dict[str, str]) -> Iterator[str]:
    """What is wrong after the next `track`."""
    again = work(clone, "track", None)
    if again.returncode or "Traceback" in again.stderr:
        yield f"the next `track` ends with {again.returncode}: {last_line(again)}"
    elif differ := differences(expected, runs_in(clone)):
        yield f"after the next `track`: {', '.join(differ[:3])}"


def without_files(clone: Path, bench: Bench, expected: dict[str, str]) -> Finding:
    """Artifacts that somebody has deleted."""
    chosen = bench.choices("without files")
    faults: list[str] = []
    for _ in range(bench.tries):
        folders = sorted(path for path in (clone / OWN_FILES).rglob("artifacts") if path.is_dir())
        for folder in chosen.sample(folders, chosen.randint(1, len(folders))):
            shutil.rmtree(folder, ignore_errors=True)
        faults += _brought(clone, expected)
    return Finding("folders of artifacts are deleted", bench.tries, faults, "the next `track` brings them")


def several_writers(bench: Bench, server: Server, expected: dict[str, str]) -> Finding:
    """Of one server, from two clones: each has a lock of its own."""
    clones = [fresh_and_live(bench, f"writer-{number}") for number in range(2)]
    environment = {"MLFLOW_TRACKING_URI": server.address}
    with ThreadPoolExecutor(WRITERS) as pool:
        ended = list(pool.map(lambda each: work(each, "track", None, environment), clones * (WRITERS // 2)))
    faults = [f"ends with {each.returncode}: {last_line(each)}" for each in ended if not _all_logged(each)]
    differ = differences(expected, runs_in(server.folder, DATABASE, FILES))
    faults += [f"on the server: {', '.join(differ[:3])}"] if differ else []
    note = "a real `mlflow server` on SQLite: every run once, none open, all files there"
    return Finding(f"{WRITERS} `track` at once, of two clones, to one server", WRITERS, faults, note)


def killed_server(clone: Path, bench: Bench, server: Server, expected: dict[str, str]) -> Finding:
    """While `fix` logs to it; it is there again for the next `track`."""
    chosen, faults = bench.choices("killed server"), []
    environment = {"MLFLOW_TRACKING_URI": server.address}
    lasts = max(_fixed(clone, environment)[1] for _ in range(2))
    for moment in [chosen.uniform(0, lasts) for _ in range(bench.tries)]:
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(_fixed, clone, environment)
            time.sleep(moment)
            server.end(signal.SIGKILL)
            done, seconds = working.result()
        server.start()
        tracked = work(clone, "track", None, environment)
        found = [not_as_made(done, undisturbed(clone, "fix"), clone / "made")]
        found += [f"`fix` takes {seconds:.1f} s and {lasts:.1f} s without it"] if seconds > lasts + LATER else []
        found += [f"`track` ends with {tracked.returncode}: {last_line(tracked)}"] if tracked.returncode else []
        # The run that was open is marked as killed, and stays.
        there = {key: value for key, value in runs_in(server.folder, DATABASE, FILES).items() if "KILLED" not in key}
        found += differences(expected, there)[:3]
        faults += [f"after {moment:.1f} s: {each}" for each in found if each][:1]
    return Finding("a server is killed (kill -9) while `fix` logs to it", bench.tries, faults, "`fix` goes on")


def _all_logged(done: Done) -> bool:
    """Whether a `track` has ended well; that it waited for another one is no fault."""
    said = [line for line in done.stderr.splitlines() if "waiting" not in line]
    return not (done.returncode or said or "could not be logged" in done.stdout)


def runs_in(root: Path, database: str = OWN, files: str = OWN_FILES) -> dict[str, str]:
    """How many finished runs MLflow has of every key, how many others, and the files of each run."""
    return logged(root, database) | logged_files(root, database, files)


def _fixed(clone: Path, environment: Environment = NOTHING) -> tuple[Done, float]:
    """`fix` by hand into the clone's folder `made`, and its seconds."""
    shutil.rmtree(clone / "made", ignore_errors=True)
    start = time.monotonic()
    done = work(clone, "fix", clone / "made", environment)
    return done, time.monotonic() - start


def _empty_folder(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _set_up(clone: Path) -> Path:
    """A database of MLflow's without runs, in its place."""
    line = "from mlflow import MlflowClient; MlflowClient(tracking_uri='sqlite:///mlflow.db').search_experiments()"
    run_in(clone, f'python -c "{line}"', ENVIRONMENT)
    return clone / OWN


def _changed(path: Path, *commands: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for each in commands:
            connection.execute(each)


@contextmanager
def _down(_: Path) -> Iterator[Environment]:
    yield {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}


@contextmanager
def _no_help(status: int, content: bytes, seconds: float, _: Path) -> Iterator[Environment]:
    with answering(status, content, seconds) as address:
        yield {"MLFLOW_TRACKING_URI": address}


@contextmanager
def _another_programs(clone: Path) -> Iterator[Environment]:
    _changed(clone / OWN, "create table customers (name)")
    yield {}
    (clone / OWN).unlink()


@contextmanager
def _newer(clone: Path) -> Iterator[Environment]:
    path = _set_up(clone)
    ours = path.read_bytes()
    _changed(path, "update alembic_version set version_num = 'f00dfeed0001'")
    yield {}
    path.write_bytes(ours)


@contextmanager
def _folder(clone: Path) -> Iterator[Environment]:
    (clone / OWN).mkdir()
    yield {}
    (clone / OWN).rmdir()


@contextmanager
def _files_are_one(clone: Path) -> Iterator[Environment]:
    (clone / OWN_FILES).touch()
    yield {}
    (clone / OWN_FILES).unlink()


@contextmanager
def _locked(clone: Path) -> Iterator[Environment]:
    with closing(sqlite3.connect(_set_up(clone), isolation_level=None)) as other:
        other.execute("begin exclusive")
        yield {}


@contextmanager
def _held(clone: Path) -> Iterator[Environment]:
    with FileLock(f"{_set_up(clone)}.lock"):
        yield {}


@contextmanager
def _half_set_up(clone: Path) -> Iterator[Environment]:
    _changed(_set_up(clone), "update alembic_version set version_num = '451aebb31d03'", "drop table spans")
    yield {}


@contextmanager
def _text(clone: Path) -> Iterator[Environment]:
    (clone / OWN).write_text("not a database " * 100)
    yield {}


@contextmanager
def _cut(clone: Path) -> Iterator[Environment]:
    path = _set_up(clone)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    yield {}


@contextmanager
def _hole(clone: Path) -> Iterator[Environment]:
    path = _set_up(clone)
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\xaa" * 65536 + content[8192 + 65536 :])
    yield {}


# What is told, and waited for: nothing is logged in it.
NO_HELP: Mapping[str, State] = {
    "a server that is down": _down,
    "a server that answers after 30 s": partial(_no_help, 200, b"", 30.0),
    "a server that answers 500": partial(_no_help, 500, b'{"error_code": "INTERNAL_ERROR"}', 0.0),
    "a server that answers with a page": partial(_no_help, 200, b"<html>Sign in</html>", 0.0),
    "a server that answers with an empty object": partial(_no_help, 200, b"{}", 0.0),
    "a server that answers with brackets without end": partial(_no_help, 200, b"[" * 500_000, 0.0),
    "a server that asks who one is": partial(_no_help, 401, b"who are you?", 0.0),
    "a database of another program": _another_programs,
    "a database of a newer MLflow": _newer,
    "a folder in the place of the database": _folder,
    "a file in the place of the artifacts": _files_are_one,
    "a database that another process writes": _locked,
    "a lock that another process holds": _held,
}
# What is set aside: everything is logged anew.
MENDED: Mapping[str, State] = {
    "a database that is half set up, as a full disk leaves it": _half_set_up,
    "a database that is a text": _text,
    "a database that is cut short": _cut,
    "a database with a hole": _hole,
}
