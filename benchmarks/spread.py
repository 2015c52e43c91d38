"""What `python -m stages.spread` adds to the stages, and what it saves: `python -m benchmarks.spread --help`.

cells: stages that do nothing, in a project of their own, are spread over Ray on this machine. Measured are DVC's look
at what is out of date, the cells a minute, what the process that starts them takes, and what is left in the cache.
Beside it, in the same run: the same cells one after the other by plain `dvc repro`.

networks: a small pipeline's own, of longer training, by two workers with one thread each on this machine, and in
another clone one after the other by `dvc repro` with one thread.

Each prints a table and writes its part of the JSON.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import yaml
from rich.console import Console
from rich.table import Table

from pipeline.ahead.side_by_side import out_of_date
from pipeline.base.results import read_json, to_json, write_files
from pipeline.base.settings import load_settings
from pipeline.spreading.on_ray import OnRay
from pipeline.spreading.plan import source_of
from pipeline.spreading.sweep import bring, make_cells
from tests.clones import clean_environment, edited, make_clone

STAGES = """stages:
  data:
    cmd: mkdir -p made/data && echo data > made/data/text
    outs: [made/data]
  cells:
    matrix: {{number: [{numbers}]}}
    cmd: mkdir -p made/${{item.number}} && echo ${{item.number}} > made/${{item.number}}/text
    deps: [made/data]
    outs: ['made/${{item.number}}']
"""
MEANINGS = {
    "cells": "cells",
    "planning_s": "DVC's look at what is out of date, s",
    "starting_s": "engine, clones and the first cell, s",
    "cells_per_minute": "cells a minute, on all cores",
    "core_seconds_a_cell": "seconds of a core a cell",
    "plain_seconds_a_cell": "the same by plain `dvc repro`, s a cell",
    "driver_cpu_s": "CPU of the process that starts them, s",
    "driver_mb": "its memory at most, MB",
    "cache_files": "files in the cache",
    "cache_mb": "bytes of the cache, MB",
    "restoring_s": "bringing all results here, s",
    "looking_s": "`dvc repro` afterwards, s",
    "epochs": "epochs of each fixed network's round",
    "networks_plain_s": "all networks by plain `dvc repro`, one thread, s",
    "networks_spread_s": "the same by two workers of one thread each, s",
    "times_faster": "times faster",
    "whole_plain_s": "`dvc repro` to the end, s",
    "whole_spread_s": "`python -m stages.spread` to the end, s",
}
# What is said when the last network is made.
ALL_MADE = {"dvc repro": r"Running stage 'pack'", "python -m stages.spread": r"spread: (\d+) of \1 cells are done"}


def measure_cells(count: int, plain: int) -> dict[str, float]:
    """Spread so many cells; make `plain` of as many without it. Works in the current folder, which is a project."""
    settings = load_settings()
    commit = _commit(count)
    planning, waits = _timed(out_of_date)
    source = source_of(commit, False, None)
    begun = time.process_time()
    first, *others = waits
    opening, engine = _timed(lambda: OnRay(settings, None))
    with closing(engine):
        starting, made = _timed(lambda: make_cells(engine, source, {first: set()}, {}))
        making, more = _timed(lambda: make_cells(engine, source, {each: set() for each in others}, {}))
    cache = [path.stat().st_size for path in Path(".dvc", "cache").rglob("*") if path.is_file()]
    restoring, _ = _timed(lambda: bring(made | more, remote=False))
    looking, _ = _timed(lambda: subprocess.run(["dvc", "repro", "--quiet"], check=True))
    rate = len(others) / making
    cores = len(os.sched_getaffinity(0))
    return {
        "cells": len(waits),
        "planning_s": planning,
        "starting_s": opening + starting,
        "cells_per_minute": 60 * rate,
        "core_seconds_a_cell": cores / rate,
        "plain_seconds_a_cell": _plain(plain),
        "driver_cpu_s": time.process_time() - begun,
        "driver_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "cache_files": len(cache),
        "cache_mb": sum(cache) / 1e6,
        "restoring_s": restoring,
        "looking_s": looking,
    }


def _commit(count: int) -> str:
    """Make the current folder the project, with `data` made already; returns its commit."""
    Path("dvc.yaml").write_text(STAGES.format(numbers=", ".join(map(str, range(count)))))
    for command in (
        ["git", "init", "--quiet"], ["dvc", "init", "--quiet"], ["dvc", "config", "core.analytics", "false"],
        ["dvc", "repro", "--quiet", "data"],
        ["git", "add", "--all"],
        ["git", "-c", "user.name=b", "-c", "user.email=b@example.invalid", "commit", "--quiet", "--message", "cells"],
    ):  # fmt: skip
        subprocess.run(command, check=True)
    return subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def _plain(count: int) -> float:
    """Seconds a cell of plain `dvc repro`, which makes one after the other in one process."""
    shutil.rmtree(".dvc/cache/runs")
    shutil.rmtree("made", ignore_errors=True)
    Path("dvc.lock").unlink()
    subprocess.run(["dvc", "repro", "--quiet", "data"], check=True)
    seconds, _ = _timed(
        lambda: subprocess.run(["dvc", "repro", "--quiet", *(f"cells@{each}" for each in range(count))], check=True)
    )
    return seconds / count


def measure_networks(epochs: int) -> dict[str, float]:
    """Make the networks of the small pipeline in two clones in the current folder; epochs: of every round."""
    seconds = {}
    for number, (command, made) in enumerate(ALL_MADE.items()):
        clone = Path(f"clone-{number}").resolve()
        make_clone(clone)
        edited(clone / "params.yaml", "threads: auto", "threads: 1")
        profile = clone / "profiles" / "mnist5k.yaml"
        values = yaml.safe_load(profile.read_text())
        values["finetune"]["epochs"] = epochs
        profile.write_text(yaml.safe_dump(values, sort_keys=False))
        subprocess.run(["git", "commit", "--quiet", "--all", "--message", "longer"], cwd=clone, check=True)
        seconds[command] = _until(made, command, clone)
    (plain, plain_whole), (spread, spread_whole) = seconds.values()
    return {
        "epochs": epochs,
        "networks_plain_s": plain,
        "networks_spread_s": spread,
        "times_faster": plain / spread,
        "whole_plain_s": plain_whole,
        "whole_spread_s": spread_whole,
    }


def _until(said: str, command: str, clone: Path) -> tuple[float, float]:
    """Seconds until a command has said so, and until its end."""
    start, found = time.perf_counter(), 0.0
    with subprocess.Popen(
        ["bash", "-c", f". .venv/bin/activate; exec {command}"], cwd=clone, env=clean_environment(), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if not found and re.search(said, line):
                found = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode} in {clone}")
    return found, time.perf_counter() - start


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("cells", "networks"))
    parser.add_argument("--cells", type=int, default=1000, help="how many cells are spread (%(default)s)")
    parser.add_argument("--plain", type=int, default=50, help="how many are made by plain dvc repro (%(default)s)")
    parser.add_argument("--epochs", type=int, default=40, help="of every round of a network (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks", "spread.json"))
    arguments = parser.parse_args()
    home, out = Path().resolve(), arguments.out.resolve()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("params.yaml", "pyproject.toml", "profiles"):
            (shutil.copytree if (home / name).is_dir() else shutil.copy)(home / name, Path(folder, name))
        os.chdir(folder)
        try:
            if arguments.part == "cells":
                found = measure_cells(arguments.cells, min(arguments.plain, arguments.cells))
            else:
                found = measure_networks(arguments.epochs)
        finally:
            os.chdir(home)
    machine = {"cores": psutil.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    table = Table("measured", "figure")
    for key, value in found.items():
        table.add_row(MEANINGS[key], f"{value:,.0f}" if value >= 100 else f"{value:.3g}")
    Console().print(table)
    kept = read_json(out) if out.exists() else {}
    write_files(out.parent, {out.name: to_json(kept | {arguments.part: {"machine": machine, **found}})})


if __name__ == "__main__":
    main()
