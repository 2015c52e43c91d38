"""Packed files taken apart and put together again, for those that are made wrong on purpose (docs/format.md)."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from torch import Tensor

import wfn
from wfn.packed.file import HEADER_AT, MAGIC, PREFIX
from wfn.packed.network.allowed import check


def parts_of(content: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Header and sections of a packed file."""
    length = PREFIX.unpack_from(content)[3]
    header = json.loads(zlib.decompress(content[HEADER_AT : HEADER_AT + length]))
    position, sections = HEADER_AT + length + -length % 8, []
    for size, _ in header["sections"]:
        sections.append(content[position : position + size])
        position += size + -size % 8
    return header, sections


def of_parts(
    header: bytes,
    sections: Sequence[bytes] = (),
    version: tuple[int, int] = (1, 0),
    magic: bytes = MAGIC,
    total: int | None = None,
) -> bytes:
    """A file with this deflated header and these sections, the checksum of its head right."""
    body = b"".join(part + bytes(-len(part) % 8) for part in (header, *sections))
    prefix = PREFIX.pack(magic, *version, len(header), HEADER_AT + len(body) if total is None else total, 0)
    return prefix + struct.pack("<I", zlib.crc32(prefix + header)) + body


def of_text(plain: bytes, sections: Sequence[bytes] = (), **others: Any) -> bytes:
    """A file with this header text and these sections, its checksums right."""
    return of_parts(zlib.compress(plain), sections, **others)


def with_header(state: Mapping[str, Tensor], change: Callable[[dict[str, Any], list[bytes]], Any]) -> bytes:
    """A file of `state` whose header has been changed by `change` in place, its checksums right."""
    content = io.BytesIO()
    wfn.pack(state, content)
    header, sections = parts_of(content.getvalue())
    changed = change(header, sections)
    header["sections"] = [[len(section), zlib.crc32(section)] for section in sections]
    return of_text(json.dumps(header if changed is None else changed).encode(), sections)


@contextmanager
def any_network() -> Iterator[None]:
    """Inside, what a file says of its network is taken as it is told, whatever tensors it holds."""
    with patch("wfn.packed.encode.described", lambda network, _: check(network)):
        yield
