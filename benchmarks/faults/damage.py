"""Damage to bytes and to values: what a bad disk, a broken-off copy or a forger makes of a file."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Iterator
from typing import Any

# Numbers at which programs that compute with sizes go wrong.
INTEGERS = (0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**33, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
VALUES: tuple[Any, ...] = (
    *(*INTEGERS, -(2**63), 10**30, 10**400, 0.5, 1e308, float("inf"), float("nan"), True, None),
    *("", "x" * 100_000, "\x1b[31m\n\0", "../../../etc/passwd", "\ud800", [], {}, [[[]]], {"": None}, [2**40] * 8),
)
HEADS = 512  # bytes at the start and at the end of a file, where most of its numbers are


def damaged(content: bytes, choices: random.Random) -> tuple[str, bytes]:
    """What was done, in words, and a file with one to three such damages."""
    done = []
    for _ in range(choices.choice((1, 1, 2, 3))):
        name, change = choices.choice(DAMAGES)
        content = change(content, choices) if content else content
        done.append(name)
    return ", ".join(done), content


def _place(content: bytes, choices: random.Random) -> int:
    near = min(HEADS, len(content))
    anywhere = choices.randrange(len(content))
    return choices.choice((anywhere, choices.randrange(near), len(content) - 1 - choices.randrange(near)))


def _bits(content: bytes, choices: random.Random) -> bytes:
    found = bytearray(content)
    for _ in range(choices.choice((1, 2, 16))):
        found[_place(content, choices)] ^= 1 << choices.randrange(8)
    return bytes(found)


def _cut(content: bytes, choices: random.Random) -> bytes:
    return content[: _place(content, choices)]


def _block(content: bytes, choices: random.Random) -> tuple[int, int]:
    start = _place(content, choices)
    return start, min(len(content), start + choices.choice((1, 4, 16, 512, 4096)))


def _zeroed(content: bytes, choices: random.Random) -> bytes:
    start, end = _block(content, choices)
    return content[:start] + choices.choice((b"\0", b"\xff")) * (end - start) + content[end:]


def _repeated(content: bytes, choices: random.Random) -> bytes:
    start, end = _block(content, choices)
    return content[:end] + content[start:end] * choices.choice((1, 1, 100)) + content[end:]


def _inserted(content: bytes, choices: random.Random) -> bytes:
    start, end = _block(content, choices)
    return content[:start] + choices.randbytes(end - start) + content[start:]


def _moved(content: bytes, choices: random.Random) -> bytes:
    start, end = _block(content, choices)
    place = _place(content, choices)
    return content[:place] + content[start:end] + content[place + end - start :]


def _number(content: bytes, choices: random.Random) -> bytes:
    width, order = choices.choice((1, 2, 4, 8)), choices.choice(("little", "big"))
    number = choices.choice(INTEGERS) % (1 << 8 * width)
    start = _place(content, choices)
    return content[:start] + number.to_bytes(width, order) + content[start + width :]  # type: ignore[arg-type]


def _digits(content: bytes, choices: random.Random) -> bytes:
    found = [match.span() for match in re.finditer(rb"\d+", content[: 64 << 10])]
    if not found:
        return _bits(content, choices)
    start, end = choices.choice(found)
    return content[:start] + str(choices.choice((*INTEGERS, 10**30, "9" * 5000, "1e999"))).encode() + content[end:]


DAMAGES = (
    ("bits flipped", _bits),
    ("cut short", _cut),
    ("a block of zeros or ones", _zeroed),
    ("a block repeated", _repeated),
    ("noise inserted", _inserted),
    ("a block elsewhere", _moved),
    ("a number replaced", _number),
    ("digits replaced", _digits),
)


def forged(value: Any, choices: random.Random) -> tuple[str, Any]:
    """Where, and a copy of a JSON value in which something is another value, is gone, or is there again."""
    found = copy.deepcopy(value)
    places = list(_places(found, ()))
    inner, key, path = choices.choice(places)
    how = choices.choice(("replaced", "replaced", "replaced", "gone", "again"))
    if how == "gone":
        del inner[key]
    elif how == "again" and isinstance(inner, list):
        inner.insert(key, copy.deepcopy(inner[key]))
    else:
        inner[key] = copy.deepcopy(choices.choice(VALUES))
    return f"{'.'.join(map(str, path))} {how}"[:80], found


def _places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, Any, tuple[Any, ...]]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key, (*path, key)
        yield from _places(value[key], (*path, key))
