"""SIGKILL at random moments: of each stage, and of the `dvc` that runs it. The next `dvc repro` must end as if it had
not been: the same bytes, nothing left over, and nothing that works on beside it.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess
from typing import Literal, NamedTuple

import psutil

from benchmarks.faults import project
from benchmarks.faults.finding import Bench, Finding
from benchmarks.faults.project import ENVIRONMENT, STAGES, begun, differences, dvc_at_work, forget, outputs
from pipeline.ahead.turn import drop_broken_rwlock
from tests.clones import run_in

TITLE = "Kills"
STAGE_ENDS = 5.0  # seconds; it looks for its `dvc` every second
LOOKS_EVERY = 0.1  # seconds
Victim = Literal["stage", "dvc", "terminal"]  # of a terminal: Ctrl-C to `dvc` and all that it has begun


def run(bench: Bench) -> Iterator[Finding]:
    """Every stage at so many moments, and `dvc` at as many in all; two clones at a time."""
    yield from project.by_stage(bench, of_stage)


def of_stage(bench: Bench, stage: str) -> list[Finding]:
    """One stage at so many moments of its process, and its `dvc` at some of its own, before and after the stage's."""
    name = f"kills-{stage.partition('@')[0]}"
    clone = project.fresh(bench, name)
    lasts, choices, found = durations(clone, stage), bench.choices(f"kills {stage}"), []
    victims: dict[Victim, int] = {"stage": bench.tries, "dvc": -(-bench.tries // len(STAGES))}
    for victim, tries in victims.items():
        faults, broken = [], 0
        for moment in [choices.uniform(0, lasts[victim]) for _ in range(tries)]:
            end = killed(clone, stage, moment, victim)
            broken += end.broke_rwlock
            if end.fault:
                faults.append(f"at {moment:.2f} s: {end.fault}")
                clone = project.fresh(bench, name)  # what is wrong with this one is no fault of the next moment
        what = f"`{stage}`" if victim == "stage" else f"`dvc` that runs `{stage}`"
        note = f"within {lasts[victim]:.1f} s"
        if broken:
            note += f"; {broken} of them: plain `dvc repro` says that it cannot read .dvc/tmp/rwlock; `make repro` "
            note += "clears it away"
        found.append(Finding(f"SIGKILL of {what}", tries, faults, note))
    return found


def durations(clone: Path, stage: str) -> dict[Victim, float]:
    """Seconds that a stage's process takes undisturbed, and the whole of the `dvc` that runs it."""
    forget(clone, stage)
    start = time.monotonic()
    with dvc_at_work(clone, stage) as dvc:
        process = begun(dvc, clone)
        began = time.monotonic()
        while process.is_running() and dvc.poll() is None:
            time.sleep(0.02)
        lasts = time.monotonic() - began
        dvc.wait()
    return {"stage": lasts, "dvc": time.monotonic() - start}


class Killed(NamedTuple):
    """fault: what is wrong after the next `dvc repro`, or nothing. broke_rwlock: see `drop_broken_rwlock`."""

    fault: str
    broke_rwlock: bool


def killed(clone: Path, stage: str, moment: float, victim: Victim) -> Killed:
    """Kill at a moment (seconds after the victim's process began), and run DVC again.

    The stage is up to date before, and after.
    """
    before, tidy = outputs(clone, stage), _untracked(clone)
    forget(clone, stage)
    with dvc_at_work(clone, stage) as dvc:
        process = begun(dvc, clone) if victim == "stage" else psutil.Process(dvc.pid)
        deadline = time.monotonic() + moment
        while time.monotonic() < deadline and process.is_running() and dvc.poll() is None:
            time.sleep(0.005)
        with suppress(psutil.NoSuchProcess, ProcessLookupError):  # has ended just now
            if victim == "terminal":
                os.killpg(dvc.pid, signal.SIGINT)
            else:
                process.kill()
        start = time.monotonic()
        dvc.wait()
        ended = time.monotonic() - start
    again, beside = _again(clone, stage)
    if victim == "terminal" and ended > 2 * STAGE_ENDS:
        beside = beside or f"`dvc` ends {ended:.1f} s after Ctrl-C"
    broken = bool(again.returncode) and drop_broken_rwlock(clone)
    if broken:
        again, more = _again(clone, stage)
        beside = beside or more
    return Killed(beside or _wrong(again) or _changed(clone, stage, before, tidy), broken)


def _again(clone: Path, stage: str) -> tuple[CompletedProcess[str], str]:
    """The next plain `dvc repro`, and what works beside it that must not.

    What a killed `dvc` has left at work ends soon, or the next run waits for it where it comes to the same stage.
    """
    left = works = project.stages_in(clone)
    start, beside = time.monotonic(), ""
    with ThreadPoolExecutor(1) as pool:
        repro = pool.submit(run_in, clone, f"dvc repro {stage}", ENVIRONMENT, 300)
        while not repro.done() or (left.keys() & works.keys() and time.monotonic() < start + STAGE_ENDS):
            time.sleep(LOOKS_EVERY)
            works, passed = project.stages_in(clone), time.monotonic() - start
            if passed < STAGE_ENDS:
                continue
            if twice := [name for name, processes in Counter(works.values()).items() if processes > 1]:
                beside = f"two processes at `{twice[0]}`, {passed:.1f} s after the kill"
            elif left.keys() & works.keys():
                beside = f"`{' '.join(left.values())}` works on, {passed:.1f} s after its `dvc`"
    again = repro.result()
    if "waiting for another process" in again.stdout + again.stderr:
        beside = ""
    if works := project.stages_in(clone):
        beside = f"works on after the next `dvc repro`: {' '.join(works.values())}"
    return again, beside


def _wrong(again: CompletedProcess[str]) -> str:
    said = again.stdout + again.stderr
    if again.returncode:
        return f"the next `dvc repro` ended with {again.returncode}: {said.strip().splitlines()[-1]}"
    return "the next `dvc repro` shows a traceback" if "Traceback" in said else ""


def _changed(clone: Path, stage: str, before: dict[str, str], tidy: set[str]) -> str:
    if changed := differences(before, outputs(clone, stage)):
        return f"other results: {', '.join(changed[:3])}"
    if more := _untracked(clone) - tidy:
        return f"left over: {', '.join(sorted(more)[:3])}"
    return ""


def _untracked(clone: Path) -> set[str]:
    """What git does not know or ignores, and unfinished work."""
    listed = run_in(clone, "git status --short --untracked-files=all").stdout.splitlines()
    return {line for line in [*listed, *project.unfinished(clone)] if not line.endswith((" dvc.lock", ".lock"))}
