"""Stage `report`: tables, figures and the page, from saved results only."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pandas as pd
from typer import Option

from pipeline.base.rates import FOLDER
from pipeline.base.results import CARD, Run, read_run, write_files
from pipeline.base.settings import load_settings
from pipeline.packing.names import packed_name
from pipeline.report.document import Results, report_files
from stages.common import folders
from stages.common.cli import run
from stages.common.folders import Made

PUBLISHED = Path("paper/published.yaml")


def report(
    runs: Annotated[Path, Option(help="Folder with the runs of the profile.")],
    out: Annotated[Path, Option(help="Folder for the report.")],
    packed: Annotated[Path, Option(help="Folder with the packed files that stage pack wrote.")],
    rates: Annotated[Path, Option(help="Folder with the tables of how learning rates were chosen.")] = FOLDER,
) -> None:
    """Write the comparison tables, the figures and index.html."""
    settings = load_settings()
    found = {made.stage: _read(made, runs, packed) for made in folders.all_runs(settings)}

    def those(made: Sequence[Made]) -> list[Run]:
        return [found[each.stage] for each in made]

    chosen = rates / f"{settings.profile}.csv"
    results = Results(
        baseline=found[folders.baseline().stage],
        fixed=those(folders.fixed(settings)),
        variants=those(folders.variants(settings)),
        quantised=those(folders.quantised(settings)),
        explore_baseline=found[folders.explore_baseline().stage],
        explored=those(folders.explored(settings)),
        made=found,
        card=json.loads((runs / "data" / CARD).read_text()),
        rates=pd.read_csv(chosen) if chosen.exists() else pd.DataFrame(columns=["method"]),
        commit=_commit(),
    )
    write_files(out, report_files(settings, results, PUBLISHED))
    print(f"report: open {out / 'index.html'}")


def _read(made: Made, runs: Path, packed: Path) -> Run:
    """A run whose metrics say the bytes of its packed file as well; a float network is not packed."""
    found = read_run(runs / made.folder)
    is_float = made in (folders.baseline(), folders.explore_baseline())
    size = found.metrics["float_bytes"] if is_float else (packed / packed_name(made.folder)).stat().st_size
    return replace(found, metrics=found.metrics | {"packed_bytes": size})


def _commit() -> str:
    """The commit that is checked out, and whether the code has been changed since."""
    commit, changes = (
        subprocess.run(["git", *command], capture_output=True, text=True, check=False).stdout.strip()
        for command in (
            ["rev-parse", "HEAD"],
            ["status", "--porcelain", "--", "wfn", "pipeline", "stages", "profiles", "*.yaml"],
        )
    )
    return f"{commit or 'unknown'}{' with local changes' if changes else ''}"


if __name__ == "__main__":
    run(report)
