"""Where the networks of the paper are made: for each a folder of its own in the clone, with the same code and graph.

It is to DVC a repository with the cache of the clone: what is made there has no part in the clone's params.yaml and
dvc.lock, and is not made again by anything that asks DVC for the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from pipeline.base.errors import InputError
from pipeline.base.results import CARD, write_files
from pipeline.base.settings import Settings, load_settings
from pipeline.base.settings.reading import PARAMS_FILE, PROFILES
from pipeline.paper.plan import PROFILE, Files, Plan

FOLDER = Path(".paper")
FOLDERS = ("wfn", "pipeline", "stages", "profiles", "paper")
GRAPH = (Path("dvc.yaml"), Path(".dvcignore"))
RESULTS = ("packed", "home", "reports")
DATA = "data"  # a stage, and a folder of runs/PROFILE
DATA_SET = Path("runs") / PROFILE / DATA
LOCK = Path("dvc.lock")
OWN = PROFILES / f"{PROFILE}.yaml"
CONFIG = """[core]
    analytics = false
    check_update = false
    no_scm = true
[cache]
    dir = {cache}
"""
LOOKS_EVERY = 0.5  # seconds


def place_of(plan: Plan, network: str) -> Path:
    """The folder in which a network of the plan is made, in the clone."""
    return FOLDER / plan.images / network


def settings_in(place: Path) -> Settings | None:
    """The settings that the work there was begun with; None where none was, or by a version with other settings."""
    if not (place / PARAMS_FILE).exists():
        return None
    try:
        return load_settings(place / PARAMS_FILE, place / PROFILES)
    except InputError:
        return None


def furnish(place: Path, clone: Path, files: Files) -> None:
    """Bring code and settings of the clone there.

    Where that changes anything, results that lie there are put away: DVC gets those that still hold out of its cache.
    Not the data set, which it would not: it is made again where DVC finds it out of date.
    """
    own = {OWN: files.profile, PARAMS_FILE: files.params}
    texts = {name: yaml.safe_dump(dict(values), sort_keys=False).encode() for name, values in own.items()}
    there = _code(place) | {name: _content(place / name) for name in texts}
    if there != _code(clone) | texts:
        (place / PARAMS_FILE).unlink(missing_ok=True)  # comes back last: broken off, this begins anew
        results = [each for each in place.glob("runs/*/*") if each.name != DATA]
        for path in [*results, *(place / folder for folder in (*RESULTS, *FOLDERS))]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for folder in FOLDERS:  # with what Python has compiled, which goes by the files' times
            shutil.copytree(clone / folder, place / folder)
        for name in GRAPH:
            shutil.copy2(clone / name, place / name)
        for name, content in texts.items():
            write_files((place / name).parent, {name.name: content})
    cache = subprocess.run(["dvc", "cache", "dir"], cwd=clone, check=True, capture_output=True, text=True).stdout
    write_files(place / ".dvc", {"config": CONFIG.format(cache=cache.strip()).encode()})


def lend_data(place: Path, current: Sequence[Path], others: Sequence[Path], changed: float) -> None:
    """Give a place the data set of another one, with what DVC has recorded of it: the same for all networks.

    It took a look at every picture. DVC makes it anew where code or settings are others by now; it does not see other
    pictures at the same place. current: places whose data set DVC has found up to date. others: of those that may not
    be, one lends to a place that has none. changed: of the folders of pictures, the last time that one did, seconds
    since 1970; what is older is not lent.
    """
    mine = _recorded(place).get(DATA) if (place / DATA_SET).is_dir() else None
    for lender in [*current, *(others if mine is None else [])]:
        theirs = _recorded(lender).get(DATA)
        card = lender / DATA_SET / CARD
        if lender == place or theirs is None or not card.exists() or card.stat().st_mtime <= changed:
            continue
        if theirs != mine:
            with suppress(OSError):  # a full disk: the stage itself will say so
                _copy_data(lender, place, theirs)
        return


def _copy_data(lender: Path, place: Path, recorded: Any) -> None:
    """Copy a data set and its record; without the record, which comes last, DVC makes it anew."""
    when = (lender / DATA_SET / CARD).stat()
    write_files(place / DATA_SET, {each.name: each.read_bytes() for each in (lender / DATA_SET).iterdir()})
    os.utime(place / DATA_SET / CARD, ns=(when.st_atime_ns, when.st_mtime_ns))  # of the look at the pictures
    lock = {"schema": "2.0", "stages": _recorded(place) | {DATA: recorded}}
    write_files(place, {LOCK.name: yaml.safe_dump(lock, sort_keys=False).encode()})


def _recorded(place: Path) -> dict[str, Any]:
    """What DVC has recorded of every stage; nothing where its file is not there, or not whole."""
    try:
        found = yaml.safe_load((place / LOCK).read_bytes())
    except (FileNotFoundError, yaml.YAMLError):
        return {}
    return dict(found.get("stages") or {}) if isinstance(found, dict) else {}


def _code(clone: Path) -> dict[Path, bytes | None]:
    """Every file that may decide a result, but for what Python keeps beside it."""
    found = [path for folder in FOLDERS for path in (clone / folder).rglob("*") if "__pycache__" not in path.parts]
    return {path.relative_to(clone): path.read_bytes() for path in found if path.is_file()} | {
        name: _content(clone / name) for name in GRAPH
    }


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def make(place: Path, clone: Path) -> int:
    """Have all that is out of date there made, by the command of `make repro`; returns its exit code.

    Checkpoints, downloads and MLflow's store are the clone's. Broken off, it ends the stages first, with their newest
    state kept.
    """
    environment = os.environ | {"DVC_ROOT": str(clone.resolve())}
    # `close_fds`: the lock of the clone goes with every process that works in it (pipeline/ahead/turn.py).
    with subprocess.Popen(
        [sys.executable, "-m", "stages.repro"], cwd=place, env=environment, close_fds=False
    ) as process:
        try:
            return process.wait()
        except BaseException:
            while process.poll() is None:
                _stop(process.pid)
                try:
                    process.wait(LOOKS_EVERY)
                except subprocess.TimeoutExpired:
                    continue
            raise


def _stop(number: int) -> None:
    """Ask the stage that a `dvc` works on to stop, after which that ends by itself; else the process."""
    try:
        process = psutil.Process(number)
        stages = [each for each in process.children() if "DVC_STAGE" in each.environ()]
        for each in stages or [process]:
            each.terminate()
    except psutil.Error:  # has just ended
        return
