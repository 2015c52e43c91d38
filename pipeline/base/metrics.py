"""What is measured of a network's weights (method, section "What is measured"). NumPy only.

Two accountings stand side by side and are never mixed: the whole network (every parameter, zeros included), and as
published (the zero value dropped, down-sample layers left out), which is for comparison with the paper's tables only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Role = Literal["first", "last", "downsample", "batch_norm"]


@dataclass(frozen=True)
class Layer:
    """The values of one parameter: its name, the parts of the network it belongs to, and the values flattened [n].

    acting: which of them a forward pass makes any use of [n]; None for all.
    """

    name: str
    roles: frozenset[Role]
    values: NDArray[np.float32]
    acting: NDArray[np.bool_] | None = None


def entropy_of_counts(counts: NDArray[np.int64]) -> float:
    """Weight-space entropy H = -sum_v p(v) log2 p(v), in bits per weight; 0 where there are no values.

    counts [k]: how often each value occurs, none of them 0.
    """
    shares = counts / max(1, counts.sum())
    return max(0.0, float(-(shares * np.log2(shares)).sum()))


def weight_metrics(layers: Iterable[Layer]) -> Mapping[str, float | int]:
    """Counts and entropies of a network's parameters, in both accountings."""
    layers = list(layers)

    def counted(*without: Role, acting: bool = False) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Distinct values [k] of the layers without these roles, and how often each occurs [k]."""
        values = [
            layer.values[layer.acting] if acting and layer.acting is not None else layer.values
            for layer in layers
            if not layer.roles & set(without)
        ]
        distinct, counts = np.unique(np.concatenate([np.empty(0, np.float32), *values]), return_counts=True)
        return distinct, counts.astype(np.int64)

    distinct, counts = counted()
    published, published_counts = counted("downsample")
    return {
        "parameters": int(counts.sum()),
        "unique": len(distinct),
        "unique_no_bn": len(counted("batch_norm")[0]),
        "unique_no_bn_first_last": len(counted("batch_norm", "first", "last")[0]),
        "entropy": entropy_of_counts(counts),
        "entropy_nonzero": entropy_of_counts(counts[distinct != 0]),
        "entropy_acting": entropy_of_counts(counted(acting=True)[1]),
        "zero_share": float(counts[distinct == 0].sum() / max(1, counts.sum())),
        "unique_as_published": int((published != 0).sum()),
        "entropy_as_published": entropy_of_counts(published_counts[published != 0]),
    }
