"""Stage `report`: tables, figures and the page, from saved results only."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.base.rates import FOLDER
from pipeline.base.results import CARD, Run, read_csv, read_json, writable, write_files
from pipeline.base.settings import load_settings
from pipeline.packing.names import packed_name
from pipeline.report.document import PAGE, report_files
from pipeline.report.overview import start_page
from pipeline.report.results import Results, with_size
from stages.common import folders
from stages.common.cli import Out, Packed, Runs, run
from stages.common.commit import commit
from stages.common.folders import DATA, PACKED, REPORTS, RUNS, Made
from stages.common.made import read_made

PUBLISHED = Path("paper/published.yaml")


def report(
    runs: Runs = None,
    packed: Packed = None,
    out: Out = None,
    rates: Annotated[Path, Option(help="Folder with the tables of how learning rates were chosen.")] = FOLDER,
) -> None:
    """Write the comparison tables, the figures and their page, and the start page over all profiles."""
    settings = load_settings()
    runs, packed = runs or RUNS / settings.profile, packed or PACKED / settings.profile
    out = writable(out or REPORTS / settings.profile)
    card = read_json(runs / DATA / CARD)
    found = {made.stage: read_made(runs, made, settings, card) for made in folders.all_runs(settings)}

    def those(made: Sequence[Made]) -> list[Run]:
        """Runs whose metrics say the bytes of their packed files as well."""
        files = [None if folders.is_float(each, settings) else packed / packed_name(each.folder) for each in made]
        return [with_size(found[each.stage], file) for each, file in zip(made, files, strict=True)]

    chosen = rates / f"{settings.profile}.csv"
    results = Results(
        baselines=those(folders.baselines(settings)),
        fixed=those(folders.fixed(settings)),
        made=found,
        card=card,
        file=packed / packed_name(folders.fixed(settings)[0].folder),
        commit=commit(),
        variants=those(folders.variants(settings)),
        quantised=those(folders.quantised(settings)),
        explore_baselines=those(folders.explore_baselines(settings)),
        explored=those(folders.explored(settings)),
        rates=read_csv(chosen),
        published=PUBLISHED,
    )
    own = out == REPORTS / settings.profile
    write_files(out, report_files(settings, results, up=f"../{PAGE}" if own else ""))
    if own:
        write_files(REPORTS, {PAGE: start_page(REPORTS)})
    print(f"report: open {out / PAGE}")


if __name__ == "__main__":
    run(report)
