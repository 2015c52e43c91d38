"""docs/input-cases.md from the tests: each says what became of what it tried, and the page holds a row for it.

`python -m tests.catalogue` runs those tests and writes the page; in every other run a test fails whose row it lacks.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "input-cases.md"
BEGIN, END = "<!-- cases: written by tests/catalogue.py -->\n", "<!-- end of cases -->\n"
# Names a file that rows are added to, in the order of the tests.
COLLECTED = "WFN_CATALOGUE"
HEAD = "| Case | What happens | Line shown |\n| --- | --- | --- |\n"


def row(case: str, happens: str, line: str) -> str:
    """A row of a table. Folders and numbers of this run, as they are in a line, are left out."""
    shown = re.sub(r"(/[\w.-]+)*/pytest-of-\w+/pytest-\d+(/popen-gw\d+)?/[\w.-]+?/", "", line)
    cells = [case, happens, f"`{shown}`" if shown else ""]
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |\n"


def note(section: str, case: str, happens: str, line: str = "") -> None:
    """Say what became of a case: in the page that is being written, or compare with the page that is there."""
    found = row(case, happens, line)
    collected = os.environ.get(COLLECTED)
    if collected:
        with Path(collected).open("a") as file:
            file.write(f"{section}\t{found}")
        return
    assert found in PAGE.read_text(), f"{PAGE.name} lacks, under {section}:\n{found}(python -m tests.catalogue)"


def write_page() -> None:
    """Run every test that notes a case, one after the other, and put the rows between the page's two marks."""
    collected = ROOT / ".pytest_cache" / "cases.tsv"
    collected.parent.mkdir(exist_ok=True)
    collected.write_text("")
    noting = re.compile("^from (catalogue|own_images) import", re.MULTILINE)
    files = [path for path in sorted((ROOT / "tests").glob("test_*.py")) if noting.search(path.read_text())]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *files], env=os.environ | {COLLECTED: str(collected)}, cwd=ROOT
    )
    if done.returncode:
        sys.exit(done.returncode)
    sections: dict[str, list[str]] = {}
    for text in collected.read_text().splitlines(keepends=True):
        section, _, found = text.partition("\t")
        sections.setdefault(section, []).append(found)
    count = sum(map(len, sections.values()))
    tables = "".join(f"\n### {name}\n\n{HEAD}{''.join(rows)}" for name, rows in sections.items())
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{count} cases, each tried by a test.\n{tables}\n{END}{rest.split(END)[1]}")
    print(f"{PAGE.relative_to(ROOT)}: {count} cases")


if __name__ == "__main__":
    write_page()
