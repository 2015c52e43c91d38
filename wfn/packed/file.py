"""The bytes of a packed file: prefix, header and sections, each with its checksum."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from wfn.packed.download import local
from wfn.packed.errors import PackedError
from wfn.packed.header import Header, check_tables, parse
from wfn.packed.planes import inflate
from wfn.packed.replacing import replacing

MAGIC = b"\x89WFN\r\n\x1a\n"
MAJOR, MINOR = 1, 0
PREFIX = struct.Struct("<8sHHIQI")  # magic, major, minor, length of the header, of the file, zero; then a CRC-32
HEADER_AT = PREFIX.size + 4
MAX_HEADER = 4 << 20  # bytes, inflated
ALIGNMENT = 8

Source = str | os.PathLike[str] | BinaryIO


def padding(length: int) -> int:
    """Zeros that follow so many bytes."""
    return -length % ALIGNMENT


def write(target: Source, header: Header, sections: Sequence[bytes]) -> int:
    """Write a file, whole or not at all; returns its length. The header's own `sections` are to be those given here.

    Raises ValueError for a header that is too large or that no reader would take, and for an open file that is not at
    its beginning; OSError where the file cannot be written.
    """
    plain = header.to_bytes()
    if len(plain) > MAX_HEADER:
        raise ValueError(
            f"names of {len(header.tensors)} tensors, network and metadata: the header would have {len(plain)} bytes; "
            f"allowed: {MAX_HEADER}"
        )
    try:
        check_tables(parse(plain))
    except PackedError as error:
        raise ValueError(f"cannot be packed: {error}") from None
    packed = zlib.compress(plain, 9)
    total = HEADER_AT + sum(len(part) + padding(len(part)) for part in (packed, *sections))
    prefix = PREFIX.pack(MAGIC, MAJOR, MINOR, len(packed), total, 0)
    with _opened(target) as file:
        file.write(prefix + struct.pack("<I", zlib.crc32(prefix + packed)))
        for part in (packed, *sections):
            file.write(part)
            file.write(bytes(padding(len(part))))
    return total


@contextmanager
def _opened(target: Source) -> Iterator[BinaryIO]:
    """An open file to write to; that of a path takes its place once it is complete."""
    if isinstance(target, str | os.PathLike):
        with replacing(target) as partial, partial.open("wb") as file:
            yield file
    else:
        at = target.tell() if _seekable(target) else 0
        if at:
            raise ValueError(f"the open file is at byte {at}; it has to be at its beginning")
        yield target
        if _seekable(target):
            with suppress(io.UnsupportedOperation):  # of one that compresses, which has begun anew
                target.truncate()  # what it had before


def _seekable(target: BinaryIO) -> bool:
    return hasattr(target, "seekable") and target.seekable()


class Reader:
    """An open packed file, its header checked; sections are read one by one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.length = file.seek(0, os.SEEK_END)
        file.seek(0)
        prefix = file.read(HEADER_AT)
        if prefix[: len(MAGIC)] != MAGIC:
            raise PackedError("is no packed file")
        if len(prefix) < HEADER_AT:
            raise PackedError(f"is cut off after {len(prefix)} bytes")
        _, major, _, length, total, zero = PREFIX.unpack_from(prefix)
        if major != MAJOR:
            raise PackedError(f"has version {major} of the format; this program reads version {MAJOR}")
        if total != self.length or length > total:
            raise PackedError(f"has {self.length} bytes, but {total} were written: it is damaged or cut off")
        packed = file.read(length)
        if zlib.crc32(prefix[: PREFIX.size] + packed) != struct.unpack_from("<I", prefix, PREFIX.size)[0] or zero:
            raise PackedError("has a damaged header")
        self.header = parse(inflate(packed, MAX_HEADER))
        self._offsets = self._place(HEADER_AT + length)

    def _place(self, end: int) -> list[int]:
        """Where each section begins, once all lengths and the zeros between the sections have been checked."""
        offsets = []
        for length, _ in ((0, 0), *self.header.sections):
            offsets.append(end)
            end += length
            gap = padding(end)
            if end + gap > self.length:
                raise PackedError("has sections that go beyond its end")
            self._file.seek(end)
            if any(self._file.read(gap)):
                raise PackedError("is damaged between its sections")
            end += gap
        if end != self.length:
            raise PackedError(f"has {self.length - end} bytes behind its last section")
        return [offset + padding(offset) for offset in offsets[1:]]

    def section(self, number: int) -> bytes:
        """The content of a section. Raises PackedError where it is damaged."""
        length, checksum = self.header.sections[number]
        self._file.seek(self._offsets[number])
        content = self._file.read(length)
        if len(content) != length or zlib.crc32(content) != checksum:
            raise PackedError(f"is damaged in section {number}")
        return content


@contextmanager
def reading(source: Source) -> Iterator[Reader]:
    """A packed file, by its path, as an open binary file or as hf-hub:owner/name; what is wrong with it names the file.

    Raises PackedError for anything but a packed file, OSError for one that cannot be read.
    """
    source = local(source)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise PackedError(f"{os.fspath(source)}: is a pipe or a device, and no file")
        with path.open("rb") as file, _naming(os.fspath(source)):
            yield Reader(file)
    else:
        with _naming(getattr(source, "name", "the file")):
            yield Reader(source)


@contextmanager
def _naming(name: object) -> Iterator[None]:
    try:
        yield
    except PackedError as error:
        raise PackedError(f"{name}: {error}") from None
