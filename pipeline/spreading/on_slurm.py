"""Slurm as the engine, by submitit: every cell is a job."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit

from pipeline.base.errors import InputError
from pipeline.base.settings import Settings, parse_yaml
from pipeline.spreading.cell import Cell, News, Outcome, Source, work
from pipeline.spreading.engine import needs_of

MOMENT = 2.0  # seconds; a question to Slurm for all jobs
# A file that another machine has written may be seen later by so much (seconds) than that the job has left the queue.
LATE_FILES = 30.0
# Jobs take as long to end: Slurm's own patience with them, `KillWait`, is half a minute. Or its controller is down.
CANCELLED = 90.0  # seconds
DAY = 24 * 60  # minutes, after which Slurm ends a job that was given no other `time`
MARK = "cell: "  # begins a line of a job's output that is news


class OnSlurm:
    """Jobs of one name in one folder. Slurm has them wait for each other, and makes those again whose node fails."""

    def __init__(self, settings: Settings, folder: Path, options: Sequence[str]) -> None:
        for program in ("sbatch", "squeue", "scancel"):
            if shutil.which(program) is None:
                raise InputError(f"--engine slurm: {program} is missing on this machine; allowed: local, ray")
        self._folder = folder
        self._name = f"wfn-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"  # of this clone's jobs
        given = _given(options)
        needs = needs_of(settings, gpus=any("gpu" in key or "gres" in key for key in given))
        cores = {"cpus_per_task": needs.cores} if needs.cores else {"exclusive": True}
        self._options = {"time": DAY} | cores | given
        self._jobs: dict[str, submitit.Job[Outcome]] = {}
        self._read: dict[str, int] = {}  # bytes of a job's output
        self._gone: dict[str, float] = {}  # when a job without a result had left the queue

    def refusals(self, source: Source) -> list[str]:
        """None before a job has a machine."""
        return []

    def start(self, source: Source, cells: Sequence[Cell], waits: Mapping[str, set[str]]) -> None:
        """A cell reads the outcomes of those that it waits for from the folder."""
        # What a sweep that was killed has left in the queue; it goes on from its checkpoints.
        if not self._cancel():
            raise InputError(f"--engine slurm: jobs of an earlier sweep have not ended; scancel --name={self._name}")
        shutil.rmtree(self._folder, ignore_errors=True)
        executor = submitit.SlurmExecutor(self._folder)
        for cell in cells:
            before = {stage: self._jobs[stage] for stage in waits[cell.stage]}
            after = "afterany:" + ":".join(job.job_id for job in before.values()) if before else None
            executor.update_parameters(
                **self._options, dependency=after, job_name=self._name, comment=cell.stage, stderr_to_stdout=True
            )
            results = {stage: job.paths.result_pickle for stage, job in before.items()}
            try:
                self._jobs[cell.stage] = executor.submit(_make, source, cell, results)
            except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError) as error:
                self._cancel()
                raise InputError(f"--slurm: sbatch says {str(error).strip().splitlines()[-1]}") from None

    def news(self) -> Sequence[News | Outcome]:
        """From the jobs' output, and from the queue."""
        time.sleep(MOMENT)
        queued = self._queued()
        said: list[News | Outcome] = [news for stage, job in self._jobs.items() for news in self._said(stage, job)]
        for stage, job in [*self._jobs.items()]:
            if job.paths.result_pickle.exists():
                said.append(_result(stage, job.paths.result_pickle))
            elif job.job_id in queued or time.monotonic() - self._gone.setdefault(stage, time.monotonic()) < LATE_FILES:
                continue
            else:
                said.append(Outcome(stage, error=f"job {job.job_id} ended without a result: {job.paths.stdout}"))
            del self._jobs[stage]
        return said

    def _said(self, stage: str, job: submitit.Job[Outcome]) -> list[News]:
        """Whole lines that the job has printed since; others than ours are of the engine."""
        try:
            with job.paths.stdout.open("rb") as file:
                file.seek(self._read.get(stage, 0))
                text = file.read()
        except OSError:  # has not begun
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._read[stage] = self._read.get(stage, 0) + len(whole)
        ours = (line for line in whole.decode(errors="replace").splitlines() if line.startswith(MARK))
        return [News(stage, *json.loads(line.removeprefix(MARK))) for line in ours]

    def _queued(self) -> set[str]:
        names = subprocess.run(
            ["squeue", "--noheader", f"--name={self._name}", "--format=%A"], capture_output=True, text=True, check=False
        )
        # Where Slurm does not answer, nothing is known to have ended.
        return {*names.stdout.split()} if names.returncode == 0 else {job.job_id for job in self._jobs.values()}

    def _cancel(self) -> bool:
        """Have Slurm end all jobs; whether it has."""
        until = time.monotonic() + CANCELLED
        subprocess.run(["scancel", "--quiet", f"--name={self._name}", "--me"], capture_output=True, check=False)
        while self._queued():
            if time.monotonic() > until:
                return False
            time.sleep(MOMENT)
        return True

    def stop(self) -> None:
        """Slurm sends SIGTERM to every process of the jobs: their stages keep a checkpoint."""
        if not self._cancel():
            print("spread: Slurm has not ended the jobs; the next sweep has it do that first", file=sys.stderr)

    def close(self) -> None:
        """There is nothing to give back."""


def _make(source: Source, cell: Cell, before: Mapping[str, Path]) -> Outcome:
    """What a job runs; before: the results of those that it waits for."""

    def tell(news: News) -> None:
        print(f"{MARK}{json.dumps([news.begun, news.text])}", flush=True)

    return work(source, cell, tell, [_result(stage, path) for stage, path in before.items()])


def _result(stage: str, path: Path) -> Outcome:
    """What a job has left."""
    try:
        kind, result = submitit.core.utils.pickle_load(path)
    except (OSError, EOFError) as error:
        return Outcome(stage, error=f"left no result ({error})")
    return result if kind == "success" else Outcome(stage, error=str(result).strip().splitlines()[-1])


def _given(options: Sequence[str]) -> dict[str, Any]:
    """Parameters of submitit, from key=value."""
    found = {}
    for text in options:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--slurm {text}: key=value is needed, as in --slurm partition=gpu")
        found[key] = parse_yaml(value, f"--slurm {text}")
    try:
        submitit.SlurmExecutor(".").update_parameters(**found)
    except ValueError as error:
        raise InputError(f"--slurm: {' '.join(str(error).split())}") from None
    return found
