"""Not a stage: `make repro` and `make home`: the checks, in their turn, and `dvc repro`, which this process becomes."""

import os
import sys
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.ahead.turn import take_turn
from stages.check import check
from stages.common.cli import run
from stages.own import Model, Pictures, own


def repro(
    home: Annotated[bool, Option(help="For the baseline and the one fixed network alone.")] = False,
    pictures: Pictures = None,
    model: Model = None,
) -> None:
    """Make the results that the settings name, once nothing else does in this clone; `--home`: to take home."""
    take_turn(Path(), lambda line: print(line, file=sys.stderr, flush=True))
    if home:
        own(pictures, model)
    check(home)
    sys.stdout.flush()
    os.execvp("dvc", ["dvc", "repro", *(["home"] if home else [])])


if __name__ == "__main__":
    run(repro)
