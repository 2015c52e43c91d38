"""Tables of frequencies, which streams are coded with: from counts, as bytes, and shared among tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wfn.packed.errors import PackedError

SCALE_BITS = 14
TOTAL = 1 << SCALE_BITS  # what the frequencies of a table add up to; also the most symbols that it can tell apart

FREQUENCY = np.dtype(np.uint16)  # in a table that has been read

Counts = NDArray[np.int64]

# So many tensors of similar entropy are tried as partners that share a table.
AT_ONCE = 256


def frequencies(counts: Counts) -> Counts:
    """Frequencies [S] that add up to 16,384 for counts [S] of symbols, at least 1 for every symbol that occurs."""
    used = counts > 0
    exact = counts * (TOTAL / counts.sum())
    found = np.where(used, np.maximum(1, np.round(exact)), 0).astype(np.int64)
    step = 1 if found.sum() < TOTAL else -1
    while found.sum() != TOTAL:
        # Where one more or less costs the fewest bits.
        movable = used & (found + step > 0)
        change = np.full(len(counts), np.inf)
        change[movable] = -counts[movable] * np.log2((found[movable] + step) / found[movable])
        several = max(1, abs(TOTAL - int(found.sum())) // 8)
        found[np.argsort(change, kind="stable")[: min(several, int(movable.sum()))]] += step
    return found


def to_bytes(table: Counts) -> bytes:
    """Frequencies [S] as varints, runs of zeros as a zero and how many more follow."""
    written = bytearray()
    borders = np.flatnonzero(np.diff(table != 0, prepend=True, append=True))  # runs of zeros begin and end here
    position = 0
    for start, end in zip(borders[::2].tolist(), borders[1::2].tolist(), strict=True):
        for frequency in table[position:start].tolist():
            written += _varint(frequency)
        written += b"\0" + _varint(end - start - 1)
        position = end
    for frequency in table[position:].tolist():
        written += _varint(frequency)
    return bytes(written)


def _varint(number: int) -> bytes:
    written = bytearray()
    while number >= 128:
        written.append(number % 128 + 128)
        number //= 128
    return bytes([*written, number])


def from_bytes(section: bytes, sizes: Sequence[int]) -> list[NDArray[np.uint16]]:
    """The tables that a section holds, one after the other: frequencies [S] for each of `sizes` S.

    Raises PackedError where they do not add up to 16,384 each, and where the section is not used up.
    """
    tables, position = [], 0

    def varint() -> int:
        nonlocal position
        number = shift = 0
        while True:
            if position == len(section) or shift > 21:
                raise PackedError("a table of frequencies is damaged")
            byte, position = section[position], position + 1
            number += (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    for size in sizes:
        table, place = np.zeros(size, FREQUENCY), 0
        while place < size:
            frequency = varint()
            if frequency > TOTAL:
                break
            table[place] = frequency
            place += 1 if frequency else 1 + varint()
        if place != size or table.sum() != TOTAL:
            raise PackedError("a table of frequencies does not add up")
        tables.append(table)
    if position != len(section):
        raise PackedError("there is more than the tables of frequencies in their section")
    return tables


def shared_tables(counts: Sequence[Counts]) -> list[int]:
    """Which tensors share a table, as a group number for each tensor's counts [S]: few bits by pairwise joining.

    A table of its own codes a tensor best, and costs bytes; so groups are joined as long as that saves any.
    """
    own = _bits(np.stack(counts)) / np.maximum(1, [each.sum() for each in counts])
    order = np.argsort(own, kind="stable")
    group_of = [0] * len(counts)
    found = 0
    for start in range(0, len(order), AT_ONCE):
        near = order[start : start + AT_ONCE].tolist()
        numbers = _joined(np.stack([counts[place] for place in near]))
        for place, number in zip(near, numbers, strict=True):
            group_of[place] = found + number
        found += max(numbers) + 1
    first_seen = list(dict.fromkeys(group_of))
    return [first_seen.index(group) for group in group_of]


def _joined(counts: Counts) -> list[int]:
    """The group of each row of counts [M, S], after joining the best pair of groups as long as that saves bits."""
    counts, alive = counts.copy(), np.ones(len(counts), bool)
    cost = _bits(counts)
    saved = np.stack([cost[a] + cost - _bits(counts[a] + counts) for a in range(len(counts))])
    np.fill_diagonal(saved, -np.inf)
    group = np.arange(len(counts))
    while True:
        a, b = np.unravel_index(np.argmax(saved), saved.shape)
        if not saved[a, b] > 0:
            return [int(number) for number in np.unique(group, return_inverse=True)[1]]
        group[group == b] = a
        counts[a] += counts[b]
        alive[b] = False
        cost[a] = _bits(counts[a])
        saved[b] = saved[:, b] = -np.inf
        row = np.where(alive, cost[a] + cost - _bits(counts[a] + counts), -np.inf)
        row[a] = -np.inf
        saved[a] = saved[:, a] = row


def _bits(counts: Counts) -> NDArray[np.float64]:
    """About the bits of symbols coded with a table of their own, and of that table, along the last axis of counts."""
    total = counts.sum(-1, keepdims=True)
    used = counts > 0
    symbols = np.where(used, counts * np.log2(total / np.maximum(1, counts), where=used, out=np.zeros(counts.shape)), 0)
    table = used.sum(-1) + (counts * TOTAL >= 128 * np.maximum(1, total)).sum(-1)
    return symbols.sum(-1) + 8 * (table + np.count_nonzero(np.diff(used, axis=-1), axis=-1))


def starts(table: NDArray[Any]) -> NDArray[Any]:
    """The sum of the frequencies before each symbol [S]."""
    return np.cumsum(table) - table
