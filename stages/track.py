"""Stage `track`: log to MLflow what it does not have, after a restore from DVC's cache or a lost database."""

from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.base.results import read_run
from pipeline.base.settings import load_settings
from pipeline.watching.tracking import complete
from stages.common.cli import run
from stages.common.folders import all_folders, report_label


def track(
    runs: Annotated[Path, Option(help="Folder with the runs of the profile.")],
    report: Annotated[Path, Option(help="Folder of the report.")],
) -> None:
    """Complete MLflow: every run once, the report with its tables and figures."""
    settings = load_settings()
    finished = [*all_folders(settings, runs), (report_label(settings), report)]
    count = complete([(label, read_run(folder)) for label, folder in finished])
    print(f"track: {count} of {len(finished)} runs were missing in MLflow; `make ui` shows them")


if __name__ == "__main__":
    run(track)
