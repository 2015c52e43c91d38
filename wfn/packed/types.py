"""The types of tensors that a file may hold, and their values as bit patterns."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Bits = NDArray[Any]  # uint8, uint16, uint32 or uint64: bit patterns

TYPES = {
    name: getattr(torch, name)
    for name in (
        *("bool", "uint8", "int8", "float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "int16"),
        *("float32", "int32", "float64", "int64", "complex64"),
    )
}
NAMES = {dtype: name for name, dtype in TYPES.items()}


def bits_type(name: str) -> np.dtype[Any]:
    """The unsigned, little-endian type that holds the bit patterns of a type."""
    return np.dtype(f"<u{TYPES[name].itemsize}")


def to_bits(tensor: Tensor) -> Bits:
    """The bit patterns [n] of a dense tensor, in row-major order."""
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().view(bits_type(NAMES[tensor.dtype]))


def empty(name: str, shape: tuple[int, ...]) -> tuple[Tensor, Bits]:
    """A tensor whose values are still to be written, and its bit patterns [n] in the same memory."""
    tensor = torch.empty(shape, dtype=TYPES[name], device="cpu")
    return tensor, tensor.reshape(-1).view(torch.uint8).numpy().view(bits_type(name))
