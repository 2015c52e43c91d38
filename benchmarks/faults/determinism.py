"""The same seed on the same machine: what is the same to the byte, and what is not."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

from benchmarks.faults.finding import Bench, Finding
from benchmarks.faults.project import contents, differences, fresh, last_line, undisturbed, work
from pipeline.base.results import SETTINGS
from tests.clones import edited, make_clone, run_in

TITLE = "The same seed"
TRAINING = ("pretrain", "fix", "explore", "quantise@apot-3")
STAGES = ("data", *TRAINING, "pack", "report")
# What must make no difference.
ELSEWHERE: Mapping[str, Mapping[str, str]] = {
    "again": {},
    "no UTF-8": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "another time zone": {"TZ": "Pacific/Kiritimati"},
    "another seed of Python's hashes": {"PYTHONHASHSEED": "7"},
}
COMMA = ("tr_TR.utf8", "de_DE.utf8", "fr_FR.utf8")  # locales that write 0,5; Turkish has letters of its own besides
TWO = {"OMP_NUM_THREADS": "2"}  # heeded where nothing trains
# Of the default profile, which takes minutes: what its main network is made by, and one of another method.
MAIN = ("home", "quantise@apot-3")
MADE = ("runs", "home")


def run(bench: Bench) -> Iterator[Finding]:
    """Every stage again: in the same folder, another one, under other locales and time zones, with two threads.

    And the networks of the default profile, in three clones.
    """
    clone, other = fresh(bench, "determinism"), fresh(bench, "another folder, süß")
    for stage in STAGES:
        yield of_stage(clone, other, stage)
    # DVC does not work in a folder with letters beyond ASCII where Python is told that names are not in UTF-8.
    clones = [bench.folder / name for name in ("default", "default, elsewhere", "default with two threads")]
    for folder in clones:
        shutil.rmtree(folder, ignore_errors=True)
        make_clone(folder, small=False)
    yield of_profile(*clones)


def of_stage(clone: Path, other: Path, stage: str) -> Finding:
    """One stage of a clone again, and of another clone."""
    elsewhere = {**ELSEWHERE, **_locale()}
    reference, faults = contents(undisturbed(clone, stage)), []
    for name, environment in elsewhere.items():
        differ = differences(reference, made(clone, stage, environment))
        faults += [f"{name}: {', '.join(differ[:3])}"] if differ else []
    differ = differences(reference, made(other, stage))
    faults += [f"another folder: {', '.join(differ[:3])}"] if differ else []
    note = _said_of_threads(differences(reference, with_two_threads(other, stage)))
    return Finding(f"`{stage}`: {', '.join(elsewhere)}, another folder", len(elsewhere) + 1, faults, note)


def of_profile(clone: Path, other: Path, threads: Path) -> Finding:
    """The main network of a profile and one of another method, by `dvc repro` in three clones.

    The first two work at once, the second one with everything of its environment different; the third has two threads.
    """
    elsewhere = {key: value for each in (*ELSEWHERE.values(), TWO) for key, value in each.items()}
    with ThreadPoolExecutor(2) as pool:
        reference, differently = pool.map(reproduced, (clone, other), ({}, elsewhere))
    if not (clone / MADE[-1]).exists():
        raise SystemExit(f"{clone}: {', '.join(reference)}")
    differ = differences(reference, differently)
    faults = [f"elsewhere: {', '.join(differ[:3])}"] if differ else []
    train_with_two_threads(threads)
    note = f"{len(reference)} files; {_said_of_threads(differences(reference, reproduced(threads, TWO)))}"
    stages = " and ".join(f"`dvc repro {stage}`" for stage in MAIN)
    return Finding(f"{stages}: {', '.join(ELSEWHERE)}, another folder, all in one", 1, faults, note)


def reproduced(clone: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Checksums of what DVC makes in a clone for the stages of `MAIN`, whatever is there already.

    Without the page of stage `home`, which shows seconds.
    """
    done = run_in(clone, f"dvc repro --force {' '.join(MAIN)}", environment, timeout=3600)
    if done.returncode:
        return {f"exit code {done.returncode}: {last_line(done)}": ""}
    made = {f"{place}/{name}": checksum for place in MADE for name, checksum in contents(clone / place).items()}
    return {name: checksum for name, checksum in made.items() if not name.endswith(".html")}


def _said_of_threads(differ: list[str]) -> str:
    differ = [name for name in differ if Path(name).name != SETTINGS]  # names the number itself
    if not differ:
        return "with 2 threads in place of 1: the same as well"
    return f"with 2 threads in place of 1, which round sums otherwise: {', '.join(differ[:4])} differ"


def _locale() -> Mapping[str, Mapping[str, str]]:
    """The environment of a locale with a decimal comma, if this machine has one."""
    there = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=True).stdout.split()
    return {f"locale {name}": {"LC_ALL": name, "LANG": name} for name in COMMA if name in there}


def with_two_threads(clone: Path, stage: str) -> dict[str, str]:
    """What a stage makes with two threads. Those that train have as many as the settings say, not OpenMP."""
    if stage not in TRAINING:
        return made(clone, stage, TWO)
    before = train_with_two_threads(clone)  # not all of them have --set
    try:
        return made(clone, stage)
    finally:
        (clone / "params.yaml").write_text(before)


def train_with_two_threads(clone: Path) -> str:
    """Change a clone's settings; returns what they were."""
    return edited(clone / "params.yaml", "\n  threads: auto\n", "\n  threads: 2\n")


def made(clone: Path, stage: str, environment: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Checksums of what a stage makes, in the clone's folder `made`, without what has seconds in it."""
    out = clone / "made"
    shutil.rmtree(out, ignore_errors=True)
    done = work(clone, stage, out, environment)
    if done.returncode:
        return {f"exit code {done.returncode}: {done.stderr.strip()[-200:]}": ""}
    return contents(out)
