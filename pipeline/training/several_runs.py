"""Work of several runs, each of which is kept once it is done: a killed command makes the others alone."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from pipeline.base.errors import InputError
from pipeline.base.kept import FOLDER, begin, end
from pipeline.base.results import METRICS, repository, there, write_files
from pipeline.training.checkpoint import alone, checkpoint_name, why


class Runs:
    """The runs of a piece of work that makes several, each in a folder of its own inside of `kept`.

    From the first one on that cannot be written there, they are made inside of `beside`.
    """

    def __init__(self, kept: Path, beside: Path, fabric: Fabric) -> None:
        self._kept, self._beside, self._fabric = kept, beside, fabric
        self._folder, problem = kept, ""
        try:
            if fabric.is_global_zero:
                kept.mkdir(exist_ok=True)
        except OSError as error:
            problem = why(error)
        self._go_on(problem)

    def make(self, name: str, work: Callable[[Path], None]) -> Path:
        """The folder of a run; `work` writes it, into the folder that it is given, where that has not been done.

        It has its name once it is complete. One that could not be kept is made a second time, one that is damaged anew.
        """
        if self._fabric.broadcast(self._fabric.is_global_zero and self._is_whole(name)):
            return self._kept / name
        if not self._made(name, work):
            self._made(name, work)
        return self._folder / name

    def _is_whole(self, name: str) -> bool:
        """Whether a run has been kept, as it was made; a damaged one is set aside."""
        folder, problem = self._kept / name, "not what was written"
        if not there(folder):
            return False
        try:
            if (self._kept / _digest_name(name)).read_bytes() == _digest(folder):
                return True
        except OSError as error:
            problem = why(error)
        aside = self._kept / f".{name}.damaged"
        try:
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
            done = f"set aside as {aside.name}"
        except OSError as error:  # the new one comes beside
            done = f"it cannot be set aside ({error.strerror})"
        print(f"warning: {folder}: damaged ({problem}); {done}, it is made anew", file=sys.stderr, flush=True)
        return False

    def _made(self, name: str, work: Callable[[Path], None]) -> bool:
        unfinished, problem = self._folder / f".{name}", ""
        try:
            work(unfinished)
            if self._fabric.is_global_zero:
                if self._folder == self._kept:
                    write_files(self._kept, {_digest_name(name): _digest(unfinished)})
                unfinished.rename(self._folder / name)
        except OSError as error:  # of what the work reads, or where nothing is kept: not for another folder to mend
            if self._folder == self._beside or self._kept not in Path(error.filename or "").parents:
                raise
            problem = why(error)
            shutil.rmtree(unfinished, ignore_errors=True)
        return self._go_on(problem)

    def _go_on(self, problem: str) -> bool:
        """Whether the first process has met no problem with what is kept; else the next runs are made elsewhere."""
        problem = self._fabric.broadcast(problem)
        if problem:
            self._folder = self._beside
            if self._fabric.is_global_zero:
                print(f"warning: no run can be kept ({problem}); the work goes on", file=sys.stderr, flush=True)
                self._beside.mkdir(parents=True, exist_ok=True)
        return not problem


@contextmanager
def several_runs(fabric: Fabric, out: Path, settings: Mapping[str, Any], inputs: Sequence[Path]) -> Iterator[Runs]:
    """The runs of the work inside: kept with the checkpoints until all are there, then moved to `out`.

    What is in `out` stays until all of them lie beside it. Raises InputError where that is anything but runs.
    """
    kept, out = repository() / FOLDER / f"{checkpoint_name(settings, inputs)}.runs", out.resolve()
    beside = out.with_name(f".{out.name}.new")
    _check_only_runs(out)
    with alone(fabric, kept):
        try:
            if fabric.is_global_zero:
                begin(kept)
                shutil.rmtree(beside, ignore_errors=True)  # of a command that was killed
            yield Runs(kept, beside, fabric)
            if fabric.is_global_zero:
                _copy(kept, beside)
                _replace(out, beside)
                end(kept)
            fabric.barrier()
        finally:
            if fabric.is_global_zero:
                shutil.rmtree(beside, ignore_errors=True)


def _digest_name(run: str) -> str:
    """Of the file beside a run that says what was written: of what a disk has made of it, nothing else would tell."""
    return f".{run}.sha256"


def _digest(folder: Path) -> bytes:
    """Of the names and the contents of all files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest.update(os.fsencode(path.relative_to(folder)) + b"\n" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest().encode()


def _check_only_runs(out: Path) -> None:
    """All that is there will be replaced, so that it must not be a person's."""
    others = [path.name for path in out.iterdir() if not (path / METRICS).exists()] if out.is_dir() else []
    if others:
        raise InputError(f"{out}: holds {others[0]}, which is no run; allowed: a folder with nothing but runs, or none")


def _copy(kept: Path, beside: Path) -> None:
    """Every run that has been kept, without room for it where the disk is the same."""
    beside.mkdir(parents=True, exist_ok=True)
    for run in [path for path in kept.glob("*") if path.is_dir() and not path.name.startswith(".")]:
        if not (beside / run.name).exists():  # one that could not be kept
            shutil.copytree(run, beside / run.name, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # to another disk
        write_files(Path(target).parent, {Path(target).name: Path(source).read_bytes()})


def _replace(out: Path, new: Path) -> None:
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    new.rename(out)
    shutil.rmtree(old, ignore_errors=True)
