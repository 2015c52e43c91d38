"""What became of the weights of a network, layer by layer, from its saved weights and those of its baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file

from pipeline.base.metrics import entropy_of_counts
from pipeline.base.results import WEIGHTS, Run, reading
from pipeline.report.comparisons import chosen

BINS = 121
CENTRAL_SHARE = 0.998  # of the weights, shown in the distribution; the rest lies far out
FLOAT_BITS = 32


@dataclass(frozen=True)
class Weights:
    """A network's parameters in the order of its baseline's layers.csv.

    parameters: one array per parameter, flattened. values [k]: all distinct ones, rising. counts [layers, k]: how often
    each parameter has each value.
    """

    parameters: Sequence[NDArray[np.float32]]
    values: NDArray[np.float32]
    counts: NDArray[np.int64]


def read_weights(run: Run, layout: pd.DataFrame) -> Weights:
    """The weights of a fixed network; layout: its baseline's layers.csv."""
    parameters = read_parameters(run, layout)
    values = np.unique(np.concatenate([np.unique(parameter) for parameter in parameters]))
    counts = [np.bincount(np.searchsorted(values, parameter), minlength=len(values)) for parameter in parameters]
    return Weights(parameters, values, np.stack(counts))


def read_parameters(run: Run, layout: pd.DataFrame) -> list[NDArray[np.float32]]:
    """The parameters of a network, each flattened, in the order of its baseline's layers.csv."""
    path = run.folder / WEIGHTS
    with reading(path):
        content = load_file(path)
        return [content[name].ravel() for name in layout["parameter"]]


def layerwise(layout: pd.DataFrame, before: Sequence[NDArray[np.float32]], after: Weights) -> pd.DataFrame:
    """One row per parameter: distinct values, those up to and including it, entropy, zeros, and how far it was moved.

    cumulative_unique: size of the union of the values so far. cumulative_sum: the counts so far added up, as the
    paper's figure has it; a value that several parameters share counts in each. moved: median of |w' - w| / |w| over
    its weights other than zero.
    """
    used = after.counts > 0
    unique = used.sum(axis=1)
    return pd.DataFrame(
        {
            "parameter": layout["parameter"],
            "kind": np.where(layout["batch_norm"], "batch-norm", layout["parameter"].str.rpartition(".")[2]),
            **layout[["weights", "uses"]],
            "unique": unique,
            "cumulative_unique": np.logical_or.accumulate(used, axis=0).sum(axis=1),
            "cumulative_sum": unique.cumsum(),
            "entropy": [entropy_of_counts(row[row > 0]) for row in after.counts],
            "zero_share": [float((parameter == 0).mean()) for parameter in after.parameters],
            "moved": [
                float(np.median(relative_distance(old, new))) for old, new in zip(before, after.parameters, strict=True)
            ],
        }
    )


def relative_distance(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64]:
    """|w' - w| / |w| for the weights other than zero; a single 0 where there are none."""
    kept = before != 0
    old, new = before[kept].astype(np.float64), after[kept].astype(np.float64)
    return np.abs(new - old) / np.abs(old) if len(old) else np.zeros(1)


def distribution(before: Sequence[NDArray[np.float32]], after: Weights) -> pd.DataFrame:
    """Shares of all weights in equal bins of their value, before and after; a few far out are left aside."""
    old, new = np.concatenate(before), np.concatenate(after.parameters)
    edge = float(np.quantile(np.abs(old), CENTRAL_SHARE))
    edges = np.linspace(-edge, edge, BINS + 1)
    return pd.DataFrame(
        {
            "value": (edges[1:] + edges[:-1]) / 2,
            "before": np.histogram(old, edges)[0] / len(old),
            "after": np.histogram(new, edges)[0] / len(new),
        }
    )


def moved(before: Sequence[NDArray[np.float32]], after: Weights) -> pd.DataFrame:
    """Share of the weights that were moved by at most a relative distance, which rises from 0.0001 to 1 and more."""
    distances = np.sort(relative_distance(np.concatenate(before), np.concatenate(after.parameters)))
    steps = np.geomspace(1e-4, 10, 201)
    return pd.DataFrame({"distance": steps, "share": np.searchsorted(distances, steps, side="right") / len(distances)})


def representation_cost(layout: pd.DataFrame, after: Weights, terms: pd.DataFrame) -> dict[str, float]:
    """What a forward pass costs: code length and shift-adds of every weight, as often as it is used.

    cost_bits: mean code length per use, a value's code being as long as its -log2 share of the fixed weights, and a
    weight that was not fixed a float32. cost: the same relative to float32. cost_authors: cost as the authors' notebook
    counts it, where every value that also occurs in a batch-norm parameter is used once in all; relative to float32 at
    all uses, while their denominator is a Huffman-coded float network. shift_adds: mean number of power-of-two terms
    per use of a fixed weight. terms: the network's centres.csv.
    """
    table = terms.set_index(terms["value"].astype(np.float32)).reindex(after.values)
    fixed = table["term_count"].notna().to_numpy()
    uses = layout["uses"].to_numpy() @ after.counts
    lengths = np.where(fixed, -np.log2(table["share"].fillna(1).to_numpy()), FLOAT_BITS)
    bits = float(uses @ lengths / uses.sum())
    in_batch_norm = after.counts[layout["batch_norm"].to_numpy(bool)].any(axis=0)
    bits_authors = float(np.where(in_batch_norm, 1, uses) @ lengths / uses.sum())
    shift_adds = float(uses[fixed] @ table["term_count"].to_numpy()[fixed] / uses[fixed].sum())
    costs = {"cost_bits": bits, "cost": bits / FLOAT_BITS, "cost_authors": bits_authors / FLOAT_BITS}
    return costs | {"shift_adds": shift_adds}


def representation(runs: Sequence[Run], layout: pd.DataFrame) -> pd.DataFrame:
    """What a forward pass costs with every fixed network; a setting that was run more than once appears once."""
    rows = {}
    for run in runs:
        assert run.centres is not None
        setting = tuple(chosen(run, "delta", "alpha").items())
        if setting not in rows:
            cost = representation_cost(layout, read_weights(run, layout), run.centres)
            rows[setting] = {"method": "WFN", **dict(setting), **cost}
    return pd.DataFrame(rows.values()).sort_values(["alpha", "delta"], ascending=[True, False], ignore_index=True)


def fates(run: Run) -> pd.DataFrame:
    """What became of every parameter of a fixed network: zero, a sum of so many powers of two, or left as it was."""
    assert run.centres is not None
    names = {0: "zero", 1: "one power of two"}
    rows = [
        {"fate": names.get(terms, f"sum of {terms} powers of two"), "weights": int(counts.sum())}
        for terms, counts in ((int(str(key)), group["count"]) for key, group in run.centres.groupby("term_count"))
    ]
    rows.append({"fate": "not fixed", "weights": run.metrics["parameters"] - run.metrics["quantised_parameters"]})
    frame = pd.DataFrame(rows)
    frame["share"] = frame["weights"] / run.metrics["parameters"]
    return frame
