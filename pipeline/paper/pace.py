"""How long an epoch takes here, tried for seconds before days begin: `pipeline.paper.trial` in a process of its own.

The memory that a trial takes, a GPU's above all, is free again when training begins.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.base.limits import cores
from pipeline.base.settings import Hardware, Settings
from pipeline.paper.plan import TRAIN

PICTURES = 500
LONGEST = 300.0  # seconds of a trial; a large network on a CPU, or torch.compile, takes minutes to begin


class Pace(NamedTuple):
    """Seconds an image. step: of training, forward, backward and Adam. reading: in one process, from file to tensor."""

    step: float
    reading: float

    def an_image(self, hardware: Hardware, on_cpu: bool) -> float:
        """Seconds an image of an epoch, by all processes that train, each with those that read for it.

        They read while a GPU trains; on a CPU they need its cores, all of which one step was tried with.
        """
        readers = min(cores(), max(1, hardware.workers) * hardware.devices) * hardware.nodes
        step, reading = self.step / (hardware.nodes if on_cpu else hardware.processes), self.reading / readers
        return step + reading if on_cpu or hardware.workers == 0 else max(step, reading)


class Trial(NamedTuple):
    """seconds: an image of an epoch of plain training. pace: what that is made of. said: a line about it.

    Both are None where it could not be tried.
    """

    seconds: float | None
    pace: Pace | None
    said: str


def pictures_of(root: Path, classes: Sequence[str]) -> list[Path]:
    """Training pictures of as many classes as there may be, others each time: those of before are in memory.

    And other files, if there are any among them.
    """
    chosen = random.sample(classes, min(len(classes), PICTURES))
    found = []
    for name in chosen:
        paths = [each for each in (root / TRAIN / name).iterdir() if each.is_file()]
        found += random.sample(paths, min(len(paths), PICTURES // len(chosen)))
    return found


def try_out(settings: Settings, pictures: Sequence[Path], reading: float | None) -> Trial:
    """Train on noise, and read the pictures unless it is known how long one takes; raises nothing that is met there."""
    asked = {
        "settings": settings.model_dump(mode="json"),
        "pictures": [str(each) for each in pictures] if reading is None else None,
    }
    line = [sys.executable, "-m", "pipeline.paper.trial", str(round(LONGEST))]
    done = subprocess.run(line, input=json.dumps(asked), capture_output=True, text=True, errors="replace", check=False)
    try:
        found = json.loads(done.stdout.splitlines()[-1])
        pace = Pace(float(found["step"]), float(found["reading"]) if reading is None else reading)
        device = found["device"]
    except (IndexError, KeyError, TypeError, ValueError):  # the training itself will meet it, and say more
        return Trial(None, None, f"{settings.model.name}: not tried ({_why(done)})")
    seconds = pace.an_image(settings.hardware, device == "cpu")
    return Trial(
        seconds,
        pace,
        f"{settings.model.name}: an image takes {1000 * pace.step:.3g} ms to train on ({device}) and "
        f"{1000 * pace.reading:.3g} ms to read, which makes {1 / seconds:,.3g} images a second",
    )


def _why(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode == -signal.SIGALRM:
        return f"it takes longer than {LONGEST / 60:.0f} minutes"
    if done.returncode < 0:
        return f"ended by {signal.Signals(-done.returncode).name}"
    return (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
