"""From tensors to a packed file: which of them are coded, which values they share, and with which tables."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from wfn.packed.file import Source, write
from wfn.packed.header import MAX_DIMENSIONS, MOST_FREQUENCIES, Codebook, Entry, Header
from wfn.packed.network.describing import described
from wfn.packed.planes import deflate
from wfn.packed.streams import encode
from wfn.packed.tables import TOTAL, Counts, frequencies, shared_tables, to_bytes
from wfn.packed.types import NAMES, Bits, to_bits
from wfn.packed.values import MOST_VALUES, distinct_values, symbols

# What is deflated keeps about so much of its size: the mantissas of trained weights are noise.
DEFLATED = 0.9
TABLE_BITS = 10  # of a value in a table, about
OVERHEAD_BITS = 8 * 64  # of what a coded tensor has more in the header and between sections, about
LEAST_GAIN = 0.98
# Up to so many values, those that occur once are in the codebook too.
FEW_VALUES = 4096


def pack(
    model_or_state: nn.Module | Mapping[str, Tensor],
    path: Source,
    *,
    network: str | Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> int:
    """Write the parameters and buffers of a network to a packed file; returns its bytes.

    Every bit of every tensor is kept. Tensors of few values are coded, whoever chose these and whether tensors share
    them or not; others, and those weights of a partly fixed tensor that have a value of their own, are kept as they
    are. Tied tensors are kept once.

    path: of the file, which replaces an older one once it is complete; or an open binary file.
    network: what `load` builds - the name of a timm model, whose arguments and pictures are then read off the model, or
    all of it as docs/format.md says. metadata: for people, whatever JSON can hold.

    Raises ValueError that names the tensor, or the key of `network` or `metadata`, that cannot be kept.
    """
    if not isinstance(model_or_state, nn.Module | Mapping):
        raise ValueError(f"a module, or tensors by name, are needed, not {type(model_or_state).__name__}")
    if not isinstance(metadata, Mapping | None):
        raise ValueError(f"metadata: an object is needed, not {type(metadata).__name__}")
    # As a dict of its own: what makes a tensor at every access would let go of it before the others are compared.
    state = dict((model_or_state.state_dict() if isinstance(model_or_state, nn.Module) else model_or_state).items())
    named = _entries(state)
    model = model_or_state if isinstance(model_or_state, nn.Module) else state
    told = None if network is None else described(network, model)
    entries, codebooks, tables, sections = _encoded(state, named)
    lengths = tuple((len(section), zlib.crc32(section)) for section in sections)
    header = Header(lengths, tuple(codebooks), tuple(tables), tuple(entries), told, dict(metadata or {}))
    return write(path, header, sections)


@dataclass(frozen=True)
class _Tensor:
    """A tensor's bit patterns [n], its distinct values [k], and how often each of them occurs [k]."""

    entry: Entry
    bits: Bits
    distinct: Bits
    counts: Counts


def _encoded(
    state: Mapping[str, Tensor], entries: Sequence[Entry]
) -> tuple[list[Entry], list[Codebook], list[int], list[bytes]]:
    """Entries with their places, codebooks, the codebook of each table, and all sections."""
    tensors = []
    for entry in entries:
        if entry.same is None and entry.values:
            bits = to_bits(state[entry.name])
            tensors.append(_Tensor(entry, bits, *distinct_values(bits)))
    codebooks: list[Codebook] = []
    tables: list[tuple[int, Counts]] = []
    coded: dict[str, tuple[int, Bits]] = {}  # number of its table, codebook
    values = []
    for group in _sharing(tensors):
        values.append(_codebook(group)[0])
        histograms = [_histogram(tensor, values[-1]) for tensor in group]
        numbers = shared_tables(histograms)
        if (max(numbers) + 1) * (len(values[-1]) + 1) > MOST_FREQUENCIES // 2:
            numbers = [0] * len(group)  # less small, but within what a reader takes
        for tensor, number in zip(group, numbers, strict=True):
            coded[tensor.entry.name] = len(tables) + number, values[-1]
        for number in range(max(numbers) + 1):
            parts = [part for part, own in zip(histograms, numbers, strict=True) if own == number]
            tables.append((len(codebooks), frequencies(np.sum(parts, axis=0))))
        codebooks.append(Codebook(group[0].entry.dtype, len(values[-1])))
    sections = [b"".join(book.tobytes() for book in values), b"".join(to_bytes(table) for _, table in tables)]
    places = {}
    for tensor in tensors:
        name = tensor.entry.name
        place: dict[str, Any] = {}
        if name in coded:
            place["table"], book = coded[name]
            own = _stream(tensor.bits, book, tables[place["table"]][1])
        else:
            own = [("raw", deflate(tensor.bits))]
        for key, section in own:
            place[key] = len(sections)
            sections.append(section)
        places[name] = place
    placed = [replace(entry, **places.get(entry.name, {})) for entry in entries]
    return placed, codebooks, [book for book, _ in tables], sections


def _entries(state: Mapping[str, Tensor]) -> list[Entry]:
    """An entry for each tensor; a tied one names the earlier one. Raises ValueError as `pack` says."""
    entries: list[Entry] = []
    seen: dict[Any, str] = {}
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ValueError(f"{name}: names and tensors are needed, not {type(tensor).__name__}")
        if tensor.dtype not in NAMES:
            raise ValueError(f"{name}: the type {tensor.dtype} cannot be kept; allowed: {', '.join(NAMES.values())}")
        if is_traceable_wrapper_subclass(tensor):
            raise ValueError(
                f"{name}: is a {type(tensor).__name__}; only a plain tensor can be kept (gather shards first)"
            )
        if tensor.layout != torch.strided or tensor.is_meta:
            raise ValueError(f"{name}: only a dense tensor with values can be kept")
        if tensor.ndim > MAX_DIMENSIONS:
            raise ValueError(f"{name}: {tensor.ndim} dimensions; at most {MAX_DIMENSIONS} can be kept")
        if isinstance(tensor, nn.UninitializedParameter | nn.UninitializedBuffer) or tensor.is_nested:
            raise ValueError(f"{name}: has no shape, or several; only a dense tensor with values can be kept")
        dtype, shape = NAMES[tensor.dtype], tuple(tensor.shape)
        storage = (tensor.device, tensor.data_ptr(), tensor.stride(), dtype, shape, tensor.is_conj(), tensor.is_neg())
        first = seen.setdefault(storage, name) if tensor.numel() else name
        entries.append(Entry(name, dtype, shape, None if first == name else first))
    return entries


def _sharing(tensors: Sequence[_Tensor]) -> list[list[_Tensor]]:
    """The tensors worth coding, in groups that share a codebook: all of a type, but for those with too many values."""
    groups = []
    for dtype in dict.fromkeys(tensor.entry.dtype for tensor in tensors):
        candidates = [tensor for tensor in tensors if tensor.entry.dtype == dtype]
        worth = list(zip(candidates, _worth_coding(candidates), strict=True))
        together = [tensor for tensor, shares in worth if shares]
        groups += [together] if together else []
        groups += [[tensor] for tensor, shares in worth if not shares and all(_worth_coding([tensor]))]
    return groups


def _codebook(tensors: Sequence[_Tensor]) -> tuple[Bits, Counts]:
    """The values [k] that tensors share, ascending as numbers without sign, and how often each occurs.

    What occurs twice, or all where these are few.
    """
    values, places = np.unique(np.concatenate([tensor.distinct for tensor in tensors]), return_inverse=True)
    counts = np.bincount(places, np.concatenate([tensor.counts for tensor in tensors])).astype(np.int64)
    if len(values) > FEW_VALUES:
        values, counts = values[counts > 1], counts[counts > 1]
    most = np.sort(np.argsort(-counts, kind="stable")[:MOST_VALUES])
    return values[most], counts[most]


def _worth_coding(tensors: Sequence[_Tensor]) -> list[bool]:
    """Which of the tensors take fewer bytes with a codebook that they share than as they are, about."""
    codebook, everywhere = _codebook(tensors)
    width = 8 * tensors[0].bits.itemsize
    worth = []
    for tensor in tensors:
        counts = _histogram(tensor, codebook)
        used = counts[counts > 0]
        bits = float((used * np.log2(len(tensor.bits) / used)).sum()) + DEFLATED * width * int(counts[-1])
        bits += (width + TABLE_BITS) * float((counts[:-1] / everywhere).sum())  # its share of codebook and table
        worth.append(bits + OVERHEAD_BITS < LEAST_GAIN * DEFLATED * width * len(tensor.bits))
    return worth


def _histogram(tensor: _Tensor, codebook: Bits) -> Counts:
    """How often each value of the codebook [k] occurs, and all others together [k + 1]."""
    found = symbols(tensor.distinct, codebook)
    return np.bincount(found, tensor.counts, len(codebook) + 1).astype(np.int64)


def _stream(bits: Bits, codebook: Bits, table: Counts) -> list[tuple[str, bytes]]:
    """The sections of a coded tensor; none where all its values are one."""
    if table.max() == TOTAL and not table[-1]:
        return []
    found = symbols(bits, codebook)
    sections = [("stream", encode(found, table))]
    if table[-1]:
        sections.append(("others", deflate(bits[found == len(codebook)])))
    return sections
