"""What a fixed network looks like: numbers per round, and the table of its values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.metrics import entropy_bits, value_counts
from wfn.centres import format_terms, term_count

# Values of this many power-of-two terms and more share one column of the rounds' table.
MANY_TERMS = 6


def describe(values: NDArray[np.float32]) -> dict[str, Any]:
    """Number, entropy in bits and zero share of fixed values [n], and their shares per order.

    order_j is the share of values that are a sum of j powers of two, at best; order_0 is zero.
    """
    centres, counts = value_counts(values)
    terms = np.minimum(term_count(centres), MANY_TERMS)
    shares = np.bincount(terms, counts, minlength=MANY_TERMS + 1) / max(1, len(values))
    return {
        "centres": len(centres),
        "entropy": entropy_bits(values),
        "zeros": float(shares[0]),
        **{f"order_{j}": float(share) for j, share in enumerate(shares[:-1])},
        f"order_{MANY_TERMS}_up": float(shares[-1]),
    }


def centres_table(values: NDArray[np.float32]) -> pd.DataFrame:
    """One row per distinct value, the most used first: value, its power-of-two terms, their number, count, share."""
    centres, counts = value_counts(values)
    frame = pd.DataFrame(
        {
            "value": centres,
            "terms": [format_terms(centre) for centre in centres.tolist()],
            "term_count": term_count(centres),
            "count": counts,
            "share": counts / max(1, len(values)),
        }
    )
    return frame.sort_values(["count", "value"], ascending=[False, True], ignore_index=True)
