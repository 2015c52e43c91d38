"""What coded weights take on disk by LZW, as in the paper's size column.

It is that of the `compress` program, with codes of up to 16 bits. It needs no table of frequencies, and more bytes than
the entropy coder of a packed file.
"""

from __future__ import annotations

from collections.abc import Sequence

import ncompress
import numpy as np
from numpy.typing import NDArray

FLOAT_BYTES = 4

Indices = NDArray[np.int64]


def lzw_bytes(indices: Sequence[Indices], sizes: Sequence[int]) -> int:
    """Bytes of all indices, one codebook's after the other's, through LZW; one byte an index where that is enough."""
    stream = b"".join(
        part.astype(np.min_scalar_type(max(0, size - 1))).tobytes() for part, size in zip(indices, sizes, strict=True)
    )
    return len(ncompress.compress(stream)) if stream else 0
