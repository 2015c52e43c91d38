"""How a stage ends that is told to stop: in one line, what it has finished kept; and that it ends with its `dvc`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

from pipeline.base.errors import asked_to_stop

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LOOKS_EVERY = 1.0  # seconds
BEGINNERS = {"dvc", "stages.repro"}  # programs


class Stopped(BaseException):
    """A signal that asks this process to end; raised where the work is. Its message is the line that says so."""

    def __init__(self, number: int) -> None:
        name = signal.Signals(number).name
        super().__init__(f"stopped by {name}: the same command goes on from what is finished")
        self.exit_code = 128 + number


def stop_while_importing() -> None:
    """From now until the work begins, have Ctrl-C and SIGTERM end `python -m stages.NAME` in one line.

    A program of another kind that imports a stage goes on as it wants to.
    """
    if sys.argv[0] != "-m":  # Python's word for it while it looks for the module
        return
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop_at_once)


def _stop_at_once(number: int, _: FrameType | None) -> None:
    stopped = Stopped(number)
    os.write(2, f"{stopped}\n".encode())
    os._exit(stopped.exit_code)


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
    except SystemError as error:
        stopped = asked_to_stop(error)
        if stopped is None:
            raise
        raise stopped from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_with_dvc() -> None:
    """Stop this process soon after the `dvc` that started it has ended: killed, it leaves its stages working on.

    Or the `make repro` of that `dvc`.
    """
    if "DVC_STAGE" not in os.environ:
        return
    above = [each for each in psutil.Process().parents() if _begins_stages(each)]
    if above:
        threading.Thread(target=_stop_after, args=(above,), daemon=True).start()


def _begins_stages(process: psutil.Process) -> bool:
    try:
        return any(Path(word).name in BEGINNERS for word in process.cmdline()[:3])
    except psutil.Error:  # another user's, or just ended
        return False


def _stop_after(others: Sequence[psutil.Process]) -> None:
    while all(map(_works, others)):
        time.sleep(LOOKS_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)


def _works(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:  # just ended
        return False
