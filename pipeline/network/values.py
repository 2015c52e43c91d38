"""What a network's weights may be: ordinary tensors of finite numbers, also in the network's own type."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.base.errors import InputError
from wfn.files.tensors.errors import listed

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def no_weights(value: Tensor) -> str | None:
    """Why a tensor can be no part of a network, in a word or two; None where it can."""
    if type(value) is not Tensor and not isinstance(value, nn.Parameter):
        return type(value).__name__
    if value.is_nested:
        return "nested"
    if value.layout != torch.strided:
        return str(value.layout).removeprefix("torch.").replace("_", " ")
    if value.is_quantized:
        return "quantised"
    return "meta: without values" if value.is_meta else None


def check_values(key: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors cast to the types of the `expected` ones, whose shapes they have.

    Raises InputError, in one line that begins with `key`, for other types than those of weights, for numbers that are
    not finite when they are cast where the expected ones are (some masks are not), and for negative variances of
    batch-norm.
    """
    cast: dict[str, Tensor] = {}
    others, infinite, negative = [], [], []
    for name, value in tensors.items():
        own = expected[name].dtype
        if value.is_complex() or (own.is_floating_point and value.dtype not in FLOATS):
            others.append(f"{name} ({_plain(value.dtype)})")
            continue
        found = cast[name] = value.detach().to(own)
        if not own.is_floating_point and not (value == found).all():
            others.append(f"{name} ({_plain(value.dtype)}, where whole numbers are needed)")
        elif not (finite := found.isfinite() | ~expected[name].isfinite()).all():
            infinite.append(f"{name} ({_problem(value[~finite][0], found[~finite][0])})")
        elif name.rpartition(".")[2] == "running_var" and (found < 0).any():
            negative.append(f"{name} ({float(found.min()):g})")
    allowed = ", ".join(map(_plain, FLOATS))
    for names, what in (
        (others, f"types that weights cannot have; allowed: {allowed}"),
        (infinite, "only finite weights are allowed"),
        (negative, "a variance is never negative"),
    ):
        if names:
            raise InputError(f"{key}: {listed(names)}: {what}")
    return cast


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _problem(value: Tensor, found: Tensor) -> str:
    """The number in the file, and what it is in the network where that differs."""
    if value.isfinite():
        return f"{float(value):g} is {float(found):g} as {_plain(found.dtype)}"
    return f"{float(found):g}"
