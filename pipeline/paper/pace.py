"""How fast this machine trains a network of the plan and reads its pictures, tried for seconds before days begin.

As a program it takes settings and paths on its standard input: the memory that it needs, a GPU's above all, is free
again when training begins.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

from pipeline.base.errors import InputError
from pipeline.base.settings import Hardware, Settings
from pipeline.data.images import Images
from pipeline.data.recipes import input_settings, transforms
from pipeline.network.build import build
from pipeline.paper.plan import TRAIN
from pipeline.training.device import backward, launch, set_up
from pipeline.training.loop import optimizer_for
from wfn.picture import plain

STEPS, PICTURES = 20, 500
SECONDS = 10.0  # that the steps, or the pictures, may take, after a first one that sets things up
AT_ONCE = 16  # images a step on a CPU, where each takes as long in a batch of any size


class Pace(NamedTuple):
    """Seconds an image. step: of training, forward, backward and Adam. reading: in one process, from file to tensor."""

    step: float
    reading: float

    def an_image(self, hardware: Hardware, on_cpu: bool) -> float:
        """Seconds an image of an epoch, by all processes that train, each with those that read for it.

        They read while a GPU trains; on a CPU they need its cores.
        """
        readers = min(os.cpu_count() or 1, max(1, hardware.workers) * hardware.processes)
        step, reading = self.step / hardware.processes, self.reading / readers
        return step + reading if on_cpu or hardware.workers == 0 else max(step, reading)


class Trial(NamedTuple):
    """seconds: an image of an epoch of plain training, None where it could not be tried. said: a line about it."""

    seconds: float | None
    said: str


def pictures_of(root: Path, classes: Sequence[str]) -> list[Path]:
    """The first training pictures of classes from all over the list, at most `PICTURES`."""
    each = -(-PICTURES // len(classes))
    chosen = classes[:: max(1, len(classes) // PICTURES)]
    found = ((path for path in (root / TRAIN / name).iterdir() if path.name[:1] != ".") for name in chosen)
    return [path for paths in found for path in islice(paths, each)][:PICTURES]


def try_out(settings: Settings, pictures: Sequence[Path]) -> Trial:
    """Train on noise, and read some of the pictures, in a process of its own. Raises nothing that is met there."""
    asked = json.dumps({"settings": settings.model_dump(mode="json"), "pictures": [str(each) for each in pictures]})
    line = [sys.executable, "-m", __name__]
    with subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            answer, said = process.communicate(asked)
        finally:
            process.kill()
    if process.returncode:  # the training itself will meet it, and say more
        why = (said.strip() or f"exit code {process.returncode}").splitlines()[-1]
        return Trial(None, f"{settings.model.name}: not tried ({why})")
    *pace, device = json.loads(answer.splitlines()[-1])
    step, reading = pace
    seconds = Pace(step, reading).an_image(settings.hardware, device == "cpu")
    return Trial(
        seconds,
        f"{settings.model.name}: an image takes {1000 * step:.3g} ms to train on ({device}) and {1000 * reading:.3g} "
        f"ms to read, which makes {1 / seconds:,.3g} images a second",
    )


def pace_of(settings: Settings, pictures: Sequence[Path]) -> tuple[Pace, str]:
    """The pace on one device of this machine, and that device."""
    alone = settings.hardware.model_copy(update={"devices": 1, "nodes": 1})
    fabric = launch(alone, settings.seed, settings.threads)
    model = build(settings.model.without_weights(), settings.seed)
    network = set_up(fabric, model.train(), alone)
    optimizer = optimizer_for(list(network.parameters()), settings.finetune)
    share = max(2, settings.finetune.batch_size // settings.hardware.processes)
    size = share if fabric.device.type != "cpu" else min(share, AT_ONCE)
    side = settings.data.pixels
    noise = torch.randn(size, settings.data.channels, side, side)
    batch = Images(noise, torch.arange(size) % settings.model.outputs).to(fabric.device)

    def step() -> None:
        optimizer.zero_grad()
        loss, _ = backward(fabric, network, batch, alone.accumulate if size == share else 1)
        optimizer.step()
        loss.item()  # waits for the device

    training, _ = transforms(settings.data, input_settings(settings.model))
    again = cycle(pictures)

    def read() -> None:
        with Image.open(next(again)) as image:
            training(plain(image, settings.data.channels)[0])

    steps = _seconds(step, STEPS) / size
    torch.set_num_threads(1)  # as the processes that read have
    return Pace(steps, _seconds(read, len(pictures))), fabric.device.type


def _seconds(work: Callable[[], None], times: int) -> float:
    """Mean seconds of a piece of work, after a first one, as often as there is time for; once at least."""
    work()
    start, done = time.perf_counter(), 0
    while done < max(1, times) and (done == 0 or time.perf_counter() - start < SECONDS):
        work()
        done += 1
    return (time.perf_counter() - start) / done


if __name__ == "__main__":
    given = json.load(sys.stdin)
    try:
        pace, device = pace_of(Settings.model_validate(given["settings"]), [Path(each) for each in given["pictures"]])
    except InputError as error:
        sys.exit(str(error))
    print(json.dumps([*pace, device]))
