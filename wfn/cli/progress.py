"""Progress of long work on the standard error: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

SECONDS = 10.0  # between lines


@contextmanager
def counting(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function to be told how many more of `total` are done."""
    if sys.stderr.isatty():
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=total)
            yield lambda steps: bar.advance(task, steps)
        return
    done, said = 0, time.monotonic()

    def advance(steps: int) -> None:
        nonlocal done, said
        done += steps
        if done == total or time.monotonic() - said >= SECONDS:
            print(f"{title}: {done:,} of {total:,}", file=sys.stderr, flush=True)
            said = time.monotonic()

    yield advance
