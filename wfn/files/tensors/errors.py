"""Files that hold no tensors by name, and how names out of files are shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

MANY = 5  # names in a message
LONGEST = 80  # characters of a name


class TensorError(ValueError):
    """A file that is not read; `what` says why, in one line, and the message names the file before it."""

    def __init__(self, path: Path, what: str) -> None:
        self.what = printable(what)
        super().__init__(f"{path}: {self.what}")


def printable(text: str) -> str:
    """A text out of a file for one line of a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are, for one line of a terminal."""
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return ", ".join(printable(name[:LONGEST]) for name in names[:MANY]) + more
