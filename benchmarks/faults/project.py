"""A finished clone with the tiny profile, copies of it, and a stage run there again, by DVC or by hand."""

from __future__ import annotations

import hashlib
import io
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import psutil
import yaml
from filelock import FileLock

from benchmarks.faults.finding import Bench, Finding
from pipeline.base.kept import DONE
from tests.clones import (
    clean_environment,
    copy_clone,
    edited,
    files_of,
    heed_ctrl_c,
    make_clone,
    move_artifacts,
    run_in,
)

STAGES = ("data", "pretrain", "fix", "explore", "quantise@apot-3", "home", "pack", "report", "track")
# One thread, so that two copies do not slow each other; sums are rounded differently with another number.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
CHANGING = ("timing.json", ".gitignore")  # new each time; written by DVC


def finished(bench: Bench) -> Path:
    """A clone in which `dvc repro` has run, with a checkpoint after every epoch; for copying. Made once in a folder."""
    folder = bench.folder / "finished"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            half = bench.folder / "half-finished"
            shutil.rmtree(half, ignore_errors=True)
            make_clone(half)
            edited(half / "pipeline/training/checkpoint.py", "SECONDS_BETWEEN = 30.0", "SECONDS_BETWEEN = 0.0")
            done = run_in(half, "git commit --quiet --all --message checkpoints && dvc repro", ENVIRONMENT)
            if done.returncode:
                raise SystemExit(f"dvc repro failed:\n{done.stdout}\n{done.stderr}")
            half.rename(folder)
            move_artifacts(half, folder)
    return folder.resolve()


def fresh(bench: Bench, name: str) -> Path:
    """A copy of the finished clone, without DVC's cache of runs: it would bring back what a stage should make."""
    folder = bench.folder / name
    shutil.rmtree(folder, ignore_errors=True)
    copy_clone(finished(bench), folder)
    shutil.rmtree(folder / ".dvc/cache/runs", ignore_errors=True)
    return folder


def fresh_and_live(bench: Bench, name: str) -> Path:
    """The same, which logs to MLflow from its first second on, as work of more than two minutes does."""
    clone = fresh(bench, name)
    edited(clone / "pipeline/watching/tracking.py", "LIVE_AFTER = 120.0", "LIVE_AFTER = 0.0")
    return clone


def by_stage(bench: Bench, of_stage: Callable[[Bench, str], list[Finding]]) -> Iterator[Finding]:
    """What every stage has come to, two clones at a time."""
    finished(bench)
    with ThreadPoolExecutor(2) as pool:
        for findings in pool.map(lambda stage: of_stage(bench, stage), STAGES):
            yield from findings


def unfinished(clone: Path) -> list[str]:
    """What is kept of work that has not ended well; that of the rest stays until DVC has recorded it."""
    return sorted(path.name for path in (clone / ".ckpt").glob("*") if not (path / DONE).exists())


def forget(clone: Path, stage: str) -> None:
    """What would spare DVC the work of a stage: that it has been done, and was kept; of `track`, what MLflow has."""
    for kept in (".dvc/cache/runs", ".ckpt"):
        shutil.rmtree(clone / kept, ignore_errors=True)
    lock = clone / "dvc.lock"
    locked = yaml.safe_load(lock.read_text())
    locked["stages"].pop(stage, None)
    lock.write_text(yaml.safe_dump(locked, sort_keys=False))
    if stage == "track":
        for path in clone.glob("mlflow.db*"):
            path.unlink()
        shutil.rmtree(clone / "mlartifacts", ignore_errors=True)


def outputs(clone: Path, stage: str) -> dict[str, str]:
    """Checksums of what a stage has made, by path, its clocks aside; of `track`, the runs that MLflow has."""
    if stage == "track":
        return logged(clone)
    locked = yaml.safe_load((clone / "dvc.lock").read_text())["stages"].get(stage, {}).get("outs", [])
    made = {out["path"]: contents(clone / out["path"]) for out in locked}
    return {f"{out}/{name}": checksum for out, files in made.items() for name, checksum in files.items()}


def contents(folder: Path) -> dict[str, str]:
    """Checksums of a folder's files, by path, without what differs from run to run: its clocks, columns of seconds.

    And without the folder itself, which a page names in the lines that load its network.
    """
    found = {name: checksum for name, checksum in files_of(folder).items() if Path(name).name not in CHANGING}
    tables = {name: _without_seconds(folder / name) for name in found if name.endswith(".csv")}
    pages = {name: _without_place(folder / name, folder) for name in found if name.endswith(".html")}
    return found | tables | pages


def _without_place(path: Path, folder: Path) -> str:
    return hashlib.sha256(path.read_bytes().replace(str(folder).encode(), b"")).hexdigest()


def _without_seconds(path: Path) -> str:
    """The checksum of a table without its columns of seconds."""
    table = pd.read_csv(io.BytesIO(path.read_bytes()), dtype=str)
    kept = table[[name for name in table if "seconds" not in str(name)]]
    return hashlib.sha256(kept.to_csv(index=False).encode()).hexdigest()


def logged(root: Path, database: str = "mlflow.db") -> dict[str, str]:
    """Of every key how many finished runs have it; and the number of runs that are open or failed."""
    query = (
        "select coalesce(tags.value, ''), status, count(*) from runs left join tags on runs.run_uuid = tags.run_uuid "
        "and tags.key = 'wfn.key' where lifecycle_stage = 'active' group by 1, 2"
    )
    return {f"{status} {key}": str(count) for key, status, count in _asked(root / database, query)}


def logged_files(root: Path, database: str, files: str) -> dict[str, str]:
    """The names of every finished run's artifacts, by its key. files: the folder of all artifacts."""
    query = (
        "select tags.value, runs.run_uuid from runs join tags on runs.run_uuid = tags.run_uuid "
        "and tags.key = 'wfn.key' where lifecycle_stage = 'active' and status = 'FINISHED'"
    )
    folders = {path.name: path for path in (root / files).glob("**/*") if path.is_dir()}
    found = {key: folders.get(run) for key, run in _asked(root / database, query)}
    return {f"files of {key}": " ".join(files_of(folder)) if folder else "" for key, folder in found.items()}


def _asked(database: Path, query: str) -> list[tuple[Any, ...]]:
    """What a database answers; nothing where there is none."""
    if not database.exists():
        return []
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return list(connection.execute(query))


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What is missing, new or different."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def command(clone: Path, stage: str, out: Path | None) -> list[str]:
    """That runs a stage by hand, with a folder for what it makes."""
    found = [str(clone / ".venv/bin/python"), "-m", f"stages.{stage.partition('@')[0]}"]
    if stage.partition("@")[2] or stage == "fix":
        found += ["--stage", stage]
    return found + ([] if out is None else ["--out", str(out)])


def work(
    clone: Path,
    stage: str,
    out: Path | None,
    environment: Mapping[str, str] = MappingProxyType({}),
    preexec_fn: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """A stage by hand, to its end; one that takes five minutes is killed, with exit code 124."""
    line = command(clone, stage, out)
    try:
        return subprocess.run(
            line, cwd=clone, env=clean_environment() | ENVIRONMENT | dict(environment),
            preexec_fn=preexec_fn, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(line, 124, "", "killed after five minutes")


def undisturbed(clone: Path, stage: str) -> Path:
    """The folder that a stage makes by hand where nothing is in its way."""
    folder = clone / f"undisturbed-{stage.partition('@')[0]}"
    if not folder.exists() and work(clone, stage, folder).returncode:
        raise SystemExit(f"stage {stage} failed in {clone}")
    return folder


def not_as_made(done: subprocess.CompletedProcess[str], made: Path, out: Path) -> str:
    """What is wrong with a stage that must have made what another run has."""
    if done.returncode or "Traceback" in done.stderr:
        return f"exit code {done.returncode}: {last_line(done)}"
    differ = differences(contents(made), contents(out))
    return f"other results: {', '.join(differ[:3])}" if differ else ""


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The last that a command has said."""
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1][:200] if lines else "nothing said"


@contextmanager
def dvc_at_work(clone: Path, stage: str) -> Iterator[subprocess.Popen[bytes]]:
    """DVC that runs one stage again, just begun. Ended at the end, killed or not."""
    line = [str(clone / ".venv/bin/dvc"), "repro", "--single-item", stage]
    with _log(clone).open("w") as said, subprocess.Popen(
        line, cwd=clone, env=clean_environment() | ENVIRONMENT, start_new_session=True, preexec_fn=heed_ctrl_c,
        stdin=subprocess.DEVNULL, stdout=said, stderr=said,
    ) as dvc:  # fmt: skip
        try:
            yield dvc
        finally:
            if dvc.poll() is None:
                dvc.kill()


def _log(clone: Path) -> Path:
    return clone.with_name(f"{clone.name}.log")


def begun(dvc: subprocess.Popen[bytes], clone: Path) -> psutil.Process:
    """The process of the stage that DVC runs in a clone, as soon as it begins."""
    while dvc.poll() is None:
        for child in psutil.Process(dvc.pid).children(recursive=True):
            if is_stage(child):
                return child
        time.sleep(0.005)
    raise SystemExit(f"dvc ended before its stage began:\n{_log(clone).read_text()}")


def is_stage(process: psutil.Process) -> bool:
    """Whether a process is Python with one of our stages."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return len(words) > 2 and words[1] == "-m" and words[2].startswith("stages.")


def stages_in(clone: Path) -> dict[int, str]:
    """Names of the stages that work in a clone, by the number of their process; without what these have forked."""
    found: dict[int, str] = {}
    parents: dict[int, int] = {}
    for process in psutil.process_iter():
        try:
            if is_stage(process) and Path(process.cwd()) == clone:
                found[process.pid] = process.environ().get("DVC_STAGE", process.cmdline()[2])
                parents[process.pid] = process.ppid()
        except psutil.Error:
            continue
    return {number: name for number, name in found.items() if parents[number] not in found}
