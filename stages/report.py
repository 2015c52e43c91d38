"""Stage `report`: tables, figures and the page, from saved results only."""

from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.config import load_settings
from pipeline.report.document import report_files
from pipeline.results import read_run, write_files
from stages.cli import run
from stages.runs import baseline_folder, fixed_folders, quantised_folders

PUBLISHED = Path("paper/published.yaml")


def report(
    runs: Annotated[Path, Option(help="Folder with the runs of the profile.")],
    out: Annotated[Path, Option(help="Folder for the report.")],
) -> None:
    """Write the comparison tables, the figures and index.html."""
    settings = load_settings()
    fixed = [read_run(folder) for _, folder in fixed_folders(settings, runs)]
    quantised = [read_run(folder) for _, folder in quantised_folders(settings, runs)]
    write_files(out, report_files(settings, read_run(baseline_folder(runs)), fixed, quantised, PUBLISHED))
    print(f"report: open {out / 'index.html'}")


if __name__ == "__main__":
    run(report)
