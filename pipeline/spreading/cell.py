"""One stage on a worker: in a clone of the worker's own at the same commit, as `dvc repro --single-item`.

A worker has this project's packages but may not have this project: this module is sent to it, and imports none of ours.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

# Of the machine or the engine that began this process, and not for a stage: Lightning would take Slurm's for its own.
NOT_FOR_STAGES = ("RAY_", "SLURM_", "SBATCH_", "DVC_", "OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
DVC_SAYS = "ERROR: failed to reproduce"  # which stage has failed, after that has said why
MOMENT = 0.2  # seconds
# Runs a command, tells what it prints, and ends it once who has asked for it is gone, which closes the pipe to it.
# Not before the end of what it prints: it may not die of words that nobody reads any more.
ATTACHED = """
import os, signal, subprocess, sys, threading
process = subprocess.Popen(
    sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    start_new_session=True, close_fds=False,
)
def watch():
    os.read(0, 1)
    os.killpg(process.pid, signal.SIGTERM)
threading.Thread(target=watch, daemon=True).start()
while words := os.read(process.stdout.fileno(), 65536):
    try:
        os.write(1, words)
    except BrokenPipeError:
        pass
sys.exit(process.wait() & 255)
"""
# Between the two, for Ray kills every child of a worker that ends, and what is in the worker's group of processes: a
# child's child in another group it leaves alone.
CHILD = ("sh", "-c", '"$@"; exit $?', "sh")


@dataclass(frozen=True)
class Source:
    """What every cell of a sweep begins with.

    clone: the one that the sweep was started in; workers see it where `bundle` is None. bundle: its commit, as `git
    bundle` writes it. folder: where a worker keeps clones of its own. config: DVC's settings there, the cache or the
    remote among them. environment: variables for the stages. versions: of Python and of packages, as they must be.
    """

    commit: str
    clone: Path
    bundle: bytes | None
    folder: Path
    config: str
    environment: Mapping[str, str]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Cell:
    """A stage to make. locked: entries of dvc.lock, as far as there are any, of the stages whose results it reads."""

    stage: str
    locked: Mapping[str, Any]


class News(NamedTuple):
    """Of a cell that is at work: that a machine has begun it, or a line that its stage has printed."""

    stage: str
    begun: bool
    text: str


class Outcome(NamedTuple):
    """entry: the stage's in dvc.lock if it was made; error: else why not. refused: if that machine can make none."""

    stage: str
    entry: Any = None
    error: str = ""
    refused: bool = False


class _FailedError(Exception):
    """What a command had to say when it ended badly."""


def work(source: Source, cell: Cell, tell: Callable[[News], None], before: Sequence[Outcome]) -> Outcome:
    """Make the stage of a cell; raises nothing that a person can mend.

    before: of the cells that it waits for.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        # By it Ray interrupts a task; what is begun in a shell's background, a cluster too, ignores it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    failed = [each.stage for each in before if each.error]
    if failed:
        return Outcome(cell.stage, error=f"needs {', '.join(failed)}")
    refusal = differences(source)
    if refusal:
        return Outcome(cell.stage, error=refusal, refused=True)
    tell(News(cell.stage, True, socket.gethostname()))
    try:
        with _own_clone(source) as (clone, lock):

            def dvc(*words: str) -> None:
                for line in _lines_of([sys.executable, "-m", "dvc", *words], clone, source.environment, lock):
                    tell(News(cell.stage, False, line))

            far = source.bundle is not None
            reads = {**cell.locked, **{each.stage: each.entry for each in before}}
            # JSON is YAML in which no text can be taken for a number.
            (clone / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": reads}))
            with _restored(clone, cell.stage, reads) as missing:
                if missing:
                    dvc("pull" if far else "checkout", "--quiet", *missing)
            dvc("repro", *(["--pull"] if far else []), "--single-item", cell.stage)
            if far:
                dvc("push", "--quiet", "--run-cache", cell.stage)
            return Outcome(cell.stage, _entry(clone, cell.stage))
    except (_FailedError, OSError) as error:
        return Outcome(cell.stage, error=str(error))


def differences(source: Source) -> str:
    """Why no stage can be made on this machine, naming it; empty where all is as it must be."""
    found = {"Python": python()}
    for name in source.versions.keys() - found.keys():
        try:
            found[name] = release(version(name))
        except PackageNotFoundError:
            found[name] = "missing"
    other = [
        f"{name} {found[name]} in place of {needed}"
        for name, needed in sorted(source.versions.items())
        if found[name] != needed
    ]
    if shutil.which("git") is None:
        other.append("git missing")
    if source.bundle is None and not source.clone.is_dir():
        other.append(f"no folder {source.clone}, which all machines must see unless --remote is given")
    return f"{socket.gethostname()}: {', '.join(other)}" if other else ""


def python() -> str:
    """The version of Python, without what changes no result."""
    return ".".join(map(str, sys.version_info[:2]))


def release(name: str) -> str:
    """A version without what is built in: that of PyTorch names the kind of GPU behind a plus."""
    return name.partition("+")[0]


@contextmanager
def _own_clone(source: Source) -> Iterator[tuple[Path, int]]:
    """A clone at the commit in which nothing else is at work, and the lock that says so, to be held by all who are."""
    folder = source.folder.expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        clone = folder / f"{socket.gethostname()}-{number}"
        lock = os.open(f"{clone}.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        try:
            try:
                _bring_up(clone, source)
            except _FailedError:  # what a killed process has left
                shutil.rmtree(clone)
                _bring_up(clone, source)
            yield clone, lock
        finally:
            os.close(lock)
        return


def _bring_up(clone: Path, source: Source) -> None:
    """Bring a clone, which may not be there yet, to the commit, with DVC's settings; raises _FailedError."""
    if not (clone / ".git").exists():
        clone.mkdir(exist_ok=True)
        _git(clone, "init", "--quiet")
    if _git(clone, "rev-parse", "--revs-only", "HEAD") != source.commit:
        if source.bundle is None:
            _git(clone, "fetch", "--quiet", "--no-tags", "--depth=1", source.clone.as_uri(), source.commit)
        else:
            with NamedTemporaryFile(dir=clone.parent) as bundle:
                bundle.write(source.bundle)
                bundle.flush()
                _git(clone, "fetch", "--quiet", "--no-tags", bundle.name, "HEAD")
        _git(clone, "checkout", "--quiet", "--force", "--detach", source.commit)
    (clone / ".dvc" / "config.local").write_text(source.config)
    (clone / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)  # of a DVC that was killed


@contextmanager
def _restored(clone: Path, stage: str, reads: Mapping[str, Any]) -> Iterator[list[str]]:
    """Which of the stages that another one reads do not lie in the clone yet, with these entries of dvc.lock.

    Inside, they are brought; afterwards the clone knows what it has. Starting DVC for nothing takes seconds.
    """
    note = clone / ".dvc" / "tmp" / "restored.json"
    try:
        there = json.loads(note.read_text())
    except (OSError, ValueError):  # not there, or cut short
        there = {}
    yield [each for each, entry in reads.items() if there.get(each) != entry]
    note.parent.mkdir(exist_ok=True)
    there.pop(stage, None)  # is made anew now
    note.write_text(json.dumps(there | dict(reads)))


def _git(clone: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=clone, capture_output=True, text=True, check=False)
    if done.returncode:
        raise _FailedError(f"git {words[0]}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip()


def _lines_of(command: Sequence[str], clone: Path, environment: Mapping[str, str], lock: int) -> Iterator[str]:
    """Run a command in a clone, line by line; it ends with this process, or when no more lines are asked for.

    Raises _FailedError with the last line, where it ends badly; not with DVC's, which says that the stage failed.
    """
    own = {key: value for key, value in os.environ.items() if not key.startswith(NOT_FOR_STAGES)}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    # The clone in which the sweep was started logs every run, in one place, once it has all of them.
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{clone / 'mlflow.db'}"}
    last = ""
    with subprocess.Popen(
        [*CHILD, sys.executable, "-c", ATTACHED, *command],
        cwd=clone, env=own | store | {"PATH": path, "PYTHONUNBUFFERED": "1"} | dict(environment),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True, pass_fds=[lock],
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        lines: SimpleQueue[str] = SimpleQueue()
        with ThreadPoolExecutor(1) as reader:
            reading = reader.submit(_read, process.stdout, lines)
            try:
                while not (reading.done() and lines.empty()):
                    with suppress(Empty):
                        line = lines.get(timeout=MOMENT)
                        last = last if last and line.startswith(DVC_SAYS) else line.strip() or last
                        yield line
            finally:
                process.stdin.close()  # it is still read to its end: who is stopped has a checkpoint to write first
    if process.returncode:
        raise _FailedError(last or f"{' '.join(command[1:])} ended with {process.returncode}")


def _read(stream: Iterable[str], lines: SimpleQueue[str]) -> None:
    """Apart from who takes them: a stop by Ray is met between two lines of Python, and not while it waits for these."""
    for line in stream:
        lines.put(line)


def _entry(clone: Path, stage: str) -> Any:
    """What dvc.lock says of a stage; read as DVC does, for whom other words are texts than for PyYAML."""
    from dvc.utils.serialize import load_yaml

    return load_yaml(str(clone / "dvc.lock"))["stages"][stage]
