"""Checkpoints of unfinished work: a killed command goes on where it was when it is run again.

They lie outside of DVC's outputs, which DVC deletes before a run, in a folder named after everything that decides the
result; so work that differs in anything starts afresh. They are written whole or not at all, and removed at success;
those of a stage of DVC's some time after it, since only then has DVC taken up what the stage has made.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric

from pipeline.base.errors import InputError, asked_to_stop, first_line
from pipeline.base.kept import FOLDER, begin, end
from pipeline.base.results import repository, there, write_files

STATE, BEFORE = "state.pt", "state.before.pt"  # its digest, then what torch wrote; the one before
DIGEST_BYTES = 32
# An epoch that ends sooner after the last checkpoint is not worth one.
SECONDS_BETWEEN = 30.0
WAITS = 10.0  # seconds for another process at the same work, before this one's processes hear of each other
CODE = Path(__file__).parents[2]
PACKAGES = ("wfn", "pipeline", "stages")
NOT_DECIDING = {CODE / "pipeline" / "watching", CODE / "wfn" / "packed"}


def checkpoint_name(settings: Mapping[str, Any], inputs: Sequence[Path]) -> str:
    """A name for work with these settings, input files, code and version of torch."""
    digest = hashlib.sha256(json.dumps([settings, torch.__version__], sort_keys=True).encode())
    for path in [*inputs, *code_files()]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def code_files() -> list[Path]:
    """The files of this project that this process has loaded, but for those that decide no result."""
    loaded = {Path(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}
    packages = [CODE / package for package in PACKAGES]
    ours = {path for path in loaded if any(package in path.parents for package in packages)}
    return sorted(path for path in ours if NOT_DECIDING.isdisjoint(path.parents))


def read_state(path: Path) -> dict[str, Any]:
    """What a checkpoint holds: tensors and plain values. Raises ValueError and others for a file that is not whole."""
    content = path.read_bytes()
    if hashlib.sha256(content[DIGEST_BYTES:]).digest() != content[:DIGEST_BYTES]:
        raise ValueError("its content is not what was written")
    return dict(torch.load(io.BytesIO(content[DIGEST_BYTES:]), map_location="cpu", weights_only=True))


class Checkpoint:
    """The checkpoint of one piece of work; `load` gives what `save` was last given."""

    def __init__(self, folder: Path, fabric: Fabric) -> None:
        self._folder, self._fabric = folder, fabric
        self._saved_at = time.monotonic()
        self._unsaved: dict[str, Any] | None = None

    def load(self) -> dict[str, Any] | None:
        """The state where the work was broken off; None where it has not begun. Every process reads it.

        A damaged one is set aside: the work goes on from the one before, or begins anew.
        """
        for path in [path for path in (self._folder / STATE, self._folder / BEFORE) if there(path)]:
            try:
                return read_state(path)
            except Exception as error:  # whatever a damaged file makes of the unpickler
                self._fabric.barrier()  # every process has seen it
                before = path.name == STATE and there(self._folder / BEFORE)
                instead = "the one before it is used" if before else "the work begins anew"
                if self._fabric.is_global_zero:
                    print(f"warning: {path}: damaged ({first_line(error)}); {_aside(path)}, {instead}", file=sys.stderr)
        return None

    def keep(self, state: Mapping[str, Any]) -> None:
        """Save a state, if the last one is old enough; else have it at hand for `save_now`."""
        if time.monotonic() - self._saved_at >= SECONDS_BETWEEN:
            self.save(state)
        elif self._fabric.is_global_zero:
            self._unsaved = copy.deepcopy(dict(state))

    def save_now(self) -> None:
        """Save what has been kept since the last time, where the work is broken off."""
        if self._unsaved is not None:
            self.save(self._unsaved)

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep tensors and plain values; the first process writes. What cannot be written ends no training."""
        if self._fabric.is_global_zero:
            content = io.BytesIO()
            torch.save(dict(state), content)
            digest = hashlib.sha256(content.getvalue()).digest()  # torch reads changed bits without a word
            try:
                self._keep_the_last()
                self.write(STATE, digest + content.getvalue())
            except OSError as error:
                kept = "the one before is kept" if there(self._folder / STATE) else "there is none yet"
                print(f"warning: no checkpoint ({why(error)}); {kept}, the work goes on", file=sys.stderr, flush=True)
        self._saved_at, self._unsaved = time.monotonic(), None

    def _keep_the_last(self) -> None:
        """Under a second name, for the day on which a disk has damaged the new one."""
        link = self._folder / f"{BEFORE}.new"
        with suppress(OSError):  # there is none, or a disk that knows no links
            link.unlink(missing_ok=True)
            link.hardlink_to(self._folder / STATE)
            link.replace(self._folder / BEFORE)

    def write(self, name: str, content: bytes) -> Path:
        """Put a file beside the checkpoint, as the first process does; returns its place."""
        if self._fabric.is_global_zero:
            write_files(self._folder, {name: content})
        return self._folder / name


@contextmanager
def resumable(fabric: Fabric, settings: Mapping[str, Any], inputs: Sequence[Path]) -> Iterator[Checkpoint]:
    """The checkpoint of the work inside, which is removed when that has ended well."""
    folder = repository() / FOLDER / checkpoint_name(settings, inputs)
    with alone(fabric, folder):
        checkpoint = Checkpoint(folder, fabric)
        if fabric.is_global_zero:
            begin(folder)
        try:
            yield checkpoint
            if fabric.is_global_zero:
                end(folder)
        except BaseException as error:
            if asked_to_stop(error) or not isinstance(error, InputError):
                checkpoint.save_now()
            raise


def _aside(path: Path) -> str:
    """Put a file aside that is not to be read again; in words."""
    try:
        return f"set aside as {path.replace(path.with_suffix('.damaged')).name}"
    except OSError as error:
        return f"it cannot be set aside ({error.strerror})"


@contextmanager
def alone(fabric: Fabric, folder: Path) -> Iterator[None]:
    """Inside, no other command is at the work that this folder is for: one that comes second waits, and says so.

    It may be another queued experiment that shares a stage with this one, or what a killed command has left running.
    """
    lock, said = FileLock(f"{folder}.lock"), False
    while not fabric.broadcast(fabric.is_global_zero and _taken(lock, WAITS if said else 0.0)):
        if not said and fabric.is_global_zero:
            print(f"waiting for another process that does this work already: {lock.lock_file}", file=sys.stderr)
        said = True
    try:
        yield
    finally:
        if lock.is_locked:
            Path(lock.lock_file).unlink(missing_ok=True)  # while it is held: who waits for this file tries a new one
            lock.release()


def _taken(lock: FileLock, seconds: float) -> bool:
    try:
        Path(lock.lock_file).parent.mkdir(exist_ok=True)
        lock.acquire(timeout=seconds)
    except Timeout:
        return False
    except OSError as error:  # where nothing can be kept, the work goes on as it does without a checkpoint
        print(f"warning: no checkpoints ({why(error)}); the work goes on", file=sys.stderr)
    return True


def why(error: OSError) -> str:
    """The file and the reason, or the first line of what was said."""
    return f"{error.filename}: {error.strerror}" if error.filename else first_line(error)


def random_states() -> dict[str, Any]:
    """torch's own random states, of the CPU and of every GPU."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def set_random_states(states: Mapping[str, Any]) -> None:
    """Put back what `random_states` gave; those of GPUs where there are as many of them."""
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
