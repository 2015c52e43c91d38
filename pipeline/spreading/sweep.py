"""A sweep from its first cell to its last."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.base.errors import InputError
from pipeline.spreading.cell import Source
from pipeline.spreading.engine import Engine
from pipeline.spreading.plan import cells_of
from pipeline.spreading.progress import Progress


def make_cells(engine: Engine, source: Source, waits: Mapping[str, set[str]], seconds: Mapping[str, float]) -> None:
    """Have an engine make these stages, each after those that it waits for.

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


def _refuse(reasons: list[str]) -> None:
    if reasons:
        raise InputError("; ".join([*dict.fromkeys(reasons), "all machines need this one's versions, so none began"]))
