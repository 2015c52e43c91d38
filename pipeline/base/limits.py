"""Cores and memory that this process may use: of the machine, or of the container or job that it runs in."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores() -> float:
    """How many cores, also as a part of one."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [quota / period for quota, period in _quotas() if period > 0 and quota > 0]
    return min([float(here), *limits])


def free_memory() -> int:
    """Bytes that may still be taken; what the system keeps of files, and gives back, is free."""
    left = [limit - used for limit, used in _memory()]
    return max(0, min([psutil.virtual_memory().available, *left]))


def _quotas() -> Iterator[tuple[float, float]]:
    """Microseconds of CPU and of what time, for every group that this process is in."""
    for folder in _groups("cpu"):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        yield _number(quota), _number(period)
        yield _number(_text(folder / "cpu.cfs_quota_us")), _number(_text(folder / "cpu.cfs_period_us"))


def _memory() -> Iterator[tuple[int, int]]:
    """The limit in bytes, and what is used of it and not given back at need."""
    for folder in _groups("memory"):
        kept = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines() if " " in line)
        for most, used, total in (
            ("memory.max", "memory.current", ""),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        ):
            limit, now = _number(_text(folder / most)), _number(_text(folder / used))
            if 0 < limit < math.inf:
                files = sum(_number(kept.get(f"{total}{kind}_file", "0")) for kind in ("inactive", "active"))
                yield int(limit), int(now - files)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of the control groups of this process, up to the outermost; a container sees its own as that."""
    for line in _text(OWN).splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        root = GROUPS / controller if controllers else GROUPS
        inner = root / path.lstrip("/")
        yield from (folder for folder in (inner, *inner.parents) if folder == root or root in folder.parents)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(text: str) -> float:
    """0 where there is none, or no limit."""
    try:
        return float(text)
    except ValueError:
        return 0.0
