"""How a stage ends that is told to stop: in one line, what it has finished kept; and that it ends with its `dvc`."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LOOKS_EVERY = 1.0  # seconds


class Stopped(BaseException):
    """A signal that asks this process to end; raised where the work is."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name, self.exit_code = signal.Signals(number).name, 128 + number


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, Ctrl-C and SIGTERM raise Stopped, once; a signal that is ignored stays so, as in a shell's background.

    Processes that the work has forked, which inherit this, end without a word.
    """
    before, own = {number: signal.getsignal(number) for number in SIGNALS}, os.getpid()

    def stop(number: int, _: FrameType | None) -> None:
        if os.getpid() != own:
            os._exit(128 + number)
        for each in SIGNALS:  # a second one must not break off what the first one has kept
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_with_dvc() -> None:
    """Stop this process soon after the `dvc` that started it has ended: killed, it leaves its stages working on."""
    if "DVC_STAGE" not in os.environ:
        return
    dvc = next((each for each in psutil.Process().parents() if _is_dvc(each)), None)
    if dvc is not None:
        threading.Thread(target=_stop_after, args=(dvc,), daemon=True).start()


def _is_dvc(process: psutil.Process) -> bool:
    try:
        return any(Path(word).name == "dvc" for word in process.cmdline()[:3])
    except psutil.Error:  # another user's, or just ended
        return False


def _stop_after(other: psutil.Process) -> None:
    while other.is_running() and other.status() != psutil.STATUS_ZOMBIE:
        time.sleep(LOOKS_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)
