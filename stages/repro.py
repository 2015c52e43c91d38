"""Not a stage: `make repro` and `make home`: the checks, in their turn, and `dvc repro`, which this process becomes.

Before that, `make repro` has stages that do not need each other made side by side; `dvc repro` finds them done.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.ahead.forecast import expected_seconds
from pipeline.ahead.side_by_side import Stages, at_once, finds_accelerator, out_of_date, width
from pipeline.ahead.turn import check_lock, take_turn
from pipeline.base.errors import InputError
from pipeline.base.settings import Settings, load_settings
from stages.check import check
from stages.common import folders
from stages.common.cli import run
from stages.own import Model, Pictures, own


def repro(
    home: Annotated[bool, Option(help="For the baseline and the one fixed network alone.")] = False,
    pictures: Pictures = None,
    model: Model = None,
) -> None:
    """Make the results that the settings name, once nothing else does in this clone; `--home`: to take home."""
    take_turn(Path(), lambda line: print(line, file=sys.stderr, flush=True))
    check_lock(Path())
    if home:
        own(pictures, model)
    check(home)
    sys.stdout.flush()
    if not home:
        _side_by_side(load_settings())
    os.execvp("dvc", ["dvc", "--wait-for-lock", "repro", *(["home"] if home else [])])


def _side_by_side(settings: Settings) -> None:
    """Make what is out of date, but for what only `dvc repro` does, if stages can be made at the same time."""
    count = at_once(settings)
    needs = out_of_date() if count > 1 else {}
    if width(needs) < 2 or finds_accelerator(settings):
        return
    made = [each.stage for each in folders.all_runs(settings)]
    seconds = expected_seconds(settings, made, folders.REPORTS / settings.profile)
    failed = Stages(needs, count, seconds).make()
    if failed:
        raise InputError(f"failed, as said above: {', '.join(failed)}; the same command goes on from what is finished")


if __name__ == "__main__":
    run(repro)
