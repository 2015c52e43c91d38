"""What is measured of a network's weights (method, section "What is measured"). NumPy only.

Two accountings stand side by side and are never mixed: the whole network (every parameter, zeros included), and as
published (the zero value dropped, down-sample layers left out), which is for comparison with the paper's tables only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Role = Literal["first", "last", "downsample", "batch_norm"]


@dataclass(frozen=True)
class Layer:
    """The values of one parameter: its name, the parts of the network it belongs to, and the values flattened."""

    name: str
    roles: frozenset[Role]
    values: NDArray[np.float32]


def unique_count(values: ArrayLike) -> int:
    """Number of distinct values."""
    return len(np.unique(np.asarray(values)))


def entropy_bits(values: ArrayLike, include_zero: bool = True) -> float:
    """Weight-space entropy H = -sum_v p(v) log2 p(v), in bits per weight; 0 where there are no values.

    include_zero: whether the value zero counts, or only the distribution over the non-zero values.
    """
    flat = np.asarray(values).ravel()
    return entropy_of_counts(np.unique(flat if include_zero else flat[flat != 0], return_counts=True)[1])


def entropy_of_counts(counts: NDArray[np.int64]) -> float:
    """The same entropy in bits, from how often each value occurs [k], none of them 0."""
    shares = counts / max(1, counts.sum())
    return max(0.0, float(-(shares * np.log2(shares)).sum()))


def value_counts(values: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Distinct values [k], sorted, and how often each occurs [k]."""
    distinct, counts = np.unique(np.asarray(values), return_counts=True)
    return distinct, counts.astype(np.int64)


def top_k_hits(logits: ArrayLike, labels: ArrayLike, k: int) -> int:
    """Number of rows whose label [N] is among the k largest of the logits [N, classes]."""
    scores, targets = np.asarray(logits), np.asarray(labels)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return int((best == targets[:, None]).any(axis=1).sum())


def weight_metrics(layers: Iterable[Layer]) -> Mapping[str, float | int]:
    """Counts and entropies of a network's parameters, in both accountings."""
    layers = list(layers)

    def values(*without: Role) -> NDArray[np.float32]:
        return np.concatenate(
            [layer.values for layer in layers if not layer.roles & set(without)] or [np.empty(0, np.float32)]
        )

    whole, published = values(), values("downsample")
    published = published[published != 0]
    return {
        "parameters": len(whole),
        "unique": unique_count(whole),
        "unique_no_bn": unique_count(values("batch_norm")),
        "unique_no_bn_first_last": unique_count(values("batch_norm", "first", "last")),
        "entropy": entropy_bits(whole),
        "entropy_nonzero": entropy_bits(whole, include_zero=False),
        "zero_share": float((whole == 0).sum() / max(1, len(whole))),
        "unique_as_published": unique_count(published),
        "entropy_as_published": entropy_bits(published),
    }
