"""Which learning rate is chosen for a method, from what was measured on validation images."""

from __future__ import annotations

import numpy as np
import pandas as pd


def chosen(table: pd.DataFrame, images: int) -> pd.DataFrame:
    """The table with a column `chosen`: one rate per method, where any of its rates gave a result.

    table: a row per method and rate: method, rate, top1 (percent of so many validation `images`; empty where training
    diverged), megabytes. Chosen is the smallest network of those not worse than the best by more than one standard
    error of its top-1; of several, the one with the higher top-1, then the smaller rate.
    """
    marked = table.assign(chosen=False)
    for _, rows in table.dropna(subset=["top1"]).groupby("method", sort=False):
        best = rows["top1"].max()
        error = 100 * np.sqrt(best / 100 * (1 - best / 100) / images)
        good = rows[rows["top1"] >= best - error]
        order = good.sort_values(["megabytes", "top1", "rate"], ascending=[True, False, True])
        marked.loc[order.index[0], "chosen"] = True
    return marked
