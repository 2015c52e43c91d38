"""Disks that are full, folders that cannot be written, limits to a file's size: at every write of every stage.

A stage that cannot write ends in one line and leaves what was there; a checkpoint that cannot be written is a warning;
`track`, whose results DVC has, says what was not logged. With room again, each makes what it would have made.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.faults.finding import Bench, Finding
from benchmarks.faults.project import (
    STAGES,
    differences,
    forget,
    fresh,
    last_line,
    logged,
    not_as_made,
    undisturbed,
    work,
)
from tests.clones import copy_clone, files_of

TITLE = "Disks"
WRITING = tuple(stage for stage in STAGES if stage != "track")
KEEPING = ("pretrain", "fix", "explore", "quantise@apot-3")  # stages with checkpoints
PAGE = 4096  # bytes; what a file takes on a tmpfs at least


def run(bench: Bench) -> Iterator[Finding]:
    """Every stage: limits to a file's size, disks of several sizes, a read-only folder, no room for checkpoints."""
    clone = fresh(bench, "disks")
    for stage in WRITING:
        yield from of_stage(clone, stage, bench.tries)
    yield tracking(clone)
    if can_mount(clone):
        yield full_disk_of_track(clone, bench.tries)
    else:
        yield Finding("Small and read-only disks", 0, note="not tried: no right to mount one here")


def of_stage(clone: Path, stage: str, tries: int) -> Iterator[Finding]:
    """One stage; without the right to mount disks, limits alone."""
    yield limited(clone, stage)
    if can_mount(clone):
        yield full(clone, stage, tries)
        yield read_only(clone, stage)
        if stage in KEEPING:
            yield no_checkpoints(clone, stage)


def limited(clone: Path, stage: str) -> Finding:
    """A limit just below the size of each file that the stage makes, over outputs that are there."""
    made = undisturbed(clone, stage)
    out = clone / "limited"
    sizes = sorted({path.stat().st_size for path in made.rglob("*") if path.is_file()} - {0})
    faults = []
    for size in sizes:
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(made, out)
        done = work(clone, stage, out, preexec_fn=partial(_limit, size - 1))
        # A file that is new each time may be a few bytes shorter.
        fault = not_as_made(done, made, out) if done.returncode == 0 else _refused(done, made, out)
        faults += [f"{size - 1:,} bytes: {fault}"] if fault else []
    faults += _then(clone, stage, out, made)
    return Finding(f"A limit to a file's size below that of each file of `{stage}`", len(sizes) + 1, faults)


def full(clone: Path, stage: str, tries: int) -> Finding:
    """Disks from nothing to almost all that the outputs need."""
    made = undisturbed(clone, stage)
    needed = sum(-(-path.stat().st_size // PAGE) * PAGE for path in made.rglob("*") if path.is_file())
    faults = []
    for number in range(tries):
        size = max(needed * number // tries // PAGE, 1) * PAGE
        with mounted(clone / "full", f"size={size}"):
            done = work(clone, stage, clone / "full" / "out")
            fault = _refused(done, None, clone / "full" / "out")
            faults += [f"{size:,} bytes: {fault}"] if fault else []
    with mounted(clone / "full", f"size={4 * needed + (1 << 20)}"):
        faults += _then(clone, stage, clone / "full" / "out", made)
    return Finding(f"A disk that is full in `{stage}`", tries + 1, faults, f"up to {needed:,} bytes")


def read_only(clone: Path, stage: str) -> Finding:
    """A folder in which nothing can be made."""
    with mounted(clone / "full", "ro,size=1m"):
        fault = _refused(work(clone, stage, clone / "full" / "out"), None, clone / "full" / "out")
    return Finding(f"A read-only folder for `{stage}`", 1, [fault] if fault else [])


def no_checkpoints(clone: Path, stage: str) -> Finding:
    """No room and no right to keep unfinished work: a warning, and the same outputs."""
    made, faults = undisturbed(clone, stage), []
    for options in (f"size={PAGE}", "ro,size=1m"):
        out = clone / "unkept"
        shutil.rmtree(out, ignore_errors=True)
        with mounted(clone / ".ckpt", options):
            fault = not_as_made(work(clone, stage, out), made, out)
            faults += [f"{options}: {fault}"] if fault else []
    return Finding(f"No room, or no right, for checkpoints of `{stage}`", 2, faults)


def tracking(clone: Path) -> Finding:
    """MLflow's database and artifacts under limits to a file's size; the next `track` brings everything."""
    before, faults = logged(clone), []
    limits = (1, 100_000, 400_000, 600_000)
    for limit in limits:
        forget(clone, "track")
        done = work(clone, "track", None, preexec_fn=partial(_limit, limit))
        if done.returncode or "Traceback" in done.stderr:
            faults.append(f"{limit:,} bytes: exit code {done.returncode}: {last_line(done)}")
        elif "could not be logged" not in done.stdout and (clone / "mlflow.db").stat().st_size >= limit:
            faults.append(f"{limit:,} bytes: says {last_line(done)}")
        again = work(clone, "track", None)
        if again.returncode or differences(before, logged(clone)):
            faults.append(f"{limit:,} bytes, then room: {last_line(again)}")
    return Finding("A limit to a file's size in `track`", 2 * len(limits), faults)


def full_disk_of_track(clone: Path, tries: int) -> Finding:
    """The clone itself on a disk that is full for `track`, from nothing to almost all that MLflow needs."""
    before = logged(clone)
    faults: list[str] = []
    paths = [path for path in [*clone.glob("mlflow.db*"), *(clone / "mlartifacts").rglob("*")] if path.is_file()]
    needed = sum(-(-path.stat().st_size // PAGE) * PAGE for path in paths)
    whole = sum(path.lstat().st_size + PAGE for path in clone.rglob("*"))
    with mounted(clone.with_name("small"), f"size={whole + 4 * needed + (64 << 20)}"):
        small = clone.with_name("small") / "clone"
        copy_clone(clone, small)
        for number in range(tries):
            forget(small, "track")
            room = needed * number // tries
            with filled(small.parent, room):
                done = work(small, "track", None)
            if done.returncode or "Traceback" in done.stderr or "could not be logged" not in done.stdout:
                faults.append(f"{room:,} bytes: ended with {done.returncode}: {last_line(done)}")
            again = work(small, "track", None)
            if again.returncode or differences(before, logged(small)):
                faults.append(f"{room:,} bytes, then room: {last_line(again)}")
    return Finding("A disk that is full in `track`", 2 * tries, faults, f"up to {needed:,} bytes")


@contextmanager
def filled(folder: Path, room: int) -> Iterator[None]:
    """A disk with so many bytes of room."""
    state, path = os.statvfs(folder), folder / "filler"
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(state.f_bavail * state.f_frsize - room, PAGE))
    yield
    path.unlink()


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A disk of its own, in memory, at a folder."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def can_mount(clone: Path) -> bool:
    """Whether this process may mount a disk."""
    try:
        with mounted(clone / "full", "size=1m"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def _limit(size: int) -> None:
    """No file may grow beyond a size, in this process; a write that would is an error and no signal."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _refused(done: subprocess.CompletedProcess[str], there: Path | None, out: Path) -> str:
    """What is wrong with how a stage ended that cannot write; nothing where it ended as it must."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if done.returncode != 2 or len(errors) != 1 or "Traceback" in done.stderr:
        return f"exit code {done.returncode}: {last_line(done)}"
    if there is not None and differences(files_of(there), files_of(out)):
        return "what was there is not the same any more"
    if there is None and out.exists() and any(out.iterdir()):
        return f"half an output: {', '.join(sorted(path.name for path in out.iterdir())[:3])}"
    left = [path.name for path in out.parent.glob("*") if path.name.startswith((".", f"{out.name}."))]
    return f"left over: {left[0]}" if there is None and left else ""


def _then(clone: Path, stage: str, out: Path, made: Path) -> list[str]:
    fault = not_as_made(work(clone, stage, out), made, out)
    return [f"with room again: {fault}"] if fault else []
