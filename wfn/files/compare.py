"""Tensors by name compared bit for bit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from wfn.packed.types import to_bits


def first_difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str | None:
    """What differs first, in the order of `expected`: a name, a type, a shape or a bit. None where nothing does."""
    for name, tensor in expected.items():
        if name not in found:
            return f"{name}: missing"
        other = found[name]
        if other.dtype != tensor.dtype:
            return f"{name}: {_plain(other.dtype)}, not {_plain(tensor.dtype)}"
        if other.shape != tensor.shape:
            return f"{name}: shape {tuple(other.shape)}, not {tuple(tensor.shape)}"
        unequal = np.flatnonzero(to_bits(other) != to_bits(tensor))
        if len(unequal):
            place = tuple(int(each) for each in np.unravel_index(unequal[0], tensor.shape))
            return (
                f"{name}[{', '.join(map(str, place))}]: {other[place].item()!r}, not {tensor[place].item()!r}; "
                f"{len(unequal):,} of {tensor.numel():,} values there differ"
            )
    more = [name for name in found if name not in expected]
    return f"{more[0]}: there only" if more else None


def _plain(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")
