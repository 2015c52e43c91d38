"""Tables of frequencies, which streams are coded with: from counts, as bytes, and shared among tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wfn.packed.errors import PackedError

SCALE_BITS = 14
TOTAL = 1 << SCALE_BITS  # what the frequencies of a table add up to; also the most symbols that it can tell apart

Counts = NDArray[np.int64]

# Beyond so many, only neighbours in the order of their entropies are tried as partners that share a table.
ALL_PAIRS = 512


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


def from_bytes(section: bytes, sizes: Sequence[int]) -> list[Counts]:
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
        table, place = np.zeros(size, np.int64), 0
        while place < size:
            frequency = varint()
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
    groups: dict[int, Counts] = dict(enumerate(counts))
    cost = {number: _bits(table) for number, table in groups.items()}
    member = list(range(len(counts)))
    order = sorted(groups, key=lambda number: cost[number] / max(1, counts[number].sum()))
    reach = len(order) if len(order) <= ALL_PAIRS else ALL_PAIRS * ALL_PAIRS // len(order) // 2 + 1
    saved = {
        (a, b): cost[a] + cost[b] - _bits(groups[a] + groups[b])
        for place, a in enumerate(order)
        for b in order[place + 1 : place + 1 + reach]
    }
    while saved and max(saved.values()) > 0:
        a, b = max(saved, key=lambda pair: saved[pair])
        groups[a] = groups[a] + groups.pop(b)
        cost[a] = _bits(groups[a])
        member = [a if group == b else group for group in member]
        partners = {other for pair in saved if a in pair or b in pair for other in pair} - {a, b}
        saved = {pair: bits for pair, bits in saved.items() if not {a, b} & set(pair)}
        saved |= {(a, other): cost[a] + cost[other] - _bits(groups[a] + groups[other]) for other in partners}
    numbers = {group: number for number, group in enumerate(dict.fromkeys(member))}
    return [numbers[group] for group in member]


def _bits(counts: Counts) -> float:
    """About the bits of the symbols coded with a table of their own, and of that table."""
    used = counts[counts > 0].astype(np.float64)
    total = used.sum()
    if not total:
        return 0.0
    runs = np.count_nonzero(np.diff(counts > 0))
    table = 8 * (len(used) + np.count_nonzero(used * TOTAL >= 128 * total) + runs)
    return float(total * np.log2(total) - (used * np.log2(used)).sum()) + table


def starts(table: Counts) -> NDArray[Any]:
    """The sum of the frequencies before each symbol [S]."""
    return np.cumsum(table) - table
