"""Who logs a run: a process of a machine, so that a run whose process is gone is not RUNNING for ever."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

SILENT = 7 * 24 * 3600.0  # seconds without a word, after which a process of another machine counts as gone


def this_writer() -> str:
    """This process: its machine, its number, and when it began, because numbers come again."""
    return f"{socket.gethostname()} {os.getpid()} {_began(os.getpid())}"


def is_gone(writer: str, heard: float) -> bool:
    """Whether a process of this machine has ended, or one of another machine has not been heard of for a week.

    heard: of its last word, seconds since 1970. A round of a training on a cluster takes hours; should a process be
    taken for gone and end well after all, its run is finished as any other.
    """
    host, _, rest = writer.partition(" ")
    number, _, began = rest.partition(" ")
    if host != socket.gethostname() or not number.isdecimal():
        return time.time() - heard > SILENT
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return _began(int(number)) != began


def _began(number: int) -> str:
    """When a process began, in the kernel's clock ticks; empty where the system does not say."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
