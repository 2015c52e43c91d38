"""Stage `report`: tables, figures and the page, from saved results only."""

import json
import subprocess
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.base.results import read_run, write_files
from pipeline.base.settings import load_settings
from pipeline.report.document import Results, report_files
from stages.common.cli import run
from stages.common.folders import (
    all_folders,
    baseline_folder,
    explore_baseline,
    explore_folders,
    fixed_folders,
    quantised_folders,
)

PUBLISHED = Path("paper/published.yaml")


def report(
    runs: Annotated[Path, Option(help="Folder with the runs of the profile.")],
    out: Annotated[Path, Option(help="Folder for the report.")],
) -> None:
    """Write the comparison tables, the figures and index.html."""
    settings = load_settings()
    results = Results(
        baseline=read_run(baseline_folder(runs)),
        fixed=[read_run(folder) for _, folder in fixed_folders(settings, runs)],
        quantised=[read_run(folder) for _, folder in quantised_folders(settings, runs)],
        explore_baseline=read_run(explore_baseline(settings, runs)[1]),
        explored=[read_run(folder) for _, folder in explore_folders(settings, runs)],
        made=[(label.name, label.stage, read_run(folder)) for label, folder in all_folders(settings, runs)],
        card=json.loads((runs / "data" / "card.json").read_text()),
        commit=_commit(),
    )
    write_files(out, report_files(settings, results, PUBLISHED))
    print(f"report: open {out / 'index.html'}")


def _commit() -> str:
    """The commit that is checked out, and whether the code has been changed since."""
    commit, changes = (
        subprocess.run(["git", *command], capture_output=True, text=True, check=False).stdout.strip()
        for command in (
            ["rev-parse", "HEAD"],
            ["status", "--porcelain", "--", "pipeline", "stages", "profiles", "*.yaml"],
        )
    )
    return f"{commit or 'unknown'}{' with local changes' if changes else ''}"


if __name__ == "__main__":
    run(report)
