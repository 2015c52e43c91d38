"""Busy neighbours: several commands at once in one clone end as one alone does.

Needs a clone in which `make repro` has run: `finished` in the bench's folder, made where it is missing. The clones log
to MLflow from the first second on, as work of more than two minutes does.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.faults.finding import Bench, Finding
from benchmarks.faults.project import ENVIRONMENT, contents, differences, finished, fresh_and_live, logged, unfinished
from tests.clones import clean_environment, edited, run_in

TITLE = "Several commands at once"

# What is made anew by them, and the stages that a command runs then.
UNDONE = {"fix": "runs/mnist5k/fix", "home": "home/mnist5k"}
STAGES = {"home": ["fix", "home"], "repro": ["fix", "home", "pack", "report", "track", "track"]}
DELTA = "0.02"  # of the experiments that are queued
COMPARED = ("runs/mnist5k/fix", "runs/mnist5k/repeats", "packed/mnist5k")
LONGEST = 600.0  # seconds for a command


def run(bench: Bench) -> Iterator[Finding]:
    """Two `make`; the same, the first one killed; one stage twice; queued experiments beside a `dvc repro`."""
    yield two_makes(bench, "repro")
    yield two_makes(bench, "home")
    yield first_make_killed(bench)
    yield one_stage_twice(bench)
    yield from queue_beside_repro(bench)


@dataclass
class Command:
    """A command line that has been started in a clone."""

    process: subprocess.Popen[str]

    def ended(self) -> tuple[int, str]:
        """Its exit code, and all that it said; it is killed where that takes too long."""
        try:
            said, _ = self.process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            self.kill()
            said, _ = self.process.communicate()
            return 124, said
        return self.process.returncode, said

    def kill(self) -> None:
        """Kill it and all that it has started, as an out-of-memory killer would."""
        os.killpg(self.process.pid, signal.SIGKILL)


def _start(clone: Path, line: str) -> Command:
    process = subprocess.Popen(
        ["bash", "-c", f". .venv/bin/activate; {line}"],
        cwd=clone, env=clean_environment() | ENVIRONMENT, start_new_session=True, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return Command(process)


def _undone(bench: Bench, name: str) -> Path:
    """A copy in which the fixed network and what goes home are to be made again, to the same bytes."""
    clone = fresh_and_live(bench, name)
    stages = yaml.safe_load((clone / "dvc.lock").read_text())["stages"]
    for stage, folder in UNDONE.items():
        shutil.rmtree(clone / folder)
        for out in stages[stage]["outs"]:
            (clone / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]).unlink()
    return clone


def _results(clone: Path) -> dict[str, str]:
    """Checksums of what must be the same, by path; of what goes home its network, since its page names the commit."""
    found = {name: contents(clone / name) for name in COMPARED}
    home = contents(clone / "home/mnist5k").get("network.wfn", "missing")
    return {f"{name}/{path}": each for name, files in found.items() for path, each in files.items()} | {"home": home}


def _differences(clone: Path, expected: dict[str, str]) -> Iterator[str]:
    if different := differences(expected, _results(clone)):
        yield f"other than alone: {', '.join(different[:5])}"


def _logged(clone: Path) -> Iterator[str]:
    """What is wrong with the runs in MLflow: left open, there twice, or missing."""
    for name, count in logged(clone).items():
        status, _, key = name.partition(" ")
        if status == "RUNNING":
            yield f"{count} runs of MLflow are RUNNING"
        elif status == "FINISHED" and count != "1":
            yield f"MLflow has the run of {key} {count} times"
    said = run_in(clone, "python -m stages.track", ENVIRONMENT).stdout
    if "track: 0 of " not in said:
        yield f"MLflow lacked runs: {said.strip()}"


def _faults(clone: Path, commands: list[tuple[int, str]], expected: dict[str, str]) -> Iterator[str]:
    """What is wrong in a clone in which commands, given by their exit codes and what they said, have ended."""
    for code, said in commands:
        if code or "Traceback" in said:
            yield f"ended with {code}: {' / '.join(said.strip().splitlines()[-4:])}"
    yield from _differences(clone, expected)
    yield from _logged(clone)
    if left := unfinished(clone):
        yield f"left in .ckpt: {', '.join(left)}"


def two_makes(bench: Bench, target: str) -> Finding:
    """`make repro` or `make home`, twice at once or one soon after the other."""
    expected = _results(finished(bench))
    chosen, faults = bench.choices(f"two makes {target}"), []
    for number in range(bench.tries):
        clone, pause = _undone(bench, f"{target}-{number}"), chosen.choice([0.0, chosen.uniform(0, 20)])
        first = _start(clone, f"make {target}")
        time.sleep(pause)
        said = [each.ended() for each in (_start(clone, f"make {target}"), first)]
        found = [*_faults(clone, said, expected), *_in_turn(said, STAGES[target])]
        faults += [f"{pause:.1f} s apart: {'; '.join(found)}"] if found else []
    note = "the second one says in one line whom it waits for, waits, and finds everything done"
    return Finding(f"two `make {target}` at once in one clone", bench.tries, faults, note)


def _in_turn(said: list[tuple[int, str]], stages: list[str]) -> Iterator[str]:
    """What is wrong with how two commands shared the work: one waits and says so once, every stage is run once."""
    text = "\n".join(each for _, each in said)
    lines = re.findall(r"^(?:process \d+ \(.*\)|another process) is at work in this clone; waiting", text, re.MULTILINE)
    ran = sorted(re.findall(r"Running stage '(.*)'", text))
    if len(lines) != 1:
        yield f"{len(lines)} lines say that a process waits"
    if ran != stages:
        yield f"stages were run: {', '.join(ran)}"


def first_make_killed(bench: Bench) -> Finding:
    """`make home` twice; the first one is killed with all that it has started, as if a person closed its window."""
    expected = _results(finished(bench))
    chosen, faults = bench.choices("first killed"), []
    for number in range(bench.tries):
        clone, moment = _undone(bench, f"killed-{number}"), chosen.uniform(2, 20)
        first = _start(clone, "make home")
        time.sleep(2)
        second = _start(clone, "make home")
        time.sleep(moment)
        first.kill()
        first.ended()
        found = list(_faults(clone, [second.ended()], expected))
        faults += [f"killed after {moment + 2:.1f} s: {'; '.join(found)}"] if found else []
    note = "the second one begins by itself, and goes on from what the first one has finished"
    return Finding("two `make home` at once, the first one killed (kill -9)", bench.tries, faults, note)


def one_stage_twice(bench: Bench) -> Finding:
    """By hand, into one folder: DVC, which would keep them apart, knows nothing of it."""
    chosen, faults = bench.choices("one stage twice"), []
    clone = fresh_and_live(bench, "stage-twice")
    wanted = contents(clone / UNDONE["fix"])
    for number in range(bench.tries):
        folder, pause = clone / f"runs/twice-{number}", chosen.choice([0.0, chosen.uniform(0, 4)])
        line = f"python -m stages.fix --out {folder.relative_to(clone)}"
        first = _start(clone, line)
        time.sleep(pause)
        said = [each.ended() for each in (_start(clone, line), first)]
        found = [f"ended with {code}: {text}" for code, text in said if code or "Traceback" in text]
        if different := differences(wanted, contents(folder)):
            found.append(f"other than alone: {', '.join(different)}")
        faults += [f"{pause:.1f} s apart: {'; '.join(found)}"] if found else []
    note = "where both are at work, the second one waits and says so; it writes the same bytes"
    return Finding("one stage twice at once by hand, into one folder", bench.tries, faults, note)


def queue_beside_repro(bench: Bench) -> Iterator[Finding]:
    """Two queued experiments and a `dvc repro`, all with the same network to fix first.

    What DVC's queue loses is counted apart: an experiment that no worker has taken (treeverse/dvc#10398, #10673).
    """
    alone = _with_delta(fresh_and_live(bench, "alone"))
    if (ended := _start(alone, "dvc repro").ended())[0]:
        raise RuntimeError(f"dvc repro in {alone}:\n{ended[1]}")
    expected = _results(alone)
    faults, lost, queued = [], [], 0
    for number in range(bench.tries):
        clone = fresh_and_live(bench, f"queue-{number}")
        said = [_start(clone, "git commit -qam 'logs at once'").ended()]
        for change in ("", " -S rates.repeat=1001"):  # which no stage reads
            said.append(_start(clone, f"dvc exp run --queue -S delta={DELTA}{change}").ended())
        _with_delta(clone)
        workers = _start(clone, "dvc exp run --run-all -j 2")
        said += [_start(clone, "dvc --wait-for-lock repro").ended(), workers.ended()]
        found = list(_faults(clone, said, expected))
        tasks = _tasks(clone)
        queued += len(tasks)
        for name, status in tasks.items():
            if status == "Success":
                code, answer = _start(clone, f"dvc exp apply {name}").ended()
                found += [f"dvc exp apply {name} ended with {code}: {answer[-200:]}"] if code else []
                found += [f"experiment {name}: {each}" for each in _differences(clone, expected)]
            elif status == "Failed":
                found.append(f"experiment {name} failed: {_start(clone, f'dvc queue logs {name}').ended()[1][-500:]}")
            else:
                lost.append(f"experiment {name} is {status} though --run-all has ended")
        _start(clone, "dvc queue stop --kill; dvc queue remove --all").ended()
        faults += ["; ".join(found)] if found else []
    yield Finding(
        "two workers of `dvc exp run --run-all -j 2` and a `dvc --wait-for-lock repro` at once in one clone",
        bench.tries,
        faults,
        "all three have the same network to fix: who comes second waits; each ends as alone",
    )
    yield Finding(
        "experiments that DVC's queue has run, of those that were queued",
        queued,
        lost,
        "what is lost here DVC itself loses (treeverse/dvc#10398, treeverse/dvc#10673); `dvc exp run --run-all` again "
        "runs it",
    )


def _with_delta(clone: Path) -> Path:
    edited(clone / "params.yaml", "\ndelta: 0.01\n", f"\ndelta: {DELTA}\n")
    return clone


def _tasks(clone: Path) -> dict[str, str]:
    """Status of every queued experiment, by its name."""
    lines = _start(clone, "dvc queue status").ended()[1].splitlines()
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines]
    return {row[1]: row[-1] for row in rows if len(row) > 2 and row[0] != "Task"}
