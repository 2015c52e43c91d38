"""Which values occur how often, and a tensor's values as indices into a codebook: by hashing, in one pass each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wfn.compiling import compiled
from wfn.packed.tables import TOTAL, Counts
from wfn.packed.types import Bits

SLOTS = 1 << 16  # of the hash table: four times as many as values, at least
MOST_VALUES = TOTAL - 1  # of a codebook; one symbol more says that a value is not in it


def distinct_values(bits: Bits) -> tuple[Bits, Counts]:
    """The distinct values [k] of bit patterns [n], ascending as numbers without sign, and how often each occurs."""
    keys, counts = np.zeros(SLOTS, bits.dtype), np.zeros(SLOTS, np.int64)
    if _count(bits, keys, counts):
        order = np.argsort(keys[counts > 0])
        return keys[counts > 0][order], counts[counts > 0][order]
    found = np.unique(bits, return_counts=True)
    return found[0], found[1].astype(np.int64)


def symbols(bits: Bits, codebook: Bits) -> NDArray[np.uint16]:
    """Each of the bit patterns [n] as its index into the codebook [k]; k for those that are not in it."""
    keys, places = np.zeros(SLOTS, bits.dtype), np.full(SLOTS, -1, np.int32)
    _enter(codebook, keys, places)
    found = np.empty(len(bits), np.uint16)
    _look_up(bits, keys, places, found, len(codebook))
    return found


@compiled()
def _slot(key):  # type: ignore[no-untyped-def]
    """Fibonacci hashing of a bit pattern to 16 bits."""
    return np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(48))


@compiled(nogil=True)
def _count(bits, keys, counts):  # type: ignore[no-untyped-def]
    """Count all values; False where there are more than a codebook can hold."""
    found = 0
    for bit in bits:
        slot = _slot(bit)
        while counts[slot] and keys[slot] != bit:
            slot = (slot + 1) & (SLOTS - 1)
        if not counts[slot]:
            found += 1
            if found > MOST_VALUES:
                return False
            keys[slot] = bit
        counts[slot] += 1
    return True


@compiled()
def _enter(codebook, keys, places):  # type: ignore[no-untyped-def]
    for place in range(len(codebook)):
        slot = _slot(codebook[place])
        while places[slot] >= 0:
            slot = (slot + 1) & (SLOTS - 1)
        keys[slot], places[slot] = codebook[place], place


@compiled(nogil=True)
def _look_up(bits, keys, places, found, missing):  # type: ignore[no-untyped-def]
    for i in range(len(bits)):
        slot = _slot(bits[i])
        while places[slot] >= 0 and keys[slot] != bits[i]:
            slot = (slot + 1) & (SLOTS - 1)
        found[i] = places[slot] if places[slot] >= 0 else missing
