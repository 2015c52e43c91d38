"""A program that trains a network for some steps on noise, and reads some pictures: `pipeline.paper.pace` runs it.

On its standard input it takes settings and paths, as JSON; its last line is the seconds of a step and of reading, each
an image, and the device. What is in the way is one line on standard error.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import torch
from PIL import Image

from pipeline.base.errors import InputError, first_line, lack_of_memory
from pipeline.base.settings import Settings
from pipeline.data.images import Images
from pipeline.data.recipes import input_settings, transforms
from pipeline.network.build import build
from pipeline.training.device import backward, launch, set_up
from pipeline.training.loop import optimizer_for
from wfn.picture import plain

STEPS = 20
SECONDS = 10.0  # that the steps, or the pictures, may take, after a first step that sets things up
AT_ONCE = 16  # images a step on a CPU, where each takes as long in a batch of any size


def step_seconds(settings: Settings) -> tuple[float, str]:
    """Seconds an image of a plain step on one device of this machine, and that device."""
    alone = settings.hardware.model_copy(update={"devices": 1, "nodes": 1})
    fabric = launch(alone, settings.seed, settings.threads)
    model = build(settings.model.without_weights(), settings.seed)
    network = set_up(fabric, model.train(), alone)
    optimizer = optimizer_for(list(network.parameters()), settings.finetune)
    share = max(2, settings.finetune.batch_size // settings.hardware.processes)
    size = share if fabric.device.type != "cpu" else min(share, AT_ONCE)
    noise = torch.randn(size, settings.data.channels, settings.data.pixels, settings.data.pixels)
    batch = Images(noise, torch.arange(size) % settings.model.outputs).to(fabric.device)

    def step() -> None:
        optimizer.zero_grad()
        loss, _ = backward(fabric, network, batch, alone.accumulate if size == share else 1)
        optimizer.step()
        loss.item()  # waits for the device

    step()
    return _seconds(step, STEPS) / size, fabric.device.type


def reading_seconds(settings: Settings, pictures: Sequence[Path]) -> float:
    """Seconds of an image, from its file to what the network sees, in one process.

    Raises InputError where none of them can be read.
    """
    torch.set_num_threads(1)  # as the processes that read have
    training, _ = transforms(settings.data, input_settings(settings.model))
    again, read = cycle(pictures), 0

    def next_one() -> None:
        nonlocal read
        with suppress(Exception), Image.open(next(again)) as image:  # stage `data` names what cannot be read
            training(plain(image, settings.data.channels)[0])
            read += 1

    each = _seconds(next_one, len(pictures))
    if not read:
        raise InputError("no picture could be read")
    return each


def _seconds(work: Callable[[], None], times: int) -> float:
    """Mean seconds of a piece of work, as often as there is time for; once at least."""
    start, done = time.perf_counter(), 0
    while done == 0 or (done < times and time.perf_counter() - start < SECONDS):
        work()
        done += 1
    return (time.perf_counter() - start) / done


def main() -> None:
    """Read what is asked for, and answer; ended by an alarm after so many seconds."""
    signal.alarm(int(sys.argv[1]))
    asked = json.load(sys.stdin)
    try:
        settings = Settings.model_validate(asked["settings"])
        step, device = step_seconds(settings)
        pictures = asked["pictures"]
        reading = None if pictures is None else reading_seconds(settings, [Path(each) for each in pictures])
    except Exception as error:  # of any network on any device
        said = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        sys.exit(lack_of_memory(error) or f"{said}{first_line(error)}")
    print(json.dumps({"step": step, "reading": reading, "device": device}))


if __name__ == "__main__":
    main()
