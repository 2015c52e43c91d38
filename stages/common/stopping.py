"""How a stage ends that is told to stop: in one line, what it has finished kept; and that it ends with its `dvc`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil

from pipeline.base.errors import asked_to_stop

# Ctrl-C, a request to end, and the end of the terminal, where that is not ignored (nohup).
SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
LOOKS_EVERY = 1.0  # seconds
KEEPS_WITHIN = 30.0  # seconds in which a process that is told to stop has kept what is finished
BEGINNERS = {"dvc", "stages.repro"}  # programs


class Stopped(BaseException):
    """A signal that asks this process to end; raised where the work is. As a text, the line that says so."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.args[0]).name}: the same command goes on from what is finished"


def stop_while_importing() -> None:
    """From now until the work begins, have a signal end `python -m stages.NAME` in one line.

    A program of another kind that imports a stage goes on as it wants to.
    """
    if sys.argv[0] != "-m":  # Python's word for it while it looks for the module
        return
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop_at_once)


def _stop_at_once(number: int, _: FrameType | None) -> None:
    stopped = Stopped(number)
    with suppress(OSError):  # nobody reads it any more
        os.write(2, f"{stopped}\n".encode())
    os._exit(stopped.exit_code)


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, a signal raises Stopped, once; one that is ignored stays so, as in a shell's background.

    Processes that the work has forked, which inherit this, end without a word. After the work, in the moments in which
    Python ends, a program of its own is not to be stopped: it would say that there is something to go on with.
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
            signal.signal(number, signal.SIG_IGN if handler is _stop_at_once else handler)


def wait_for_first() -> bool:
    """Whether this is a further process of a stage; such a one stays until the first has ended, which may take seconds.

    Lightning, which has begun it, kills all the others once one has ended with an exit code, and so the first one while
    it keeps what is finished.
    """
    if first := _first_of_several():
        psutil.wait_procs([first], timeout=KEEPS_WITHIN)
    return _is_further()


def _is_further() -> bool:
    return os.environ.get("LOCAL_RANK", "0") != "0"


def _first_of_several() -> psutil.Process | None:
    """The first process of a stage of several; None in that itself, and where none of them has begun the others."""
    if not _is_further():
        return None
    parent = psutil.Process().parent()
    try:
        return parent if parent and any(word.startswith("stages.") for word in parent.cmdline()[:3]) else None
    except psutil.Error:
        return None


def stop_with_dvc() -> None:
    """Stop this process soon after who started it has ended: killed, it leaves its stages working on.

    That is the `dvc` of a stage, the `make repro` of that `dvc`, and of a stage of several processes the first one.
    """
    above = [each for each in psutil.Process().parents() if _begins_stages(each)] if "DVC_STAGE" in os.environ else []
    above += [first] if (first := _first_of_several()) else []
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
    time.sleep(KEEPS_WITHIN)
    os._exit(128 + signal.SIGTERM)  # waits for a process that has gone, where no signal reaches Python


def _works(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:  # just ended
        return False
