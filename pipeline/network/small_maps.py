"""Convolutions on maps no larger than their kernels, as one matrix product.

On small pictures the last maps of a network are smaller than its kernels: with 28 x 28 pixels the last stages of a
ResNet-18 work on 2 x 2 and on 1 x 1, where most taps of every kernel multiply padding. A matrix that holds, for every
place and pixel, the tap that meets there gives the same without them, with no more multiplications and in a form that
processors are fastest at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class SmallMapConv2d(nn.Conv2d):
    """A convolution over zero padding that is a matrix product where its map has no more pixels than its kernel taps.

    Taps that meet nothing but padding keep their weights, with a gradient of zero, as in an ordinary convolution.
    """

    padding: tuple[int, ...]  # never a word, see `suit_small_maps`

    def acting(self, sizes: Sequence[int]) -> Tensor:
        """Which taps of the kernel [kernel height, kernel width] meet a map of these sizes [height, width] anywhere."""
        down, right = ({tap for place in side for tap in place.values()} for side in self._sides(sizes))
        rows, columns = (range(size) for size in self.kernel_size)
        return torch.tensor([[row in down and column in right for column in columns] for row in rows])

    def _sides(self, sizes: Sequence[int]) -> list[tuple[Mapping[int, int], ...]]:
        sides = zip(sizes, self.kernel_size, self.stride, self.padding, self.dilation, strict=True)
        return [met_along(*side) for side in sides]

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        height, width = input.shape[-2:]
        if self.groups > 1 or height * width > math.prod(self.kernel_size):
            return super()._conv_forward(input, weight, bias)
        down, right = self._sides((height, width))
        if not (any(down) and any(right)):  # nothing meets, or torch says what is wrong
            return super()._conv_forward(input, weight, bias)
        taps = weight.permute(0, 2, 3, 1).flatten(1).split(weight.shape[1], 1)  # each [out, in]
        nothing = torch.zeros_like(taps[0])

        def block(row: int | None, column: int | None) -> Tensor:
            return nothing if row is None or column is None else taps[row * self.kernel_size[1] + column]

        matrix = torch.cat([
            torch.cat([block(rows.get(y), columns.get(x)) for y in range(height) for x in range(width)], 1)
            for rows in down
            for columns in right
        ])  # fmt: skip
        pixels = input.movedim(-3, -1).flatten(-3)
        result = linear(pixels, matrix, None if bias is None else bias.repeat(len(down) * len(right)))
        return result.unflatten(-1, (len(down), len(right), -1)).movedim(-1, -3)


@lru_cache(maxsize=1024)
def met_along(size: int, taps: int, stride: int, padding: int, dilation: int) -> tuple[Mapping[int, int], ...]:
    """For every place of a kernel along one side of `size` pixels: which tap meets which pixel, by pixel."""
    places = (size + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
    return tuple(
        {pixel: tap for tap in range(taps) if 0 <= (pixel := place * stride - padding + tap * dilation) < size}
        for place in range(places)
    )


def suit_small_maps(model: nn.Module) -> nn.Module:
    """Let every plain convolution of `model` over zero padding be a product on small maps; returns the model.

    Names, parameters and results stay. Convolutions that have a class of their own keep it.
    """
    for module in model.modules():
        if type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str):
            module.__class__ = SmallMapConv2d
    return model
