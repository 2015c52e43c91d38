"""Files of a run: written whole or not at all, and read back without torch.

A run folder holds metrics.json (headline numbers), settings.json (what made it), iterations.csv (one row per round or
epoch), timing.json (seconds and the machine, which differ from run to run) and model.safetensors. The baseline's has
layers.csv (one row per parameter) and examples.png (training pictures as the network sees them) too; that of a network
with few values has centres.csv (one row per value of a fixed network) or codebooks.csv (that of any other method's).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.base.errors import InputError, first_line

WRITING = ".writing-"  # begins the name of a folder of files that are not complete
LEFT_AFTER = 86400.0  # seconds after which nobody writes them any more
CARD = "card.json"  # of a data set
EXAMPLES = "examples.png"
METRICS, SETTINGS, TIMING, LAYERS, ITERATIONS, CENTRES, CODEBOOKS, WEIGHTS = (
    "metrics.json",
    "settings.json",
    "timing.json",
    "layers.csv",
    "iterations.csv",
    "centres.csv",
    "codebooks.csv",
    "model.safetensors",
)


@dataclass(frozen=True)
class Run:
    """One finished run as its folder tells it; None for a file that such a run does not have.

    seconds: wall time of the work itself, without start-up. images_per_second: of training. machine: that it ran on.
    """

    folder: Path
    metrics: dict[str, Any]
    settings: dict[str, Any]
    iterations: pd.DataFrame | None
    centres: pd.DataFrame | None
    seconds: float | None = None
    images_per_second: float | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)
    layers: pd.DataFrame | None = None


def run_key(stage: str, run: Run) -> str:
    """What identifies a result, in MLflow and on the page: the stage that made it, its settings and its metrics."""
    return hashlib.sha256(json.dumps([stage, run.settings, run.metrics], sort_keys=True).encode()).hexdigest()[:16]


def repository() -> Path:
    """The clone that keeps what outlives a run: DVC's own, also from the folder of a queued experiment."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def in_clone(path: Path) -> Path:
    """A path that a setting names: a relative one is of the clone, `~` is the home folder."""
    try:
        return repository() / path.expanduser()
    except RuntimeError:  # of a person whom this machine does not know
        return repository() / path


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all `files` (name -> content) into `folder`, replacing what is there only once all of them are complete.

    Raises OSError that names the file; nothing that was there before is then lost, and nothing half-written stays.
    """
    with all_or_nothing(folder) as staging:
        for name, content in files.items():
            try:
                with (staging / name).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:  # a full disk is reported without a name
                raise OSError(error.errno, error.strerror, str(folder / name)) from error


@contextmanager
def all_or_nothing(folder: Path) -> Iterator[Path]:
    """A place for files that come into `folder`, replacing what is there, only once all inside has ended well.

    What is written there and names its own place has to name the one in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{WRITING}*"):  # by a process that was killed
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFT_AFTER:
                shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=folder, prefix=WRITING) as made:
        staging = Path(made)
        yield staging
        for path in [path for path in staging.rglob("*") if path.is_file()]:
            place = folder / path.relative_to(staging)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)


def to_json(values: Mapping[str, Any]) -> bytes:
    """`values` as JSON for people and for diffs: indented, keys in the given order."""
    return (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()


def to_csv(frame: pd.DataFrame) -> bytes:
    """A frame as CSV; floats as the shortest text that reads back the same."""
    return frame.to_csv(index=False, lineterminator="\n").encode()


def timing(seconds: float, images: int, train_seconds: float, machine: Mapping[str, Any]) -> bytes:
    """The content of timing.json: wall time, images per second of training (None where there was none), machine."""
    speed = round(images / train_seconds, 1) if train_seconds else None
    return to_json({"seconds": round(float(seconds), 3), "images_per_second": speed, "machine": dict(machine)})


def read_run(folder: Path) -> Run:
    """A finished run.

    Raises FileNotFoundError where its metrics or settings are missing, InputError for a file that is damaged.
    """
    iterations, centres, layers = (read_csv(folder / name) for name in (ITERATIONS, CENTRES, LAYERS))
    times = read_json(folder / TIMING) if (folder / TIMING).exists() else {}
    return Run(
        folder=folder,
        metrics=read_json(folder / METRICS),
        settings=read_json(folder / SETTINGS),
        iterations=iterations,
        centres=centres,
        seconds=times.get("seconds"),
        images_per_second=times.get("images_per_second"),
        machine=times.get("machine", {}),
        layers=layers,
    )


def read_json(path: Path) -> dict[str, Any]:
    """A file that `to_json` made. Raises FileNotFoundError where there is none, InputError where it is damaged."""
    with reading(path):
        values: dict[str, Any] = json.loads(path.read_text())
        if not isinstance(values, dict):
            raise TypeError(f"holds {type(values).__name__}")
    return values


def read_csv(path: Path) -> pd.DataFrame | None:
    """A table that `to_csv` made, or None where there is none. Raises InputError where it is damaged."""
    if not path.exists():
        return None
    with reading(path):
        return pd.read_csv(path)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Inside, a file of ours is read: InputError, which names it, where it is not as it was written."""
    try:
        yield
    except (OSError, InputError):
        raise
    except Exception as error:  # whatever json, pandas and safetensors make of it
        problem = first_line(error)
        raise InputError(f"{path}: damaged ({problem}); `dvc checkout --force` or `dvc repro` makes it anew") from error


def there(path: Path) -> bool:
    """Whether there is something; also False where nobody may look."""
    try:
        return path.exists()
    except OSError:
        return False


def writable(folder: Path) -> Path:
    """The folder, which may not be there yet, if files can be written into it. Raises InputError otherwise.

    For a look before long work, not after it.
    """
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise InputError(f"{folder}: {there} is a file; allowed: a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: {there} may not be written to")
    return folder
