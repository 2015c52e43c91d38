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
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.faults import kills, project
from benchmarks.faults.finding import Bench, Finding
from benchmarks.faults.project import (
    ENVIRONMENT,
    command,
    contents,
    differences,
    fresh,
    logged,
    not_as_made,
    undisturbed,
    work,
)
from tests.clones import clean_environment, heed_ctrl_c

TITLE = "Signals"
ENDS = 5.0  # seconds after a signal
HEEDED = 1 << (signal.SIGTERM - 1)  # in the mask of the signals that a process has a handler for
EPOCH = re.compile(r"epoch \d+/\d+.*: loss")


def run(bench: Bench) -> Iterator[Finding]:
    """Every stage: a third of the tries each for SIGINT, SIGTERM, and Ctrl-C at its `dvc`; two clones at a time."""
    yield from project.by_stage(bench, of_stage)


def of_stage(bench: Bench, stage: str) -> list[Finding]:
    """One stage."""
    choices, tries, found = bench.choices(f"signals {stage}"), -(-bench.tries // 3), []
    for number in (signal.SIGINT, signal.SIGTERM):
        clone = _clone(bench, stage)
        lasts = _seconds(clone, stage)
        ends = []
        for moment in [choices.uniform(0, lasts) for _ in range(tries)]:
            ends.append(signalled(clone, stage, moment, number))
            if ends[-1].fault:
                clone = _clone(bench, stage)
        faults = [each.fault for each in ends if each.fault]
        note = f"within {lasts:.1f} s; {sum(each.stopped for each in ends)} were stopped"
        if kept := sum(each.went_on for each in ends):
            note += f", {kept} went on from a finished epoch"
        found.append(Finding(f"{number.name} to `{stage}`", tries, faults, note))
    name = _name(stage)
    clone = fresh(bench, name)  # another pace of checkpoints would be other code, and all stages stale
    lasts, faults = kills.durations(clone, stage)["dvc"], []
    for moment in [choices.uniform(0, lasts) for _ in range(tries)]:
        end = kills.killed(clone, stage, moment, "terminal")
        if end.fault:
            faults.append(f"at {moment:.2f} s: {end.fault}")
            clone = fresh(bench, name)
    found.append(Finding(f"Ctrl-C at the `dvc` that runs `{stage}`", tries, faults, f"within {lasts:.1f} s"))
    return found


def _name(stage: str) -> str:
    return f"signals-{stage.partition('@')[0]}"


def _clone(bench: Bench, stage: str) -> Path:
    clone = fresh(bench, _name(stage))
    path = clone / "pipeline/training/checkpoint.py"
    path.write_text(path.read_text().replace("SECONDS_BETWEEN = 0.0", "SECONDS_BETWEEN = 30.0"))
    return clone


def _seconds(clone: Path, stage: str) -> float:
    """What a stage takes by hand, from the moment on in which it heeds signals."""
    with _begun(clone, stage, _out(clone, stage)) as process:
        start = time.monotonic()
        process.communicate()
        return time.monotonic() - start


class End(NamedTuple):
    """What is wrong, if anything; whether the stage was stopped, and not ready before; whether the next one went on."""

    fault: str
    stopped: bool
    went_on: bool


def signalled(clone: Path, stage: str, moment: float, number: signal.Signals) -> End:
    """A signal so many seconds after a stage heeds them, and the same command again."""
    runs, out = logged(clone), _out(clone, stage)
    with _begun(clone, stage, out) as process:
        late = False
        try:
            said = process.communicate(timeout=moment)[1]
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            try:
                said = process.communicate(timeout=ENDS)[1]
            except subprocess.TimeoutExpired:
                process.kill()
                said, late = process.communicate()[1], True
    stopped = process.returncode != 0
    whole = out is not None and out.exists() and not differences(contents(undisturbed(clone, stage)), contents(out))
    fault = f"works on {ENDS:.0f} s after it" if late else _ended_wrongly(process.returncode, said, number)
    again = work(clone, stage, out)
    went_on, finished = "goes on after" in again.stderr, len(EPOCH.findall(said))
    # Of `explore`, epochs of networks that are complete count, too.
    if not fault and stopped and not whole and finished > 1 and not went_on and stage != "explore":
        fault = f"{finished} epochs were finished, and the next run begins anew"
    if not fault and out is None:
        differ = differences(runs, logged(clone))
        fault = f"other runs in MLflow: {', '.join(differ[:3])}" if differ or again.returncode else ""
    elif not fault and out is not None:
        fault = not_as_made(again, undisturbed(clone, stage), out)
    return End(f"at {moment:.2f} s: {fault}" if fault else "", stopped, went_on)


@contextmanager
def _begun(clone: Path, stage: str, out: Path | None) -> Iterator[subprocess.Popen[str]]:
    """A stage by hand, from the moment on in which it heeds signals: before, they end Python as they end any Python."""
    with subprocess.Popen(
        command(clone, stage, out), cwd=clone, env=clean_environment() | ENVIRONMENT, preexec_fn=heed_ctrl_c,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        while process.poll() is None and not _heeds(process.pid):
            time.sleep(0.002)
        yield process


def _heeds(number: int) -> bool:
    status = Path(f"/proc/{number}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) & HEEDED)


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
