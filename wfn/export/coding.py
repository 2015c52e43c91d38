"""Which parameters are written as indices, and the one table that they point into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from wfn.export.checks import ExportError

# Types of an index and how many values each can tell apart.
WIDTHS = ((torch.uint8, 2**8), (torch.uint16, 2**16))
FLOAT_BYTES = 4
TENSOR_BYTES = 256  # about what the nodes and names of one coded parameter take in a file
LEAST_SAVED = 0.1  # as a share of the float parameters


@dataclass(frozen=True)
class Coding:
    """Parameters as indices.

    table: the distinct values [k], float32, rising; values that differ in their bits only (0.0 and -0.0) are two.
    indices: name -> uint8, or uint16 where k > 256, in the parameter's shape. What is not here stays float.
    """

    table: Tensor
    indices: dict[str, Tensor]


def bits(values: Tensor) -> Tensor:
    """float32 values of any shape as the integers that their bits are: int32, same shape."""
    return values.detach().contiguous().view(torch.int32)


def repeating(distinct: Mapping[str, int], sizes: Mapping[str, int], index: torch.dtype) -> list[str]:
    """The parameters that are smaller as indices of this type beside a table of their own than as floats."""
    return [
        name
        for name, size in sizes.items()
        if size * (FLOAT_BYTES - index.itemsize) > distinct[name] * FLOAT_BYTES + TENSOR_BYTES
    ]


def code(parameters: Mapping[str, Tensor]) -> Coding:
    """The coding of float32 parameters, by name, that makes the smallest file.

    Coded is a parameter that repeats its values so often that indices and a table of its own would be smaller than its
    floats, and then every other one for which the shared table grows by less than its indices save.

    Raises ExportError where the table would need more than 65,536 values, or where it saves less than a tenth.
    """
    patterns = {name: bits(values).unique() for name, values in parameters.items()}
    distinct = {name: len(own) for name, own in patterns.items()}
    sizes = {name: values.numel() for name, values in parameters.items()}
    whole = sum(sizes.values()) * FLOAT_BYTES
    best, least = None, LEAST_SAVED * whole
    for index, limit in WIDTHS:
        names = repeating(distinct, sizes, index)
        table = _union([patterns[name] for name in names])
        for name in [name for name in parameters if name not in names]:
            grown = _union([table, patterns[name]])
            spared = sizes[name] * (FLOAT_BYTES - index.itemsize)
            if len(grown) <= limit and (len(grown) - len(table)) * FLOAT_BYTES < spared:
                names, table = [*names, name], grown
        saved = sum(sizes[name] for name in names) * (FLOAT_BYTES - index.itemsize) - len(table) * FLOAT_BYTES
        if len(table) <= limit and saved > least:
            best, least = (index, names, table), saved
    if best is None:
        raise ExportError(_refusal(len(table), limit, len(_union(list(patterns.values()))), whole // FLOAT_BYTES))
    index, names, table = best
    order = table.view(torch.float32).argsort(stable=True)
    places = order.argsort().to(torch.int32)  # of every pattern in the rising table
    found = {
        name: places[torch.searchsorted(table, bits(parameters[name]))].to(index)
        for name in parameters
        if name in names
    }
    return Coding(table[order].view(torch.float32), found)


def _union(patterns: list[Tensor]) -> Tensor:
    return torch.cat([torch.empty(0, dtype=torch.int32), *patterns]).unique()


def _refusal(repeated: int, limit: int, distinct: int, size: int) -> str:
    if repeated > limit:
        return f"codebook: {repeated:,} distinct values; allowed: at most {limit:,}; use the plain float export"
    return f"codebook: {distinct:,} distinct values in {size:,} weights: no smaller file; use the plain float export"
