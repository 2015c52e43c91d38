"""How far a sweep is: on a terminal a table of the cells at work, in a log lines."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.ahead.side_by_side import named
from pipeline.spreading.cell import News, Outcome
from pipeline.watching.progress import duration

BELOW = 4  # lines of a terminal that the table of cells leaves free; cells that do not fit are counted


class Progress:
    """The cells of a sweep, as news of them come; used as a context manager.

    seconds: what each takes, of those of which that is known.
    """

    def __init__(self, stages: Collection[str], seconds: Mapping[str, float]) -> None:
        self._waiting, self._seconds = set(stages), seconds
        self._running: dict[str, tuple[str, str]] = {}  # the machine, and what the stage said last
        self.made: dict[str, Any] = {}  # entries of dvc.lock
        self.failed: dict[str, Outcome] = {}
        self._total = len(stages)
        self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
        self._shows = sys.stderr.isatty()

    def __enter__(self) -> Self:
        if self._shows:
            self._live.start()
        self._say("")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    @property
    def ended(self) -> bool:
        """Whether no cell is left to be made."""
        return not (self._waiting or self._running)

    def take(self, news: News | Outcome) -> None:
        """Something has happened."""
        if isinstance(news, News):
            self._heard(news)
        elif news.stage in self._waiting | self._running.keys():
            self._waiting.discard(news.stage)
            self._running.pop(news.stage, None)
            if news.error:
                self.failed[news.stage] = news
            else:
                self.made[news.stage] = news.entry
            self._say(f"{news.stage}: {news.error or 'done'}")

    def _heard(self, news: News) -> None:
        where, _ = self._running.get(news.stage, ("", ""))
        if news.begun:
            self._waiting.discard(news.stage)
            self._running[news.stage] = (news.text, "")
            self._say(f"{news.stage}: {f'lost on {where}, begun again' if where else 'begun'} on {news.text}")
        elif line := named(news.text, news.stage).rstrip():
            self._running[news.stage] = (where, line.removeprefix(f"{news.stage}: "))
            if not self._shows:
                print(line, file=sys.stderr, flush=True)

    def counts(self) -> str:
        """How many cells are in which state, and how long they may still take."""
        numbers = [f"{len(self.made)} of {self._total} cells are done", f"{len(self._running)} running"]
        numbers += [f"{len(self._waiting)} waiting"]
        numbers += [f"{len(self.failed)} failed"] if self.failed else []
        left = sum(self._seconds.get(stage, 0.0) for stage in self._waiting | self._running.keys())
        numbers += [f"about {duration(left / max(1, len(self._running)))} left"] if left else []
        return ", ".join(numbers)

    def _say(self, line: str) -> None:
        """A line that stays, and the counts: below the table on a terminal, as a line in a log."""
        if self._shows:
            if line:
                self._live.console.print(line, highlight=False, markup=False)
            self.show()
        else:
            print("\n".join(filter(None, [line, f"spread: {self.counts()}"])), file=sys.stderr, flush=True)

    def show(self) -> None:
        """Draw the table anew."""
        if not self._shows:
            return
        rows = max(1, self._live.console.height - BELOW)
        table = Table.grid(padding=(0, 2))
        for _ in range(3):
            table.add_column(no_wrap=True)
        for stage, (where, line) in [*self._running.items()][:rows]:
            table.add_row(stage, where, Text(line))
        more = len(self._running) - rows
        self._live.update(Group(table, Text(f"... and {more} more" if more > 0 else ""), Text(self.counts())))
        self._live.refresh()
