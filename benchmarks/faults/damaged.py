"""Files of ours that a bad disk has damaged: what is kept of unfinished work, and results that another stage reads.

A checkpoint, or a run that is kept, is named, set aside and not used. A result is refused in one line that names it, or
reads as other numbers, which only its checksum tells: DVC sees that, and makes it anew.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults.damage import damaged
from benchmarks.faults.disks import KEEPING
from benchmarks.faults.finding import Bench, Finding
from benchmarks.faults.project import (
    ENVIRONMENT,
    command,
    differences,
    fresh,
    last_line,
    not_as_made,
    outputs,
    undisturbed,
    unfinished,
    work,
)
from tests.clones import clean_environment, run_in

TITLE = "Damaged files"
RESULTS = "runs/mnist5k/fix"
KEPT_WITHIN = 120.0  # seconds
STATES, NETWORKS = "*/state.pt", "*.runs/[!.]*/*"  # in .ckpt


def run(bench: Bench) -> Iterator[Finding]:
    """What every stage that keeps something has kept, and the files of `fix`, each so many times."""
    clone = fresh(bench, "damaged")
    for stage in KEEPING:
        yield kept(clone, bench, stage)
    yield results(clone, bench)


def kept(clone: Path, bench: Bench, stage: str) -> Finding:
    """What a stage has kept when it is killed: a checkpoint, in half of the tries of `explore` a network."""
    made, out, choices = undisturbed(clone, stage), clone / "damaged", bench.choices(f"kept {stage}")
    faults: list[str] = []
    for number in range(bench.tries):
        shutil.rmtree(out, ignore_errors=True)
        pattern = NETWORKS if stage == "explore" and number % 2 else STATES
        path = choices.choice(broken_off(clone, stage, out, pattern))
        how = _damage(path, choices)
        done = work(clone, stage, out)
        fault = not_as_made(done, made, out)
        if not fault and f"{path.parent if pattern == NETWORKS else path}: damaged" not in done.stderr:
            fault = f"nothing is said of it: {last_line(done)}"
        if not fault and (left := [each for each in unfinished(clone) if not each.endswith(".lock")]):
            fault = f"left over: {left[0]}"
        faults += [f"{path.name}, {how}: {fault}"] if fault else []
    return Finding(f"what `{stage}` has kept is damaged", bench.tries, faults, "named and set aside; the same bytes")


def broken_off(clone: Path, stage: str, out: Path, pattern: str) -> list[Path]:
    """Kill a stage (kill -9) as soon as it has kept something; the files that it has."""
    for _ in range(5):  # it may have ended, and have taken them away, before it is killed
        shutil.rmtree(clone / ".ckpt", ignore_errors=True)
        with subprocess.Popen(
            command(clone, stage, out), cwd=clone, env=clean_environment() | ENVIRONMENT,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            deadline = time.monotonic() + KEPT_WITHIN
            while process.poll() is None and time.monotonic() < deadline and not _files(clone, pattern):
                time.sleep(0.005)
            process.kill()
        if found := _files(clone, pattern):
            return found
    raise SystemExit(f"stage {stage} keeps nothing in {clone}")


def _files(clone: Path, pattern: str) -> list[Path]:
    return sorted(path for path in (clone / ".ckpt").glob(pattern) if path.is_file())


def _damage(path: Path, choices: random.Random) -> str:
    """Change a file; how, in words."""
    before = path.read_bytes()
    while (found := damaged(before, choices))[1] == before:
        pass
    path.chmod(0o644)  # DVC may have it read-only
    path.write_bytes(found[1])
    return found[0]


def results(clone: Path, bench: Bench) -> Finding:
    """A file of the fixed network: read by `report` and `pack` by hand, then by `dvc repro`, which has its checksum."""
    choices, before = bench.choices("results"), {stage: outputs(clone, stage) for stage in ("fix", "pack")}
    names = sorted(path.relative_to(clone) for path in (clone / RESULTS).iterdir())
    faults: list[str] = []
    for _ in range(bench.tries):
        name = choices.choice(names)
        how = _damage(clone / name, choices)
        found = [_by_hand(clone, stage, name) for stage in ("report", "pack")]
        shutil.rmtree(clone / ".dvc/cache/runs", ignore_errors=True)  # it would bring the network back
        again = run_in(clone, "dvc repro report", ENVIRONMENT)
        if again.returncode or "Traceback" in again.stderr:
            found.append(f"`dvc repro` ended with {again.returncode}: {last_line(again)}")
        differ = {stage: differences(was, outputs(clone, stage)) for stage, was in before.items()}
        found += [f"{stage}: {', '.join(names[:2])}" for stage, names in differ.items() if names]
        faults += [f"{name}, {how}: {each}" for each in found if each][:1]
    return Finding("a file of the fixed network is damaged", bench.tries, faults, "`dvc repro` makes it anew")


def _by_hand(clone: Path, stage: str, name: Path) -> str:
    shutil.rmtree(clone / "read", ignore_errors=True)
    done = work(clone, stage, clone / "read")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if "Traceback" in done.stderr or done.returncode not in (0, 2):
        return f"`{stage}` ends with {done.returncode}: {last_line(done)}"
    if done.returncode and (len(errors) != 1 or str(name) not in errors[0]):
        return f"`{stage}` says {' / '.join(errors)}"
    return ""
