"""A sweep from its first cell to its last, and its results here."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import Any

from pipeline.base.errors import InputError
from pipeline.spreading.cell import Source
from pipeline.spreading.engine import Engine
from pipeline.spreading.plan import cells_of
from pipeline.spreading.progress import Progress


def make_cells(
    engine: Engine, source: Source, waits: Mapping[str, set[str]], seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Have an engine make these stages, each after those that it waits for; returns their entries of dvc.lock.

    seconds: what each takes, of those of which that is known. Raises InputError that names what could not be made: at
    once where a machine is not as it must be, else when all others are made.
    """
    _refuse(engine.refusals(source))
    with Progress([*waits], seconds) as progress:
        try:
            engine.start(source, cells_of(waits), waits)
            while not progress.ended:
                for news in engine.news():
                    progress.take(news)
                _refuse([each.error for each in progress.failed.values() if each.refused])
                progress.show()
        except BaseException:
            engine.stop()
            raise
    if progress.failed:
        failed = "; ".join(f"{stage}: {outcome.error}" for stage, outcome in progress.failed.items())
        raise InputError(f"{failed}; the same command goes on from what is finished")
    return progress.made


def bring(entries: Mapping[str, Any], remote: bool) -> None:
    """Bring the results of stages with these entries of dvc.lock here, all at once.

    `dvc repro` would do so too, and write all of dvc.lock anew for each. remote: over DVC's default remote.
    """
    from dvc.utils.serialize import modify_yaml

    with modify_yaml("dvc.lock") as locked:
        locked.setdefault("schema", "2.0")
        locked.setdefault("stages", {}).update(entries)
    # Without their names, each of which DVC would look for among all stages. What else it misses, `dvc repro` makes.
    command = ["dvc", "pull" if remote else "checkout", "--quiet", "--force", "--allow-missing"]
    if subprocess.run(command, check=False).returncode:
        raise InputError(f"dvc {command[1]} failed, as said above")


def _refuse(reasons: list[str]) -> None:
    if reasons:
        raise InputError("; ".join([*dict.fromkeys(reasons), "all machines need this one's versions"]))
