"""Not a stage: what a run will do and what would stop it, before it begins; DVC itself would say less."""

from typing import Annotated

from typer import Option

from pipeline.ahead.forecast import Places, forecast
from pipeline.ahead.obstacles import obstacles
from pipeline.base.errors import InputError
from pipeline.base.naming import together
from pipeline.base.settings import load_settings
from pipeline.base.settings.reading import PROFILES
from stages.common import folders
from stages.common.cli import run


def check(
    home: Annotated[bool, Option(help="For the baseline and the one fixed network alone.")] = False,
) -> None:
    """Say in one line what is wrong with the settings, if anything is; else what a run of them will do."""
    settings = load_settings()
    name = settings.profile
    runs = folders.RUNS / name
    made = [*folders.baselines(settings)[:1], *folders.fixed(settings)[:1]] if home else folders.all_runs(settings)
    results = [runs / folders.DATA, *(runs / each.folder for each in made), folders.PACKED / name, folders.HOME / name]
    found = obstacles(settings, results)
    if found:
        raise InputError(together(found))
    places = Places(PROFILES / f"{name}.yaml", runs, folders.REPORTS / name)
    for line in forecast(settings, [each.stage for each in made], places):
        print(line)


if __name__ == "__main__":
    run(check)
