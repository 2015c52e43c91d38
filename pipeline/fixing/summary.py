"""What a fixed network looks like: numbers per round, and the table of its values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.metrics import entropy_of_counts
from wfn.method.centres import format_terms, term_count

# Values of this many power-of-two terms and more share one column of the rounds' table.
MANY_TERMS = 6


def describe(codebook: NDArray[np.float32], usage: NDArray[np.int64]) -> dict[str, Any]:
    """Number, entropy in bits and zero share of fixed weights, given by their values [k] and how many have each [k].

    order_j is the share of weights whose value is a sum of j powers of two, at best; order_0 is zero.
    """
    terms = np.minimum(term_count(codebook), MANY_TERMS)
    shares = np.bincount(terms, usage, minlength=MANY_TERMS + 1) / max(1, usage.sum())
    return {
        "centres": len(codebook),
        "entropy": entropy_of_counts(usage),
        "zeros": float(shares[0]),
        **{f"order_{j}": float(share) for j, share in enumerate(shares[:-1])},
        f"order_{MANY_TERMS}_up": float(shares[-1]),
    }


def centres_table(codebook: NDArray[np.float32], usage: NDArray[np.int64]) -> pd.DataFrame:
    """One row per value [k], the most used first: value, its power-of-two terms, their number, count, share."""
    frame = pd.DataFrame(
        {
            "value": codebook,
            "terms": [format_terms(centre) for centre in codebook.tolist()],
            "term_count": term_count(codebook),
            "count": usage,
            "share": usage / max(1, usage.sum()),
        }
    )
    return frame.sort_values(["count", "value"], ascending=[False, True], ignore_index=True)
