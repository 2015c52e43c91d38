"""Stage `track`: log to MLflow what it does not have, after a restore from DVC's cache or a lost database."""

from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.base.results import read_run
from pipeline.base.settings import load_settings
from pipeline.watching.labels import label_of
from pipeline.watching.tracking import complete
from stages.common.cli import run
from stages.common.folders import all_runs


def track(
    runs: Annotated[Path, Option(help="Folder with the runs of the profile.")],
    report: Annotated[Path, Option(help="Folder of the report.")],
) -> None:
    """Complete MLflow: every run once, the report with its tables and figures."""
    made = [(made.stage, read_run(runs / made.folder)) for made in all_runs(load_settings())]
    made.append(("report", read_run(report)))
    count = complete([(label_of(stage, run.settings), run) for stage, run in made])
    print(f"track: {count} of {len(made)} runs were missing in MLflow; `make ui` shows them")


if __name__ == "__main__":
    run(track)
