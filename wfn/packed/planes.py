"""Values as they are: their bytes grouped by significance and deflated. Equal exponents lie side by side then."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from wfn.packed.errors import PackedError
from wfn.packed.types import Bits


def deflate(bits: Bits) -> bytes:
    """Bit patterns [n] as the content of a section."""
    return zlib.compress(bits.view(np.uint8).reshape(len(bits), bits.itemsize).T.tobytes(), 9)


def inflated(section: bytes, values: int, dtype: np.dtype[Any], exactly: bool = True) -> Bits:
    """The bit patterns of a type that a section holds. Raises PackedError where there are not so many, or more."""
    planes = np.frombuffer(inflate(section, values * dtype.itemsize), np.uint8)
    if len(planes) % dtype.itemsize or (exactly and len(planes) != values * dtype.itemsize):
        raise PackedError(f"{len(planes)} bytes of values; needed are {values * dtype.itemsize}")
    return np.ascontiguousarray(planes.reshape(dtype.itemsize, -1).T).view(dtype).reshape(-1)


def inflate(section: bytes, limit: int) -> bytes:
    """What has been deflated. Raises PackedError for more than `limit` bytes, and for anything else than a stream."""
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(section, limit + 1)  # 0 would be no limit
    except zlib.error as error:
        raise PackedError(f"a deflated part is damaged ({error})") from None
    if len(content) > limit:
        raise PackedError(f"a deflated part holds more than the {limit} bytes that are allowed for it")
    if not stream.eof or stream.unused_data:
        raise PackedError("a deflated part does not end where it should")
    return content
