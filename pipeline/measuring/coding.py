"""What coded weights take on disk, by real coders: an entropy coder, and LZW as in the paper's size column.

Both code the indices of weights into their codebooks. An ANS coder (constriction) comes within a few bytes of the
entropy; LZW (the `compress` program's, codes of up to 16 bits) needs no table of frequencies, and more bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import constriction
import ncompress
import numpy as np
from numpy.typing import NDArray

FLOAT_BYTES = 4
COUNT_BYTES = 4  # how often a value occurs, in the table that the decoder needs

Indices = NDArray[np.int64]


def entropy_coded_bytes(indices: Indices, counts: Indices) -> int:
    """Bytes of indices [n] into a codebook, with the table of how often each of its values is used: counts [k]."""
    return len(ans_encode(indices, counts)) + COUNT_BYTES * len(counts)


def ans_encode(indices: Indices, counts: Indices) -> bytes:
    """Indices [n] as a stream of an asymmetric-numeral-systems coder; counts [k]: how often each occurs."""
    used = np.flatnonzero(counts)
    if len(used) < 2:  # nothing to tell: the table says it all
        return b""
    coder = constriction.stream.stack.AnsCoder()
    places = np.searchsorted(used, indices).astype(np.int32)
    coder.encode_reverse(places, _model(counts[used]))
    return coder.get_compressed().tobytes()


def ans_decode(stream: bytes, counts: Indices) -> Indices:
    """What `ans_encode` made of them: the indices [n], from the stream and the counts [k]."""
    used, total = np.flatnonzero(counts), int(counts.sum())
    if len(used) < 2:
        return np.repeat(used, total)
    coder = constriction.stream.stack.AnsCoder(np.frombuffer(stream, np.uint32))
    return used[coder.decode(_model(counts[used]), total)]


def _model(counts: Indices) -> constriction.stream.model.Categorical:
    return constriction.stream.model.Categorical(counts / counts.sum(), perfect=False)


def lzw_bytes(indices: Sequence[Indices], sizes: Sequence[int]) -> int:
    """Bytes of all indices, one codebook's after the other's, through LZW; one byte an index where that is enough."""
    stream = b"".join(
        part.astype(np.min_scalar_type(max(0, size - 1))).tobytes() for part, size in zip(indices, sizes, strict=True)
    )
    return len(ncompress.compress(stream)) if stream else 0
