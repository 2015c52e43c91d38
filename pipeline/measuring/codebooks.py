"""A quantised network, however it was made: its parameters, the codebooks that they take their values from, metrics.

WFN has one codebook for everything; a quantiser with a scale per layer has one per layer. Two views stand side by side:
the values as multiplied out, and the indices with the scale factored out. Quoting only the first would flatter WFN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.metrics import Layer, entropy_of_counts, weight_metrics
from pipeline.measuring.coding import FLOAT_BYTES, Indices, lzw_bytes


@dataclass(frozen=True)
class Codebook:
    """The values [k], sorted, that some parameters share; and each of their weights as an index [n] into them."""

    names: tuple[str, ...]
    values: NDArray[np.float32]
    indices: Indices

    @cached_property
    def counts(self) -> Indices:
        """How often each value is used [k]."""
        return np.bincount(self.indices, minlength=len(self.values))


@dataclass(frozen=True)
class Quantised:
    """A network of which some parameters take their values from codebooks; the others are float32.

    layers: every parameter. shared: the names of parameters that share a codebook, one group per codebook.
    buffer_bytes: what the network stores beside its parameters.
    """

    layers: Sequence[Layer]
    shared: Sequence[Sequence[str]]
    buffer_bytes: int

    @cached_property
    def codebooks(self) -> list[Codebook]:
        """One codebook per group: the values that occur in its parameters."""
        values = {layer.name: layer.values for layer in self.layers}
        found = []
        for names in self.shared:
            weights = np.concatenate([values[name] for name in names])
            distinct = np.unique(weights)
            found.append(Codebook(tuple(names), distinct, np.searchsorted(distinct, weights)))
        return found

    @property
    def quantised_parameters(self) -> int:
        """How many parameters take their values from a codebook."""
        return sum(len(codebook.indices) for codebook in self.codebooks)

    def metrics(self) -> dict[str, Any]:
        """Counts, entropies and bytes.

        index_entropy: mean bits of an index, each codebook with its own distribution; None without codebooks.
        float_bytes, lzw_bytes: the whole network - indices, codebooks, what stays float32, and buffers - as float32
        throughout, and with the indices coded by LZW.
        """
        parameters = sum(len(layer.values) for layer in self.layers)
        quantised, sizes = self.quantised_parameters, [len(codebook.values) for codebook in self.codebooks]
        bits = sum(entropy_of_counts(codebook.counts) * len(codebook.indices) for codebook in self.codebooks)
        lzw = lzw_bytes([codebook.indices for codebook in self.codebooks], sizes)
        uncoded = FLOAT_BYTES * (parameters - quantised + sum(sizes)) + self.buffer_bytes
        return {
            **weight_metrics(self.layers),
            "quantised_parameters": quantised,
            "codebooks": len(sizes),
            "index_entropy": bits / quantised if quantised else None,
            "float_bytes": FLOAT_BYTES * parameters + self.buffer_bytes,
            "lzw_bytes": lzw + uncoded,
        }

    def codebook_table(self) -> pd.DataFrame:
        """One row per value of every codebook: the codebook's first parameter, the value and how often it is used."""
        parts = [pd.DataFrame({"codebook": [], "value": [], "count": []}).astype({"codebook": str, "count": int})]
        for codebook in self.codebooks:
            columns = {"codebook": codebook.names[0], "value": codebook.values, "count": codebook.counts}
            parts.append(pd.DataFrame(columns))
        return pd.concat(parts, ignore_index=True)
