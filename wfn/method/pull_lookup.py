"""The pull of many weights, looked up in the table: by compiled loops on a CPU, by torch's operations elsewhere."""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from wfn.compiling import compiled
from wfn.method.pull_table import Table
from wfn.method.rows import put_columns
from wfn.method.threads import CHUNK, follow_torch

# Weights whose rows are brought together at a time.
BLOCK = 256


def on_cpu_(out: Tensor, weights: Tensor, free: Tensor | None, scale: float, table: Table) -> float:
    """Put scale * f'(w) into out [N], 0 where weights [N] are not `free` [N]; returns the sum of f over the others.

    weights, out: float32, contiguous. The sum does not depend on the number of threads.
    """
    values = weights.numpy()
    arguments = (
        values,
        values.view(np.int32),
        out.numpy(),
        None if free is None else free.numpy(),
        np.float32(scale),
        table.low,
        table.shift,
        table.half,
        table.rows,
        table.longest_chain > 0,
        table.upper,
        table.following,
    )
    if len(values) <= CHUNK:
        return float(_put_slopes(*arguments, 0, len(values)))
    follow_torch()
    return float(_put_slopes_in_chunks(*arguments))


def columns_of(table: Table, device: torch.device) -> list[Tensor]:
    """The columns [R] of a table's rows, then `upper` and `following`, on a device."""
    columns = *table.rows.T.copy(), table.upper, table.following
    return [torch.from_numpy(column).to(device) for column in columns]


def anywhere(weights: Tensor, table: Table, columns: list[Tensor]) -> tuple[Tensor, Tensor]:
    """f(w) and f'(w) [N] of weights [N] float32 on the device of `columns`, which are those of the table."""
    *row_columns, upper, following = columns
    size = weights.abs()
    cell = ((size.view(torch.int32) - table.low) >> table.shift).clamp(0, table.half - 1)
    row = cell + (weights.view(torch.int32) < 0) * table.half
    for _ in range(table.longest_chain):
        row = torch.where(size > upper[row], following[row], row)
    knot, loss, *means_and_halves = (column[row] for column in row_columns)
    u = weights - knot
    side = u.sign()
    a, b, c = (mean + half * side for mean, half in zip(means_and_halves[::2], means_and_halves[1::2], strict=True))
    return loss + u * (a + u * (b / 2 + c * u / 3)), a + u * (b + c * u)


# LLVM turns the loops into vector instructions as long as indices are unsigned and integers have 32 bits; it would not
# do so with the rows, whose columns are therefore brought together first, for one block of weights at a time.
@compiled(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _put_slopes(  # type: ignore[no-untyped-def]
    weights, bits, out, free, scale, low, shift, half, rows, crowded, upper, following, start, stop
):
    """Puts scale * f' of the weights from `start` up to `stop` into `out` and returns the sum of their f."""
    low, shift, half, last = np.int32(low), np.uint32(shift), np.int32(half), np.int32(half - 1)
    chosen = np.zeros(BLOCK, np.uint32)
    columns = np.empty((8, BLOCK), np.float32)
    knot, loss = columns[0], columns[1]
    a_mean, a_half, b_mean, b_half, c_mean, c_half = (
        columns[2],
        columns[3],
        columns[4],
        columns[5],
        columns[6],
        columns[7],
    )
    total = 0.0
    for block in range(np.uint64(start), np.uint64(stop), np.uint64(BLOCK)):
        count = min(np.uint64(BLOCK), np.uint64(stop) - block)
        for i in range(count):
            size = np.int32(bits[block + i] & np.int32(0x7FFFFFFF))
            cell = min(np.int32(np.uint32(max(np.int32(size - low), np.int32(0))) >> shift), last)
            chosen[i] = np.uint32(cell + (np.int32(bits[block + i] >> np.int32(31)) & half))
        if crowded:
            for i in range(count):
                while abs(weights[block + i]) > upper[chosen[i]]:
                    chosen[i] = following[chosen[i]]
        put_columns(rows, chosen, columns)
        part = np.float32(0)
        for i in range(count):
            u = weights[block + i] - knot[i]
            side = np.float32(u > 0) - np.float32(u < 0)
            a, b, cu = a_mean[i] + a_half[i] * side, b_mean[i] + b_half[i] * side, (c_mean[i] + c_half[i] * side) * u
            value = loss[i] + u * (a + u * (b * np.float32(1 / 2) + cu * np.float32(1 / 3)))
            slope = a + u * (b + cu)
            if free is not None:
                value = value if free[block + i] else np.float32(0)
                slope = slope if free[block + i] else np.float32(0)
            part += value
            out[block + i] = scale * slope
        total += np.float64(part)
    return total


@compiled(parallel=True)
def _put_slopes_in_chunks(  # type: ignore[no-untyped-def]
    weights, bits, out, free, scale, low, shift, half, rows, crowded, upper, following
):
    """As `_put_slopes` for all weights, with one partial sum per chunk, added in order whatever the threads."""
    sums = np.zeros((weights.size + CHUNK - 1) // CHUNK)
    for chunk in prange(sums.size):
        start, stop = chunk * CHUNK, min((chunk + 1) * CHUNK, weights.size)
        sums[chunk] = _put_slopes(
            weights, bits, out, free, scale, low, shift, half, rows, crowded, upper, following, start, stop
        )
    total = 0.0
    for part in sums:
        total += part
    return total
