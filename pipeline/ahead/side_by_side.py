"""Stages that do not need each other, made at once: each is a `dvc repro` of its own, in the order of the graph.

DVC itself makes one after the other. A stage of small images has one thread (hardware.threads), so that others may have
the other cores; what they write is the same as alone.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter
from typing import IO

import psutil

from pipeline.base.limits import cores, free_memory
from pipeline.base.settings import Settings
from pipeline.watching.progress import duration

MEMORY = 1.5e9  # bytes that a stage may take
LOOKS_EVERY = 0.5  # seconds
# What DVC says of itself; a stage that fails has said why.
CHATTER = re.compile(
    r"Running stage '|> python -m stages\.|(Updating|Generating) lock file|Use `dvc push`|To (track|enable) "
    r"|\t(git add|dvc config) |ERROR: failed to reproduce '[^']*': failed to run: "
)


def at_once(settings: Settings) -> int:
    """How many stages this machine has cores and memory for; 1 where a stage takes all cores, or an accelerator."""
    hardware = settings.hardware
    if settings.threads is None or hardware.processes > 1 or hardware.accelerator not in ("auto", "cpu"):
        return 1
    return max(1, min(int(cores() // settings.threads), int(free_memory() / MEMORY)))


def finds_accelerator(settings: Settings) -> bool:
    """Whether `hardware.accelerator: auto` means another device than the CPU. Imports torch, which takes seconds."""
    if settings.hardware.accelerator == "cpu":
        return False
    torch = importlib.import_module("torch")
    return bool(torch.cuda.is_available() or torch.backends.mps.is_available())


def out_of_date() -> dict[str, set[str]]:
    """What DVC would run in this clone, each stage with those of them that come before it.

    Without stages that always run, as `track` does, and empty where DVC cannot tell: `dvc repro` says why.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    late: dict[str, set[str]] = {}
    try:
        with Repo() as repo, repo.lock:
            needs = {stage: set(repo.index.graph.successors(stage)) for stage in repo.index.graph}
            for stage in TopologicalSorter(needs).static_order():
                before = {each.addressing for each in needs[stage]} & late.keys()
                if not stage.always_changed and (before or stage.changed()):
                    late[stage.addressing] = before
    except DvcException:
        return {}
    return late


def width(needs: Mapping[str, set[str]]) -> int:
    """The most of these stages that are ready at the same time: 1 for a chain, 0 for none."""
    order, most = TopologicalSorter(needs), 0
    order.prepare()
    while ready := order.get_ready():
        most = max(most, len(ready))
        order.done(*ready)
    return most


def make_all(
    needs: Mapping[str, set[str]], count: int, make: Callable[[str], int], stop: Callable[[], None]
) -> list[str]:
    """Make stages, `count` at a time, each after those that it needs; returns those that failed.

    make: returns an exit code; after one that is not 0 no further stage begins, and those at work end. Where this is
    broken off, `stop` is called until none is at work.
    """
    order = TopologicalSorter(needs)
    order.prepare()
    ready, failed = list(order.get_ready()), []
    working: dict[Future[int], str] = {}
    with ThreadPoolExecutor(count) as pool:
        try:
            while working or ready:
                while ready and len(working) < count:
                    stage = ready.pop(0)
                    working[pool.submit(make, stage)] = stage
                for ended in wait(working, return_when=FIRST_COMPLETED).done:
                    stage = working.pop(ended)
                    if ended.result():
                        failed.append(stage)
                    else:
                        order.done(stage)
                        ready += order.get_ready()
                ready = [] if failed else ready
        except BaseException:
            while wait(working, LOOKS_EVERY).not_done:
                stop()
            raise
    return failed


class Stages:
    """Stages of this clone, as processes of this one; each line that they print begins with the name of its stage.

    seconds: what each takes, of those that train, where it is known.
    """

    def __init__(self, needs: Mapping[str, set[str]], count: int, seconds: Mapping[str, float]) -> None:
        self._needs, self._count, self._seconds = needs, count, seconds
        self._done: set[str] = set()
        self._counting = threading.Lock()

    def make(self) -> list[str]:
        """Make them all; returns those that failed."""
        self._say(f"{len(self._needs)} stages are out of date, {self._count} at a time")
        return make_all(self._needs, self._count, self._make_one, stop_stages)

    def _make_one(self, stage: str) -> int:
        sys.stdout.write(f"Running stage '{stage}':\n")  # as DVC says it
        sys.stdout.flush()
        # `close_fds`: the lock of this clone goes with every process that works in it (turn.py).
        with subprocess.Popen(
            ["dvc", "--wait-for-lock", "repro", "--single-item", stage],
            env=os.environ | {"PYTHONUNBUFFERED": "1"}, close_fds=False, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            said = threading.Thread(target=_pass_on, args=(process.stderr, sys.stderr, stage))
            said.start()
            _pass_on(process.stdout, sys.stdout, stage)
            said.join()
        if process.returncode == 0:
            with self._counting:
                self._done.add(stage)
                self._say(f"{len(self._done)} of {len(self._needs)} stages are done")
        return process.returncode

    def _say(self, line: str) -> None:
        left = sum(self._seconds.get(stage, 0.0) for stage in self._needs.keys() - self._done) / self._count
        time = f", about {duration(left)} left" if left else ""
        print(f"repro: {line}{time}", file=sys.stderr, flush=True)


def stop_stages() -> None:
    """Ask the stages that this process has begun to stop; their `dvc` ends by itself, with its files whole."""
    for dvc in psutil.Process().children():
        try:
            for process in dvc.children():
                if "DVC_STAGE" in process.environ():
                    process.terminate()
        except psutil.Error:  # has just ended
            continue


def named(line: str, stage: str) -> str:
    """What a stage, or its `dvc`, has printed, for people who see lines of several; empty for what says nothing."""
    if not line.strip() or CHATTER.match(line):
        return ""
    return line if line.startswith(f"{stage}:") else f"{stage}: {line}"


def _pass_on(source: IO[str] | None, to: IO[str], stage: str) -> None:
    for line in source or ():
        to.write(named(line, stage))  # at once: lines of several stages come between each other, not into each other
        to.flush()
