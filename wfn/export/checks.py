"""What every exported file must pass before it gets its name, and what is said of it afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

import torch
from torch import Tensor

from wfn.packed.errors import first_line

TOLERANCE = 1e-4


class ExportError(ValueError):
    """A network that cannot be exported, or a file that turned out not to be the network, in one line."""


@dataclass(frozen=True)
class Report:
    """What was written, once all checks have passed.

    bytes: size of the file, or of all files of a package. float_bytes: size of the network's float32 parameters and
    buffers alone. values: length of the shared table, 0 where all is float; for Core ML, of the longest palette.
    coded: the parameters written as indices. difference: the largest |difference| of logits over max(1, |logit|).
    agreement: share of the example pictures with the same top-1. Both are None where the file cannot be run here.
    """

    bytes: int
    float_bytes: int
    values: int
    coded: tuple[str, ...]
    difference: float | None
    agreement: float | None


def need(extra: str, *packages: str) -> None:
    """Raise ModuleNotFoundError, in one line, for the first package that is not installed."""
    for package in packages:
        try:
            import_module(package)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{package} is not installed; {extra} brings it", name=package) from error


def cause(error: BaseException) -> str:
    """Type and first line of what an exception, or the one that caused it, says."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


def compare_values(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raise ExportError unless every parameter is in `found` with the same number of values, and the same bits."""
    for name, values in expected.items():
        if name not in found:
            raise ExportError(f"{name}: not in the file")
        counts = len(values.unique()), len(found[name].unique())
        if counts[0] != counts[1]:
            raise ExportError(f"{name}: {counts[1]} distinct values in the file, {counts[0]} in the network")
        if not torch.equal(values.detach().view(torch.int32), found[name].view(torch.int32)):
            raise ExportError(f"{name}: other values in the file than in the network")


def compare_logits(expected: Tensor, found: Tensor) -> tuple[float, float]:
    """The largest difference relative to max(1, |logit|), and the share of equal top-1, of logits [N, ..., classes].

    Raises ExportError where the difference is not within 1e-4, or a top-1 is another.
    """
    if expected.shape != found.shape:
        raise ExportError(f"logits: shape {tuple(found.shape)} from the file, {tuple(expected.shape)} from the network")
    difference = float(((found - expected).abs() / expected.abs().clamp(min=1)).max())
    if not difference <= TOLERANCE:
        raise ExportError(f"logits: {difference:.3g} from the network's; allowed: {TOLERANCE:g}")
    agreement = float((expected.argmax(-1) == found.argmax(-1)).double().mean())
    if agreement < 1:
        raise ExportError(f"top-1: the same for {agreement:.1%} of the examples; allowed: all")
    return difference, agreement
