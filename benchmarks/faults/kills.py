"""SIGKILL at random moments: of each stage, and of the `dvc` that runs it. The next `dvc repro` must end as if it had
not been: the same bytes, nothing left over, and nothing that works on beside it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

from benchmarks.faults import project
from benchmarks.faults.finding import Bench, Finding
from benchmarks.faults.project import ENVIRONMENT, STAGES, at_work, differences, forget, outputs
from pipeline.ahead.turn import drop_broken_rwlock
from tests.clones import run_in

TITLE = "Kills"
STAGE_ENDS = 2.0  # seconds; it looks for its `dvc` every second
Victim = Literal["stage", "dvc"]


def run(bench: Bench) -> Iterator[Finding]:
    """Every stage at so many moments, and `dvc` at as many in all; two clones at a time."""
    project.finished(bench)
    with ThreadPoolExecutor(2) as pool:
        for findings in pool.map(lambda stage: _findings(bench, stage), STAGES):
            yield from findings


def _findings(bench: Bench, stage: str) -> list[Finding]:
    clone = project.fresh(bench, f"kills-{stage.partition('@')[0]}")
    lasts = duration(clone, stage)
    choices, found = bench.choices(f"kills {stage}"), []
    victims: dict[Victim, int] = {"stage": bench.tries, "dvc": -(-bench.tries // len(STAGES))}
    for victim, tries in victims.items():
        moments = [choices.uniform(0, lasts) for _ in range(tries)]
        ends = [killed(clone, stage, moment, victim) for moment in moments]
        faults = [f"at {moment:.2f} s: {end.fault}" for moment, end in zip(moments, ends, strict=True) if end.fault]
        what = f"`{stage}`" if victim == "stage" else f"`dvc` while `{stage}` works"
        broken = sum(end.broke_rwlock for end in ends)
        mended = f"; {broken} of them cut DVC's rwlock short, which `make repro` clears away" if broken else ""
        found.append(Finding(f"SIGKILL of {what}", len(moments), faults, f"within {lasts:.1f} s{mended}"))
    return found


def duration(clone: Path, stage: str) -> float:
    """Seconds that a stage's process takes undisturbed."""
    forget(clone, stage)
    with at_work(clone, stage) as (dvc, process):
        start = time.monotonic()
        while process.is_running() and dvc.poll() is None:
            time.sleep(0.02)
        lasts = time.monotonic() - start
        dvc.wait()
    return lasts


class Killed(NamedTuple):
    """fault: what is wrong after the next `dvc repro`, or nothing. broke_rwlock: see `drop_broken_rwlock`."""

    fault: str
    broke_rwlock: bool


def killed(clone: Path, stage: str, moment: float, victim: Victim) -> Killed:
    """Kill at a moment (seconds after the stage's process began), and run DVC again.

    The stage is up to date before, and after.
    """
    before, tidy = outputs(clone, stage), _untracked(clone)
    forget(clone, stage)
    with at_work(clone, stage) as (dvc, process):
        deadline = time.monotonic() + moment
        while time.monotonic() < deadline and process.is_running():
            time.sleep(0.005)
        if victim == "dvc":
            dvc.kill()
        elif process.is_running():
            process.kill()
        dvc.wait()
    broken = drop_broken_rwlock(clone)
    return Killed(_went_on(clone, stage, before, tidy), broken)


def _went_on(clone: Path, stage: str, before: dict[str, str], tidy: set[str]) -> str:
    again = run_in(clone, f"dvc repro {stage}", ENVIRONMENT, timeout=300)
    said = again.stdout + again.stderr
    if again.returncode:
        return f"the next `dvc repro` ended with {again.returncode}: {said.strip().splitlines()[-1]}"
    if "Traceback" in said:
        return "the next `dvc repro` shows a traceback"
    time.sleep(STAGE_ENDS)
    if left := project.stages_in(clone):
        return f"a process works on: {' '.join(left[0].cmdline()[1:])}"
    if changed := differences(before, outputs(clone, stage)):
        return f"other results: {', '.join(changed[:3])}"
    if more := _untracked(clone) - tidy:
        return f"left over: {', '.join(sorted(more)[:3])}"
    return ""


def _untracked(clone: Path) -> set[str]:
    """What git does not know or ignores, and unfinished work."""
    listed = run_in(clone, "git status --short --untracked-files=all").stdout.splitlines()
    kept = [str(path.relative_to(clone)) for path in (clone / ".ckpt").glob("*")]
    return {line for line in [*listed, *kept] if not line.endswith((" dvc.lock", ".lock"))}
