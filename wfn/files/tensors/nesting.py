"""Whether a pickle can be read in reasonable time: a few bytes can name a tuple that has 2**60 parts to be hashed."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path
from typing import BinaryIO

MOST = 1_000_000  # parts of a tuple, with those of the tuples in it, each as often as it is there
OPEN = 100_000  # values that wait for what they are part of; pickle itself puts a thousand at a time into a list
OLD_PICKLES = 4  # torch's files of before version 1.6 begin with three pickles that say what they are
MARK = -1


def too_nested(path: Path, archive: bool) -> bool:
    """Whether a torch file, an archive or one of before version 1.6, has values of more parts than programs write,
    or inside of more.

    Raises whatever a damaged file makes of it.
    """
    if not archive:
        with path.open("rb") as file:
            return any(_too_nested(file) for _ in range(OLD_PICKLES))
    with zipfile.ZipFile(path) as zipped:
        names = [name for name in zipped.namelist() if name.endswith("data.pkl")]
        return any(_too_nested(zipped.read(name)) for name in names)


def _too_nested(content: BinaryIO | bytes) -> bool:
    """The same of one pickle: its stack is followed, with the number of parts in place of each value."""
    stack: list[int] = []
    memo: dict[int, int] = {}
    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if argument is None else int(argument)] = stack[-1]
            continue
        if name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
            continue
        taken = _taken(stack, opcode)
        parts = 1 + sum(taken) if name.startswith("TUPLE") or name in ("REDUCE", "NEWOBJ") else 1
        if parts > MOST or len(stack) > OPEN:
            return True
        stack += [MARK if each is pickletools.markobject else parts for each in opcode.stack_after]
    return False


def _taken(stack: list[int], opcode: pickletools.OpcodeInfo) -> list[int]:
    """Take what an opcode takes off the stack."""
    taken = []
    before = list(opcode.stack_before)
    if pickletools.markobject in before:
        while (parts := stack.pop()) != MARK:
            taken.append(parts)
        before = before[: before.index(pickletools.markobject)]
    taken += [stack.pop() for _ in before]
    return taken
