"""Stage `track`: log to MLflow what it does not have, after a restore from DVC's cache or a lost database."""

from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.base.kept import drop_done
from pipeline.base.results import read_json, read_run
from pipeline.base.settings import load_settings
from pipeline.packing.names import LIST
from pipeline.watching.completing import Result, complete
from pipeline.watching.labels import label_of
from stages.common import folders
from stages.common.cli import Packed, Runs, run
from stages.common.folders import PACKED, REPORTS, RUNS


def track(
    runs: Runs = None,
    packed: Packed = None,
    report: Annotated[Path | None, Option(help="What stage report wrote; reports/PROFILE without it.")] = None,
) -> None:
    """Complete MLflow: every run once, with its packed network, and the report with its tables and figures.

    Where MLflow cannot be written, one line says so and what is missing, with exit code 0: DVC has every result.
    """
    settings = load_settings()
    runs, packed = runs or RUNS / settings.profile, packed or PACKED / settings.profile
    report = report or REPORTS / settings.profile
    files = read_json(packed / LIST)
    compared = {*folders.fixed(settings), *folders.variants(settings), *folders.quantised(settings)}
    results = []
    for made in folders.all_runs(settings):
        found, file = read_run(runs / made.folder), files.get(str(made.folder), {})
        network = packed / file["file"] if made in compared and file["network"] else None
        results.append(Result(label_of(made.stage, found.settings), found, network))
    found = read_run(report)
    results.append(Result(label_of("report", found.settings), found))
    print(f"track: {complete(results)}")
    drop_done()


if __name__ == "__main__":
    run(track)
