"""A long run: 200 rounds on a tiny network, with checkpoints and MLflow. Memory, open files and threads stay as they
are, and the log has a line or two for each round.
"""

from __future__ import annotations

import re
import statistics
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from benchmarks.faults.finding import Bench, Finding
from benchmarks.faults.project import ENVIRONMENT, fresh_and_live
from tests.clones import clean_environment

TITLE = "A long run"
ROUNDS = 200
SETTLED = 20  # rounds after which nothing may grow
GROWTH = 1.05
LINE = 400  # bytes of log for a round


@dataclass(frozen=True)
class Sample:
    """A process after a round. memory: bytes of its own."""

    round: int
    memory: int
    files: int
    threads: int


def run(bench: Bench) -> Iterator[Finding]:
    """One run of so many rounds."""
    yield long_run(bench, ROUNDS)


def long_run(bench: Bench, rounds: int) -> Finding:
    """Fix a tiny network in so many rounds and watch the process after each."""
    clone = fresh_and_live(bench, "long-run")
    _ask_for(clone / "params.yaml", rounds)
    command = [str(clone / ".venv/bin/python"), "-m", "stages.fix", "--stage", "fix", "--out", "runs/long"]
    samples, log = [], ""
    with subprocess.Popen(
        command, cwd=clone, env=clean_environment() | ENVIRONMENT, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        watched = psutil.Process(process.pid)
        assert process.stderr is not None
        for line in process.stderr:
            log += line
            if found := re.search(rf"round (\d+)/{rounds}", line):
                samples.append(_sample(watched, int(found[1])))
    return finding(rounds, process.returncode, samples, log)


def _ask_for(params: Path, rounds: int) -> None:
    """Equal shares, and every delta so small that the first round's budget, delta times rounds, stays below 1."""
    values = yaml.safe_load(params.read_text())
    values["fixing"]["fractions"] = [round((number + 1) / rounds, 6) for number in range(rounds)]
    delta = round(0.5 / rounds, 6)
    values["delta"], values["grid"]["delta"] = delta, [delta]
    for variant in values["variants"].values():
        variant["delta"] = delta
    params.write_text(yaml.safe_dump(values, sort_keys=False))


def _sample(process: psutil.Process, number: int) -> Sample:
    # Without files that are mapped: how many of those pages are its own depends on what else runs on the machine.
    memory = process.memory_info()
    return Sample(number, memory.rss - memory.shared, process.num_fds(), process.num_threads())


def finding(rounds: int, code: int, samples: list[Sample], log: str) -> Finding:
    """What is wrong with a run of so many rounds that ended with a code and said `log`."""
    if code or len({each.round for each in samples}) < rounds:
        return Finding(f"{rounds} rounds", 1, [f"exit code {code} after {len(samples)} rounds: {log[-300:]}"])
    first = [each for each in samples if SETTLED <= each.round < SETTLED + 5]
    last = samples[-5:]
    before, after = (statistics.median(each.memory for each in part) for part in (first, last))
    faults = []
    if after > GROWTH * before:
        faults.append(f"memory grew from {before / 1e6:.0f} to {after / 1e6:.0f} MB")
    for what in ("files", "threads"):
        # The least of five: one that comes and goes, such as the thread that asks MLflow, is no growth.
        then, now = (min(getattr(each, what) for each in part) for part in (first, last))
        if now > then:
            faults.append(f"{what} grew from {then} to {now}")
    if len(log) > LINE * rounds:
        faults.append(f"the log has {len(log):,} bytes")
    half = next(each.memory for each in samples if each.round >= rounds // 2)
    first_to_last = " to ".join(f"{each / 1e6:.0f}" for each in (before, half, after))
    note = (
        f"memory {first_to_last} MB after round {SETTLED}, half of them and the last; {last[-1].files} open files, "
        f"{last[-1].threads} threads, {len(log) / rounds:.0f} bytes of log a round"
    )
    return Finding(f"{rounds} rounds with checkpoints and MLflow", 1, faults, note)
