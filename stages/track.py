"""Stage `track`: log to MLflow what it does not have, after a restore from DVC's cache or a lost database."""

from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.base.results import read_json, read_run
from pipeline.base.settings import load_settings
from pipeline.packing.names import LIST
from pipeline.watching.labels import label_of
from pipeline.watching.tracking import add_networks, complete
from stages.common import folders
from stages.common.cli import Packed, Runs, run
from stages.common.folders import PACKED, REPORTS, RUNS


def track(
    runs: Runs = None,
    packed: Packed = None,
    report: Annotated[Path | None, Option(help="What stage report wrote; reports/PROFILE without it.")] = None,
) -> None:
    """Complete MLflow: every run once, with its packed network, and the report with its tables and figures."""
    settings = load_settings()
    runs, packed = runs or RUNS / settings.profile, packed or PACKED / settings.profile
    report = report or REPORTS / settings.profile
    found = {made: read_run(runs / made.folder) for made in folders.all_runs(settings)}
    logged = [*((made.stage, run) for made, run in found.items()), ("report", read_run(report))]
    count = complete([(label_of(stage, run.settings), run) for stage, run in logged])
    files = read_json(packed / LIST)
    compared = [*folders.fixed(settings), *folders.variants(settings), *folders.quantised(settings)]
    loadable = [made for made in compared if files[str(made.folder)]["network"]]
    networks = add_networks([(found[made], packed / files[str(made.folder)]["file"]) for made in loadable])
    print(
        f"track: {count} of {len(logged)} runs were missing in MLflow, {networks} of {len(loadable)} packed networks; "
        "`make ui` shows them"
    )


if __name__ == "__main__":
    run(track)
