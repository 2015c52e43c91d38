"""Run the bench of faults and write docs/reliability.md: `python -m benchmarks.faults --help`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import torch

from benchmarks.faults import (
    audit,
    damaged,
    determinism,
    disks,
    hostile,
    kills,
    long_run,
    markup,
    signals,
    stores,
    together,
)
from benchmarks.faults.finding import Bench, Finding
from pipeline.base.results import read_json, to_json, write_files

PARTS: Mapping[str, ModuleType] = {
    each.__name__.rpartition(".")[2]: each
    for each in (kills, signals, disks, damaged, stores, together, long_run, hostile, markup, audit, determinism)
}
ROOT = Path(__file__).parents[2]
PAGE, FOUND = ROOT / "docs" / "reliability.md", Path(__file__).with_name("findings.json")
BEGIN, END = "<!-- written by python -m benchmarks.faults -->\n", "<!-- end of what it writes -->\n"


def main() -> None:
    """Run the parts that are asked for; findings of the others stay as they were."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all without it")
    parser.add_argument("--tries", type=int, default=20, help="moments, sizes or files of each kind (20)")
    parser.add_argument("--seed", type=int, default=0, help="of all choices (0)")
    parser.add_argument("--folder", type=Path, help="for what is made, kept afterwards; a temporary one without it")
    given = parser.parse_args()
    if unknown := [name for name in given.parts if name not in PARTS]:
        parser.error(f"part = {unknown[0]}: allowed: {', '.join(PARTS)}")
    if given.tries < 1:
        parser.error(f"--tries = {given.tries}: allowed: 1 or more")
    print(f"seed {given.seed}, {given.tries} tries", flush=True)
    with tempfile.TemporaryDirectory(prefix="faults-") as temporary:
        folder = (given.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        found = read_json(FOUND) if FOUND.exists() else {}
        for name in given.parts or PARTS:
            start = time.monotonic()
            bench = Bench(folder, given.seed, given.tries)
            machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
            settings = {"seed": given.seed, "tries": given.tries, "machine": machine}
            rows = []
            for finding in _said(PARTS[name].run(bench)):
                rows.append(_row(finding))
                found[name] = {"rows": rows, "seconds": round(time.monotonic() - start)} | settings
                write_files(FOUND.parent, {FOUND.name: to_json(found)})
                write_page(found)


def _said(findings: Iterator[Finding]) -> Iterator[Finding]:
    """Every finding, as a line when it is there."""
    for finding in findings:
        print(f"{finding.survived} of {finding.tried}: {finding.what}{f' ({finding.note})' if finding.note else ''}")
        for fault in finding.faults:
            print(f"    {fault}")
        sys.stdout.flush()
        yield finding


def _row(finding: Finding) -> dict[str, object]:
    return {"what": finding.what, "tried": finding.tried, "faults": finding.faults, "note": finding.note}


def write_page(found: Mapping[str, Mapping[str, object]]) -> None:
    """Put the tables between the page's two marks."""
    before, rest = PAGE.read_text().split(BEGIN)
    tables = "".join(_table(PARTS[name].TITLE, found[name]) for name in PARTS if name in found)
    PAGE.write_text(f"{before}{BEGIN}{tables}\n{END}{rest.split(END)[1]}")


def _table(title: str, part: Mapping[str, object]) -> str:
    rows = part["rows"]
    assert isinstance(rows, Sequence)
    cells = [(row["what"], row["tried"], row["tried"] - len(row["faults"]), _end(row)) for row in rows]
    lines = [f"| {' | '.join(_cell(each) for each in row)} |\n" for row in cells]
    head = "| Tried | Times | Ended as it must | |\n| --- | ---: | ---: | --- |\n"
    said = f"Seed {part['seed']}, {part['tries']} tries of each, {part['seconds']} s; {part['machine']}."
    return f"\n### {title}\n\n{said}\n\n{head}{''.join(lines)}"


def _end(row: Mapping[str, object]) -> str:
    faults = row["faults"]
    assert isinstance(faults, Sequence)
    return "; ".join([*([str(row["note"])] if row["note"] else []), *(str(fault) for fault in faults[:3])])


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
