"""Progress of long work: a bar on a terminal, flushed lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

# A log has a line of its own after this share of the work, or after so long a silence; never two within so few seconds.
LINE_SHARE, LONGEST_SILENCE, SECONDS_BETWEEN = 0.1, 300.0, 30.0


class Steps:
    """A known number of steps of one job; used as a context manager.

    quiet: say nothing, as all processes but the first one do.
    """

    def __init__(self, title: str, total: int, quiet: bool = False) -> None:
        self._title, self._total, self._quiet = title, total, quiet
        self._done = self._timed = 0  # steps; of them, those that this process has made
        self._since = time.monotonic()  # it made them
        self._last_line = self._since, 0  # when, and how many steps were done then
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=Console(stderr=True),
            disable=quiet or not sys.stderr.isatty(),
            transient=True,
        )
        self._task = self._bar.add_task(title, total=total, left="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, done_before: int = 0) -> None:
        """Steps begin to be made, or go on; so many were made by an earlier process, and say nothing of the speed."""
        if not self._timed:
            self._since = time.monotonic()
        self._done += done_before
        self._bar.update(self._task, completed=self._done)

    def advance(self, steps: int = 1) -> None:
        """So many steps are done."""
        self._done += steps
        self._timed += steps
        if not self._bar.disable:
            self._bar.update(self._task, completed=self._done, left=self.left())
        elif self._line_is_due():
            self.say(", ".join([f"{self._title}: {self._done:,}/{self._total:,}", self.left()]))

    def left(self) -> str:
        """How long the steps to come will take, for people: "about 3 min left"; empty while nothing tells."""
        if not self._timed:
            return ""
        seconds = (time.monotonic() - self._since) / self._timed * max(0, self._total - self._done)
        return f"about {duration(seconds)} left"

    def say(self, line: str) -> None:
        """A line that stays: above the bar, and in the log."""
        self._last_line = time.monotonic(), self._done
        if self._quiet:
            return
        if self._bar.disable:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(line, highlight=False)

    def _line_is_due(self) -> bool:
        when, done = self._last_line
        silence = time.monotonic() - when
        many = self._done - done >= LINE_SHARE * self._total
        return self._done < self._total and silence >= (SECONDS_BETWEEN if many else LONGEST_SILENCE)


def duration(seconds: float) -> str:
    """Seconds for people, to one or two digits: "40 s", "3 min", "2.5 h", "4 days"."""
    for most, unit, size in ((99.5, "s", 1), (99.5 * 60, "min", 60), (48 * 3600, "h", 3600)):
        if seconds < most:
            return f"{seconds / size:.1f} h" if unit == "h" and seconds < 10 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"
