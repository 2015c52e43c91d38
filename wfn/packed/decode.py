"""From a packed file to tensors, one by one: what is read is checked, memory is taken for no more than is allowed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wfn.packed.errors import PackedError
from wfn.packed.file import Reader, Source, reading
from wfn.packed.header import CODEBOOKS, TABLES, Entry, check_tables
from wfn.packed.planes import inflated
from wfn.packed.streams import decode_into_
from wfn.packed.tables import TOTAL, Counts, from_bytes
from wfn.packed.types import Bits, bits_type, empty, to_bits
from wfn.packed.values import distinct_values

# A tensor of one value costs no bytes, so what a file unfolds to has to have a limit.
LIMIT, LIMIT_PER_BYTE = 128 << 20, 32


def unpack(source: Source, *, limit: int | None = None) -> dict[str, Tensor]:
    """The tensors of a packed file by name, as they were given to `pack`, to the bit; on the CPU.

    source: a path, or an open binary file. limit: bytes that all tensors together may take; None: 128 MiB and 32 times
    the file's length.

    Raises PackedError, a ValueError of one line that names the file, for anything but a packed file that is whole, and
    for one beyond the limit; OSError for a file that cannot be read.
    """
    with reading(source) as reader:
        return dict(tensors(reader, limit))


def tensors(reader: Reader, limit: int | None) -> Iterator[tuple[str, Tensor]]:
    """Name and values of each tensor of an open file, as `unpack` says; tied ones are the same object."""
    decoder = _Decoder(reader, limit)
    for entry in reader.header.tensors:
        yield entry.name, decoder.tensor(entry)


def allowed_bytes(reader: Reader, limit: int | None) -> int:
    """What a file may unfold to: `limit`, or where that is None what `unpack` says."""
    return LIMIT + LIMIT_PER_BYTE * reader.length if limit is None else limit


class _Decoder:
    """The codebooks and tables of an open file, and what has been decoded and is needed again."""

    def __init__(self, reader: Reader, limit: int | None) -> None:
        header, allowed = reader.header, allowed_bytes(reader, limit)
        wanted = sum(entry.bytes for entry in header.tensors if entry.same is None)
        if wanted > allowed:
            raise PackedError(f"unfolds to {wanted} bytes; allowed: {allowed}, a larger `limit` has to be asked for")
        self._reader = reader
        self._codebooks = _codebooks(reader)
        sizes = [header.codebooks[book].values + 1 for book in header.tables]
        check_tables(header)
        self._tables = from_bytes(reader.section(TABLES), sizes)
        self._wanted_again = {entry.same for entry in header.tensors}
        self._kept: dict[str, Tensor] = {}

    def tensor(self, entry: Entry) -> Tensor:
        """The values of a tensor."""
        if entry.same is not None:
            return self._kept[entry.same]
        try:
            tensor = self._decoded(entry)
        except PackedError as error:
            raise PackedError(f"{entry.name}: {error}") from None
        if entry.name in self._wanted_again:
            self._kept[entry.name] = tensor
        return tensor

    def _decoded(self, entry: Entry) -> Tensor:
        tensor, bits = empty(entry.dtype, entry.shape)
        if entry.raw is not None:
            bits[:] = inflated(self._reader.section(entry.raw), len(bits), bits.dtype)
        elif entry.table is not None:
            self._decode_into_(bits, entry, entry.table)
        return tensor

    def _decode_into_(self, bits: Bits, entry: Entry, number: int) -> None:
        table, codebook = self._tables[number], self._codebooks[self._reader.header.tables[number]]
        if (entry.others is not None) != (entry.stream is not None and bool(table[-1])):
            raise PackedError("its table and its sections do not go together")
        if entry.stream is None:
            only = int(table.argmax())
            if table[only] != TOTAL or only == len(codebook):
                raise PackedError("has no stream, and more than one value")
            bits.fill(codebook[only])
            return
        others = np.empty(0, bits.dtype)
        if entry.others is not None:
            others = inflated(self._reader.section(entry.others), len(bits), bits.dtype, exactly=False)
        decode_into_(bits, self._reader.section(entry.stream), table, codebook, others)


def _codebooks(reader: Reader) -> list[Bits]:
    """The values of every codebook, as bit patterns [k]."""
    section, books, position = reader.section(CODEBOOKS), [], 0
    for codebook in reader.header.codebooks:
        dtype = bits_type(codebook.dtype)
        end = position + codebook.values * dtype.itemsize
        if end > len(section):
            raise PackedError("has fewer values in its codebooks than it says")
        books.append(np.frombuffer(section[position:end], dtype))
        position = end
    if position != len(section):
        raise PackedError("has more values in its codebooks than it says")
    return books


@dataclass(frozen=True)
class Layer:
    """A tensor of a packed file.

    coding: "coded", "one value", "as it is", "same as NAME" or "empty". bytes: of its own sections. distinct: how many
    different values it has; entropy: of these, in bits a value.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    coding: str
    bytes: int
    distinct: int
    entropy: float

    @property
    def values(self) -> int:
        """How many values it has."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class Contents:
    """What a packed file holds.

    bytes: of the file; unpacked_bytes: of its tensors in memory. codebook [k], usage [k]: the distinct values of all
    coded floating-point tensors together, ascending, and how many weights have each; entropy: of these, in bits a
    weight. network, metadata: as they were given to `pack`, in what JSON makes of them.
    """

    bytes: int
    unpacked_bytes: int
    layers: tuple[Layer, ...]
    codebook: Tensor
    usage: Tensor
    network: Mapping[str, Any] | None
    metadata: Mapping[str, Any]

    @property
    def entropy(self) -> float:
        """Bits a weight of the coded tensors, all of them together."""
        return _entropy(self.usage.numpy())


def inspect(source: Source, *, limit: int | None = None) -> Contents:
    """What a packed file holds; every tensor is decoded, one at a time, and so checked.

    Arguments and errors of `unpack`.
    """
    with reading(source) as reader:
        header, layers = reader.header, []
        values, uses = [torch.empty(0, dtype=torch.float64)], [torch.empty(0, dtype=torch.int64)]
        for entry, (_, tensor) in zip(header.tensors, tensors(reader, limit), strict=True):
            distinct, counts = distinct_values(to_bits(tensor))
            size = sum(header.sections[section][0] for section in entry.sections)
            layers.append(
                Layer(entry.name, entry.dtype, entry.shape, _coding(entry), size, len(distinct), _entropy(counts))
            )
            if entry.table is not None and tensor.is_floating_point():
                values.append(torch.from_numpy(distinct).view(tensor.dtype).double())
                uses.append(torch.from_numpy(counts))
        codebook, places = torch.cat(values).unique(return_inverse=True)
        usage = torch.zeros(len(codebook), dtype=torch.int64).index_add_(0, places, torch.cat(uses))
        unpacked = sum(entry.bytes for entry in header.tensors if entry.same is None)
        return Contents(reader.length, unpacked, tuple(layers), codebook, usage, header.network, header.metadata)


def _coding(entry: Entry) -> str:
    if entry.same is not None:
        return f"same as {entry.same}"
    if entry.table is not None:
        return "coded" if entry.stream is not None else "one value"
    return "as it is" if entry.raw is not None else "empty"


def _entropy(counts: Counts) -> float:
    used = counts[counts > 0]
    total = used.sum()
    return max(0.0, float((used * np.log2(total / used)).sum()) / int(total)) if len(used) else 0.0
