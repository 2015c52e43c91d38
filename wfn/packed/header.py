"""The header of a packed file: what it says of tensors and sections, checked before any memory is taken for it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from wfn.packed.errors import PackedError
from wfn.packed.tables import TOTAL
from wfn.packed.types import TYPES
from wfn.plain_json import parse_json

MAX_DIMENSIONS = 8
MAX_VALUES = 1 << 48
# Of all tables together: runs of zeros cost no bytes, and a codebook may have any number of tables. At two bytes each.
MOST_FREQUENCIES = 32 << 20
CODEBOOKS, TABLES, FIRST_OWN = 0, 1, 2  # sections


@dataclass(frozen=True)
class Codebook:
    """Type and number of the values of a codebook."""

    dtype: str
    values: int


@dataclass(frozen=True)
class Entry:
    """A tensor, and where its values are: `same` as an earlier one, `raw`, or coded with a table.

    raw, stream, others: numbers of sections. table: of a table; without a stream all values are its one symbol's.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    same: str | None = None
    raw: int | None = None
    table: int | None = None
    stream: int | None = None
    others: int | None = None

    @property
    def values(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return self.values * TYPES[self.dtype].itemsize

    @property
    def sections(self) -> list[int]:
        """Those that belong to it."""
        return [number for number in (self.raw, self.stream, self.others) if number is not None]

    def to_json(self) -> dict[str, Any]:
        """As in the header."""
        places = {key: getattr(self, key) for key in ("same", "raw", "table", "stream", "others")}
        known = {key: value for key, value in places.items() if value is not None}
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape), **known}


@dataclass(frozen=True)
class Header:
    """All that a file says before its values. sections: their lengths and CRC-32; tables: the codebook of each."""

    sections: tuple[tuple[int, int], ...]
    codebooks: tuple[Codebook, ...]
    tables: tuple[int, ...]
    tensors: tuple[Entry, ...]
    network: Mapping[str, Any] | None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """As JSON. Raises ValueError for a network or metadata that JSON cannot hold."""
        content = {
            "sections": self.sections,
            "codebooks": [{"dtype": book.dtype, "values": book.values} for book in self.codebooks],
            "tables": self.tables,
            "tensors": [entry.to_json() for entry in self.tensors],
            "network": self.network,
            "metadata": self.metadata,
        }
        try:
            return json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"network and metadata: only what JSON can hold is allowed ({error})") from None


def parse(content: bytes) -> Header:
    """The header that JSON text holds. Raises PackedError, naming key and value, for anything that must not be."""
    try:
        text = content.decode()
        values = parse_json(text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite)
        json.dumps(values, ensure_ascii=False).encode()  # half a character, written as \\ud800, is none
    except ValueError as error:
        raise PackedError(f"the header is no JSON ({' '.join(str(error).split())})") from None
    whole = _mapping(values, "header")
    sections = tuple(_section(pair, f"sections[{i}]") for i, pair in enumerate(_list(whole, "sections")))
    if len(sections) < FIRST_OWN:
        raise PackedError(f"sections: {len(sections)} of them; there are at least {FIRST_OWN}")
    codebooks = tuple(_codebook(book, f"codebooks[{i}]") for i, book in enumerate(_list(whole, "codebooks")))
    tables = tuple(
        _below(book, len(codebooks), f"tables[{i}]", "a codebook") for i, book in enumerate(_list(whole, "tables"))
    )
    limits = {"table": len(tables), "raw": len(sections), "stream": len(sections), "others": len(sections)}
    tensors = tuple(_entry(value, f"tensors[{i}]", limits) for i, value in enumerate(_list(whole, "tensors")))
    network = whole.get("network")
    header = Header(
        sections,
        codebooks,
        tables,
        tensors,
        None if network is None else _mapping(network, "network"),
        _mapping(whole.get("metadata", {}), "metadata"),
    )
    _check_tensors(header)
    return header


def check_tables(header: Header) -> None:
    """Raise PackedError for tables that would take too much memory."""
    frequencies = sum(header.codebooks[book].values + 1 for book in header.tables)
    if frequencies > MOST_FREQUENCIES:
        raise PackedError(f"has tables of {frequencies} frequencies; allowed: {MOST_FREQUENCIES}")


def _check_tensors(header: Header) -> None:
    """Everything that needs more than one entry to be seen."""
    earlier: dict[str, Entry] = {}
    owned: set[int] = set()
    for entry in header.tensors:
        if entry.name in earlier:
            raise PackedError(f"{entry.name}: there are two tensors of this name")
        ways = [key for key in ("same", "raw", "table") if getattr(entry, key) is not None]
        if len(ways) != (1 if entry.values or ways == ["same"] else 0):
            raise PackedError(f"{entry.name}: its values are nowhere, or in two places")
        if (entry.stream is not None or entry.others is not None) and entry.table is None:
            raise PackedError(f"{entry.name}: a stream without a table")
        if entry.others is not None and entry.stream is None:
            raise PackedError(f"{entry.name}: others without a stream")
        if entry.table is not None and header.codebooks[header.tables[entry.table]].dtype != entry.dtype:
            raise PackedError(f"{entry.name}: a {entry.dtype} tensor with a codebook of another type")
        if entry.same is not None:
            first = earlier.get(entry.same)
            if first is None or (first.dtype, first.shape) != (entry.dtype, entry.shape):
                raise PackedError(
                    f"{entry.name}: the same as {entry.same!r}, which is not before it, or is another kind"
                )
        for section in entry.sections:
            if section < FIRST_OWN or section in owned:
                raise PackedError(f"{entry.name}: section {section} is not its own")
            owned.add(section)
        earlier[entry.name] = entry
    if len(owned) != len(header.sections) - FIRST_OWN:
        raise PackedError("a section belongs to no tensor")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _finite(word: str) -> float:
    if not math.isfinite(number := float(word)):
        raise ValueError(f"{word[:20]} is too large a number")
    return number


def _entry(value: Any, where: str, limits: Mapping[str, int]) -> Entry:
    given = _mapping(value, where)
    name, dtype = _text(given, "name", where), _type(given, where)
    shape = _list(given, "shape", where)
    if len(shape) > MAX_DIMENSIONS:
        raise PackedError(f"{name}: {len(shape)} dimensions; at most {MAX_DIMENSIONS} are allowed")
    places = {
        key: _below(given[key], limit, f"{name}: {key}", f"a {'table' if key == 'table' else 'section'}")
        for key, limit in limits.items()
        if key in given
    }
    same = _text(given, "same", where) if "same" in given else None
    sides = tuple(_count(side, f"{name}: shape") for side in shape)
    if math.prod(max(1, side) for side in sides) >= MAX_VALUES:
        raise PackedError(f"{name}: a tensor cannot have the shape {list(sides)}")
    return Entry(name, dtype, sides, same, **places)


def _codebook(value: Any, where: str) -> Codebook:
    given = _mapping(value, where)
    values = _count(given.get("values"), f"{where}.values")
    if values >= TOTAL:
        raise PackedError(f"{where}: {values} values; allowed: below {TOTAL}")
    return Codebook(_type(given, where), values)


def _section(value: Any, where: str) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise PackedError(f"{where}: a length and a CRC-32 are needed")
    return _count(value[0], where), _count(value[1], where)


def _type(given: Mapping[str, Any], where: str) -> str:
    dtype = _text(given, "dtype", where)
    if dtype not in TYPES:
        raise PackedError(f"{where}: the type {dtype[:20]!r} is unknown; allowed: {', '.join(TYPES)}")
    return dtype


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PackedError(f"{where}: an object is needed")
    return value


def _list(given: Mapping[str, Any], key: str, where: str = "header") -> list[Any]:
    value = given.get(key)
    if not isinstance(value, list):
        raise PackedError(f"{where}: {key} must be a list")
    return value


def _text(given: Mapping[str, Any], key: str, where: str) -> str:
    value = given.get(key)
    if not isinstance(value, str):
        raise PackedError(f"{where}: {key} must be a text")
    return value


def _count(value: Any, where: str) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise PackedError(f"{where}: {str(value)[:20]} is no count")
    return value


def _below(value: Any, limit: int, where: str, what: str) -> int:
    if _count(value, where) >= limit:
        raise PackedError(f"{where}: {value} is not the number of {what}; there are {limit}")
    return int(value)
