"""How names that people chose are put into a message: in one line, and not too many of them."""

from __future__ import annotations

from collections.abc import Sequence

NAMED = 5
LONGEST = 80


def shown(name: object) -> str:
    """A name or path as it can be printed: line breaks and what is no text escaped, long names without their middle."""
    text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(name))
    return "/".join(map(_shortened, text.split("/")))


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}...{text[-LONGEST // 2 :]}"


def several(names: Sequence[object]) -> str:
    """The first five of some names, and how many more there are."""
    return first_of([shown(name) for name in names])


def first_of(texts: Sequence[str]) -> str:
    """The first five of some texts, and how many more there are."""
    return _joined(texts, ", ", " ")


def together(problems: Sequence[str]) -> str:
    """Problems in one line: the first five, and how many more there are."""
    return _joined(problems, "; ", "; ")


def _joined(texts: Sequence[str], between: str, last: str) -> str:
    more = f"{last}and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return between.join(texts[:NAMED]) + more
