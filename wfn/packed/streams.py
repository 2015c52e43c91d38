"""Streams of indices: range asymmetric numeral systems with static frequencies, several states in turn.

J. Duda, "Asymmetric numeral systems", arXiv 1311.2540; states in turn as F. Giesen, arXiv 1402.3392. Integers only, so
that every machine and language decodes the same; docs/format.md has the rule.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wfn.compiling import compiled
from wfn.packed.errors import PackedError
from wfn.packed.tables import SCALE_BITS, TOTAL, Counts, starts
from wfn.packed.types import Bits

LOWEST = 1 << 16  # of a state
FEW = 4096  # values of a tensor below which one state is enough


def lanes(values: int) -> int:
    """How many states take turns in the stream of so many values."""
    return 1 if values < FEW else 8


def encode(symbols: NDArray[np.uint16], table: Counts) -> bytes:
    """Symbols [n], coded with a table [S] in which all of them have a frequency."""
    states = np.full(lanes(len(symbols)), LOWEST, np.uint32)
    words = np.empty(len(symbols) + 1, np.uint16)
    used = _encode(symbols, table.astype(np.uint32), starts(table).astype(np.uint32), states, words)
    return states.astype("<u4").tobytes() + words[:used][::-1].astype("<u2").tobytes()


@compiled(nogil=True)
def _encode(symbols, table, start, states, words):  # type: ignore[no-untyped-def]
    """Code from the last symbol to the first; returns how many words were written, the last one first."""
    used = 0
    lane = (len(symbols) - 1) % len(states)
    for i in range(len(symbols) - 1, -1, -1):
        symbol = symbols[i]
        frequency, state = table[symbol], states[lane]
        if state >> np.uint32(32 - SCALE_BITS) >= frequency:
            words[used] = state & np.uint32(0xFFFF)
            used += 1
            state >>= np.uint32(16)
        whole = state // frequency
        states[lane] = (whole << np.uint32(SCALE_BITS)) + (state - whole * frequency) + start[symbol]
        lane = lane - 1 if lane else len(states) - 1
    return used


def decode_into_(bits: Bits, stream: bytes, table: NDArray[Any], codebook: Bits, others: Bits) -> None:
    """Write the values of a stream into `bits` [n]: those of the codebook [S - 1] that its symbols name, or `others`.

    Raises PackedError where stream or others do not end with the last value.
    """
    count = lanes(len(bits))
    if len(stream) < 4 * count or len(stream) % 2:
        raise PackedError("a stream is too short")
    states = np.frombuffer(stream, "<u4", count).astype(np.uint32)
    words = np.zeros((len(stream) - 4 * count) // 2 + 1, np.uint16)  # one more, to be looked at and never used
    words[:-1] = np.frombuffer(stream, "<u2", offset=4 * count)
    symbol_of = np.repeat(np.arange(len(table), dtype=np.uint16), table)
    # Frequency, and the place within the symbol's slots, of every slot.
    step_of = (table[symbol_of].astype(np.uint32) << 16) | (np.arange(TOTAL) - starts(table)[symbol_of]).astype(
        np.uint32
    )
    values = np.append(codebook, codebook.dtype.type(0))  # the last one stands for what is in `others`
    if not _decode(bits, states, words, symbol_of, step_of, values, others):
        raise PackedError("a stream does not end where it should")


@compiled(nogil=True)
def _decode(bits, states, words, symbol_of, step_of, values, others):  # type: ignore[no-untyped-def]
    """Decode all values; False where words or others run out, are left over, or a state ends elsewhere."""
    word, other, escape, turn = 0, 0, len(values) - 1, len(states) - 1  # 1 or 8 states
    for i in range(len(bits)):
        lane = i & turn
        state = states[lane]
        slot = state & np.uint32(TOTAL - 1)
        step = step_of[slot]
        state = (step >> np.uint32(16)) * (state >> np.uint32(SCALE_BITS)) + (step & np.uint32(0xFFFF))
        if state < np.uint32(LOWEST):
            if word == len(words) - 1:
                return False
            state = (state << np.uint32(16)) | np.uint32(words[word])
            word += 1
        states[lane] = state
        symbol = symbol_of[slot]
        bits[i] = values[symbol]
        if symbol == escape:
            if other == len(others):
                return False
            bits[i] = others[other]
            other += 1
    for state in states:
        if state != LOWEST:
            return False
    return word == len(words) - 1 and other == len(others)
