"""The same seed on the same machine: what is the same to the byte, and what is not."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.faults.disks import work
from benchmarks.faults.finding import Bench, Finding
from benchmarks.faults.project import contents, differences, fresh

TITLE = "The same seed"
STAGES = ("data", "pretrain", "fix", "quantise@apot-3", "pack", "report")
# What must make no difference.
ELSEWHERE: Mapping[str, Mapping[str, str]] = {
    "again": {},
    "no UTF-8": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "another time zone": {"TZ": "Pacific/Kiritimati"},
    "another seed of Python's hashes": {"PYTHONHASHSEED": "7"},
}


COMMA = ("tr_TR.utf8", "de_DE.utf8", "fr_FR.utf8")  # locales that write 0,5; Turkish has letters of its own besides


def run(bench: Bench) -> Iterator[Finding]:
    """Every stage again: in the same folder, another one, under other locales and time zones, with two threads."""
    clone, other = fresh(bench, "determinism"), fresh(bench, "another folder, süß")
    elsewhere = {**ELSEWHERE, **_locale()}
    for stage in STAGES:
        reference, faults = _made(clone, stage, {}), []
        for name, environment in elsewhere.items():
            differ = differences(reference, _made(clone, stage, environment))
            faults += [f"{name}: {', '.join(differ[:3])}"] if differ else []
        differ = differences(reference, _made(other, stage, {}))
        faults += [f"another folder: {', '.join(differ[:3])}"] if differ else []
        threads = differences(reference, _made(clone, stage, {"OMP_NUM_THREADS": "2"}))
        note = f"with 2 threads in place of 1: {', '.join(threads[:4]) + ' differ' if threads else 'the same as well'}"
        yield Finding(f"`{stage}`: {', '.join(elsewhere)}, another folder", len(elsewhere) + 1, faults, note)


def _locale() -> Mapping[str, Mapping[str, str]]:
    """The environment of a locale with a decimal comma, if this machine has one."""
    there = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=True).stdout.split()
    return {f"locale {name}": {"LC_ALL": name, "LANG": name} for name in COMMA if name in there}


def _made(clone: Path, stage: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Checksums of what a stage makes, without what has seconds in it."""
    out = clone / "made"
    shutil.rmtree(out, ignore_errors=True)
    done = work(clone, stage, out, environment)
    if done.returncode:
        return {f"exit code {done.returncode}: {done.stderr.strip()[-200:]}": ""}
    return contents(out)
