"""Who logs a run: a process of a machine, so that a run whose process is gone is not RUNNING for ever."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def this_writer() -> str:
    """This process: its machine, its number, and when it began, because numbers come again."""
    return f"{socket.gethostname()} {os.getpid()} {_began(os.getpid())}"


def is_gone(writer: str) -> bool:
    """Whether a process of this machine has ended; False for one of another machine, of which nothing is known."""
    host, _, rest = writer.partition(" ")
    number, _, began = rest.partition(" ")
    if host != socket.gethostname() or not number.isdecimal():
        return False
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
