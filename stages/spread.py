"""Not a stage: the results that `make repro` makes, on as many machines as an engine has (docs/scale.md)."""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline.ahead.forecast import EXPLORE, expected_seconds
from pipeline.ahead.side_by_side import Stages, out_of_date
from pipeline.ahead.turn import take_turn
from pipeline.base.errors import InputError
from pipeline.base.settings import Settings, load_settings
from pipeline.spreading.engine import Engine
from pipeline.spreading.plan import FOLDER, check_committed, source_of
from pipeline.spreading.sweep import bring, make_cells
from stages.check import check
from stages.common import folders
from stages.common.cli import run

DATA = "data"  # is made here: the pictures are here, and every network is trained on them


class Kind(StrEnum):
    """Who has the machines. local: Ray, on this one."""

    local = "local"
    ray = "ray"
    slurm = "slurm"


def spread(
    engine: Annotated[Kind, Option(help="Who has the machines; local: Ray, on this one.")] = Kind.local,
    address: Annotated[str, Option(help="Of Ray's cluster, host:port; auto: this machine's.")] = "auto",
    slurm: Annotated[list[str], Option(help="key=value for sbatch, as partition=gpu, time=120 (minutes).")] = [],  # noqa: B006
    remote: Annotated[
        bool, Option("--remote", help="Disks are not shared: results travel over DVC's default remote.")
    ] = False,
    folder: Annotated[Path | None, Option(help="Where workers have clones of their own; .dvc/tmp/spread here.")] = None,
) -> None:
    """Have every network that is out of date made by workers, each as a stage in a clone of theirs; then all the rest.

    What is finished stays finished, however this ends: the same command goes on.
    """
    take_turn(Path(), lambda line: print(line, file=sys.stderr, flush=True))
    check(home=False)
    sys.stdout.flush()
    commit, settings = check_committed(), load_settings()
    waits = out_of_date()
    if DATA in waits:
        if Stages({DATA: set()}, 1, {}).make():
            raise InputError(f"failed, as said above: {DATA}")
        waits = out_of_date()
    made = [each.stage for each in folders.all_runs(settings)]
    networks = {EXPLORE, *made}
    waits = {stage: before & networks for stage, before in waits.items() if stage in networks}
    if waits:
        source = source_of(commit, remote, folder)
        if remote:
            _push()
        with closing(_engine(engine, settings, address, slurm)) as workers:
            seconds = expected_seconds(settings, made, folders.REPORTS / settings.profile)
            entries = make_cells(workers, source, waits, seconds)
        bring(entries, remote)
    os.execvp("dvc", ["dvc", "--wait-for-lock", "repro", *(["--pull"] if remote else [])])


def _push() -> None:
    """Send to the remote what workers begin with."""
    if subprocess.run(["dvc", "push", "--quiet", "--run-cache"], check=False).returncode:
        raise InputError("--remote: dvc push failed, as said above")


def _engine(kind: Kind, settings: Settings, address: str, slurm: Sequence[str]) -> Engine:
    """The engine; its packages are imported only here: who does not spread need not have them."""
    module = "slurm" if kind is Kind.slurm else "ray"
    try:
        found = import_module(f"pipeline.spreading.on_{module}")
    except ModuleNotFoundError as error:
        raise InputError(f"--engine {kind}: {error.name} is missing; uv sync --group spread installs it") from None
    if kind is Kind.slurm:
        return found.OnSlurm(settings, (FOLDER / "jobs").resolve(), slurm)
    return found.OnRay(settings, address if kind is Kind.ray else None)


if __name__ == "__main__":
    run(spread)
