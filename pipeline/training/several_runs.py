"""Work of several runs, each of which is kept once it is done: a killed command makes the others alone."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from pipeline.base.results import repository, write_files
from pipeline.training.checkpoint import FOLDER, alone, checkpoint_name, why


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

        It has its name once it is complete. One that could not be kept is made a second time.
        """
        for folder in (self._kept, self._beside):
            if (folder / name).exists():
                return folder / name
        if not self._made(name, work):
            self._made(name, work)
        return self._folder / name

    def _made(self, name: str, work: Callable[[Path], None]) -> bool:
        unfinished, problem = self._folder / f".{name}", ""
        try:
            work(unfinished)
            if self._fabric.is_global_zero:
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

    What is in `out` stays until all of them lie beside it.
    """
    kept, out = repository() / FOLDER / f"{checkpoint_name(settings, inputs)}.runs", out.resolve()
    beside = out.with_name(f".{out.name}.new")
    with alone(fabric, kept):
        try:
            if fabric.is_global_zero:
                shutil.rmtree(beside, ignore_errors=True)  # of a command that was killed
            yield Runs(kept, beside, fabric)
            if fabric.is_global_zero:
                _move(kept, beside, out)
            fabric.barrier()
        finally:
            if fabric.is_global_zero:
                shutil.rmtree(beside, ignore_errors=True)


def _move(kept: Path, beside: Path, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        kept.rename(beside)
    except OSError:  # from another disk, or to runs that could not be kept
        for path in [path for path in kept.rglob("*") if path.is_file()]:
            write_files((beside / path.relative_to(kept)).parent, {path.name: path.read_bytes()})
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    beside.rename(out)
    for done in (old, kept):
        shutil.rmtree(done, ignore_errors=True)
