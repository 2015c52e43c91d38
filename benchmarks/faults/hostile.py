"""Hostile input: damaged, forged and malicious files of every kind that is read, through the project's own readers.

A file is either read, or refused in one line that a terminal shows as it is. Nothing in it is executed, nothing ends in
a traceback, and no file takes more memory or time than a file of its size may.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any, NamedTuple

import psutil

from benchmarks.faults.finding import Bench, Finding
from benchmarks.faults.hostile_files import KINDS, MARKER, Case

TITLE = "Hostile input"
SECONDS = 5.0  # for one file
MEMORY = 768 << 20  # bytes beyond what the reading process has before its first file
ROOT = Path(__file__).parents[2]
READER = ["-m", "benchmarks.faults.hostile_reader"]
START = 120.0  # seconds for imports


class Outcome(NamedTuple):
    """What became of a file. outcome: "read", "refused" or "fault"; memory: the most bytes beyond those at first."""

    outcome: str
    said: str
    seconds: float
    memory: int


class Reader:
    """A process that reads files one after the other; it is ended and begun anew where one takes too much."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._process: subprocess.Popen[str] | None = None
        self._answers: Queue[str] = Queue()
        self._at_first = 0

    def read(self, kind: str, folder: Path, seconds: float) -> Outcome:
        """Let the process read a case, and watch it."""
        if self._process is None:
            self._start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        begun = time.monotonic()
        process.stdin.write(json.dumps([kind, str(folder)]) + "\n")
        process.stdin.flush()
        most, wrong = 0, ""
        while not wrong:
            try:
                answer = self._answers.get(timeout=0.005)
            except Empty:
                most = max(most, self._memory())
                if most > MEMORY:
                    wrong = f"takes more than {MEMORY >> 20} MiB"
                elif time.monotonic() - begun > seconds:
                    wrong = f"takes more than {seconds:g} s"
                continue
            if not answer:
                wrong = f"ends the process that reads it, with code {process.wait()}"
                break
            found: dict[str, Any] = json.loads(answer)
            return Outcome(found["outcome"], found["said"], time.monotonic() - begun, most)
        self.close()
        return Outcome("fault", wrong, time.monotonic() - begun, most)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
        self._process = None

    def _start(self) -> None:
        places = {name: str(self._scratch / "cache") for name in ("HF_HOME", "HF_DATASETS_CACHE")}
        quiet = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, *READER],
            cwd=self._scratch, env={**os.environ, **places, **quiet, "PYTHONPATH": str(ROOT)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        answers: Queue[str] = Queue()

        def forward() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                answers.put(line)
            answers.put("")

        threading.Thread(target=forward, daemon=True).start()
        if not answers.get(timeout=START):
            raise RuntimeError("the process that reads hostile files does not start")
        self._process, self._answers = process, answers
        self._at_first = psutil.Process(process.pid).memory_info().rss

    def _memory(self) -> int:
        assert self._process is not None
        try:
            return psutil.Process(self._process.pid).memory_info().rss - self._at_first
        except psutil.NoSuchProcess:
            return 0


def run(bench: Bench) -> Iterator[Finding]:
    """A finding for each kind of file."""
    bench.folder.mkdir(parents=True, exist_ok=True)
    reader = Reader(bench.folder)
    try:
        for name, kind in KINDS.items():
            faults, outcomes = [], []
            for case in kind.cases(bench.choices(name), bench.tries):
                outcome = _try(reader, kind.reader, bench.folder, case)
                outcomes.append(outcome)
                if outcome.outcome == "fault" or (case.whole and outcome.outcome != "read"):
                    faults.append(f"{case.what}: {outcome.said}")
            yield Finding(f"{name}: read, or refused in one line", len(outcomes), faults, _note(outcomes))
    finally:
        reader.close()


def _try(reader: Reader, kind: str, scratch: Path, case: Case) -> Outcome:
    """Write the files of a case, read them, and see whether they have run anything."""
    folder, marker = scratch / "case", scratch / MARKER
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    outcome = reader.read(kind, folder, START if case.whole else SECONDS)  # with a whole one, more is imported
    shutil.rmtree(folder)
    if marker.exists():
        marker.unlink()
        outcome = outcome._replace(outcome="fault", said=f"was executed; {outcome.said}")
    return outcome


def _note(outcomes: list[Outcome]) -> str:
    read = sum(each.outcome == "read" for each in outcomes)
    refused = sum(each.outcome == "refused" for each in outcomes)
    longest, most = max(each.seconds for each in outcomes), max(each.memory for each in outcomes)
    return f"{read} read, {refused} refused; at most {longest:.1f} s and {most / 2**20:.0f} MiB for one"
