"""Rows of a table brought together as columns, by vector instructions.

A compiler gathers six numbers per row with six loads each; one load of the whole row and a transposition of eight rows
at a time take a third of that.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

LANES = 8
# Each step exchanges every second (fourth, eighth) number between two rows; x86 has one instruction for either half.
STEPS = (
    (1, (0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)),
    (2, (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)),
    (4, (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)),
)
# The number of the row's element that each vector then holds.
ELEMENTS = (0, 2, 1, 3, 4, 6, 5, 7)


@intrinsic
def _transpose(_typing, rows, chosen, columns, at):  # type: ignore[no-untyped-def]
    """columns[j, at + lane] = rows[chosen[at + lane], j] for eight lanes and as many j; no bounds are checked."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args[:3], arguments[:3], strict=True)
        ]
        source, numbers, target = (array.data for array in arrays)
        start = arguments[3]
        vector = ir.VectorType(ir.FloatType(), LANES)
        vectors = []
        for lane in range(LANES):
            number = builder.load(builder.gep(numbers, [builder.add(start, start.type(lane))]))
            first = builder.mul(builder.zext(number, start.type), start.type(LANES))
            place = builder.bitcast(builder.gep(source, [first]), vector.as_pointer())
            vectors.append(builder.load(place, align=4))
        for step, *halves in STEPS:
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), LANES), half) for half in halves]
            for i in (i for i in range(LANES) if not i & step):
                pair = vectors[i], vectors[i + step]
                vectors[i], vectors[i + step] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        length = builder.extract_value(arrays[2].shape, 1)
        for element, values in zip(ELEMENTS, vectors, strict=True):
            place = builder.gep(target, [builder.add(builder.mul(length, start.type(element)), start)])
            builder.store(values, builder.bitcast(place, vector.as_pointer()), align=4)

    return types.none(rows, chosen, columns, at), generate


@njit(inline="always")
def put_columns(rows, chosen, columns):  # type: ignore[no-untyped-def]
    """columns [8, B] = the rows [R, 8] numbered `chosen` [B], as columns; B a multiple of 8.

    rows, columns: float32, contiguous; chosen: uint32, below R, which is not checked.
    """
    for at in range(0, chosen.size, LANES):
        _transpose(rows, chosen, columns, at)  # type: ignore[call-arg]
