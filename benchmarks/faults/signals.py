"""Ctrl-C and SIGTERM at random moments of every stage: it ends soon, in one line on how to go on, and does go on.

By hand, and as a terminal sends Ctrl-C to `dvc` and all that it has begun. Checkpoints are as rare as they are for
people: what is gone on from has been kept when the signal came.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.faults import kills, project
from benchmarks.faults.finding import Bench, Finding
from benchmarks.faults.project import (
    ENVIRONMENT,
    STAGES,
    command,
    differences,
    fresh,
    logged,
    not_as_made,
    undisturbed,
    work,
)
from tests.clones import clean_environment, edited, heed_ctrl_c

TITLE = "Signals"
ENDS = 5.0  # seconds after a signal
BEGINS = 0.5  # seconds in which Python itself begins, which ends with a traceback of its own
EPOCH = re.compile(r"epoch \d+/\d+.*: loss")


def run(bench: Bench) -> Iterator[Finding]:
    """Every stage: a third of the tries each for SIGINT, SIGTERM, and Ctrl-C at its `dvc`; two clones at a time."""
    project.finished(bench)
    with ThreadPoolExecutor(2) as pool:
        for findings in pool.map(lambda stage: of_stage(bench, stage), STAGES):
            yield from findings


def of_stage(bench: Bench, stage: str) -> list[Finding]:
    """One stage."""
    clone = fresh(bench, f"signals-{stage.partition('@')[0]}")
    edited(clone / "pipeline/training/checkpoint.py", "SECONDS_BETWEEN = 0.0", "SECONDS_BETWEEN = 30.0")
    choices, tries, found = bench.choices(f"signals {stage}"), -(-bench.tries // 3), []
    for number in (signal.SIGINT, signal.SIGTERM):
        start = time.monotonic()
        work(clone, stage, _out(clone, stage))
        lasts = time.monotonic() - start
        ends = [signalled(clone, stage, choices.uniform(BEGINS, lasts), number) for _ in range(tries)]
        faults = [fault for fault, _ in ends if fault]
        kept = sum(went_on for _, went_on in ends)
        note = f"within {lasts:.1f} s" + (f"; {kept} of them went on from a finished epoch" if kept else "")
        found.append(Finding(f"{number.name} to `{stage}`", tries, faults, note))
    clone = fresh(bench, f"signals-{stage.partition('@')[0]}")
    lasts, faults = kills.durations(clone, stage)["dvc"], []
    for moment in [choices.uniform(0, lasts) for _ in range(tries)]:
        end = kills.killed(clone, stage, moment, "terminal")
        faults += [f"at {moment:.2f} s: {end.fault}"] if end.fault else []
    found.append(Finding(f"Ctrl-C at the `dvc` that runs `{stage}`", tries, faults, f"within {lasts:.1f} s"))
    return found


def signalled(clone: Path, stage: str, moment: float, number: signal.Signals) -> tuple[str, bool]:
    """What is wrong after a signal at a moment (seconds) and the same command again; whether that went on."""
    runs, out = logged(clone), _out(clone, stage)
    with subprocess.Popen(
        command(clone, stage, out), cwd=clone, env=clean_environment() | ENVIRONMENT, preexec_fn=heed_ctrl_c,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            said, late = process.communicate(timeout=moment)[1], False
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            try:
                said, late = process.communicate(timeout=ENDS)[1], False
            except subprocess.TimeoutExpired:
                process.kill()
                said, late = process.communicate()[1], True
    fault = f"works on {ENDS:.0f} s after it" if late else _ended_wrongly(process.returncode, said, number)
    again = work(clone, stage, out)
    went_on, finished = "goes on after" in again.stderr, len(EPOCH.findall(said))
    if not fault and process.returncode and finished > 1 and not went_on:
        fault = f"{finished} epochs were finished, and the next run begins anew"
    if not fault and out is None:
        differ = differences(runs, logged(clone))
        fault = f"other runs in MLflow: {', '.join(differ[:3])}" if differ else ""
    elif not fault and out is not None:
        fault = not_as_made(again, undisturbed(clone, stage), out)
    return f"at {moment:.2f} s: {fault}" if fault else "", went_on


def _out(clone: Path, stage: str) -> Path | None:
    """A folder for what a stage makes, empty; `track` makes none, and is to log everything again."""
    if stage == "track":
        project.forget(clone, stage)
        return None
    out = clone / "signalled"
    shutil.rmtree(out, ignore_errors=True)
    return out


def _ended_wrongly(code: int, said: str, number: signal.Signals) -> str:
    """What is wrong with how a stage ended; it may have been ready before the signal came."""
    lines = said.strip().splitlines()
    wanted = f"stopped by {number.name}: the same command goes on from what is finished"
    if "Traceback" in said or code not in (0, 128 + number):
        return f"exit code {code}: {' / '.join(lines[-2:])[:200]}"
    if code and (lines[-1:] != [wanted] or said.count("stopped by") != 1):
        return f"says {' / '.join(lines[-2:])[:200]}"
    return ""
