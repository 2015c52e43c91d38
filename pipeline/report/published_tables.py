"""What others have published, and what was measured here beside it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import yaml

# Networks that go by another name in published tables.
PUBLISHED_AS = {"cifar_resnet20": "resnet20"}
AS_PUBLISHED = ["entropy_as_published", "unique_as_published"]


def published_rows(path: Path, data: str, model: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Published rows for the same data set and model, and all others."""
    rows = [
        {
            "method": table["method"],
            "data": table["data"],
            **row,
            "source": table["source"] + (" (not verified)" if table.get("unverified") else ""),
        }
        for table in yaml.safe_load(path.read_text())
        for row in table["rows"]
    ]
    columns = ["method", "data", "model", "setting", "top1", "entropy", "unique", "source"]
    frame = pd.DataFrame(rows, columns=columns)
    own = model.partition(".")[0]
    same = (frame["data"] == data) & frame["model"].isin([own, PUBLISHED_AS.get(own)])
    return frame[same].reset_index(drop=True), frame[~same].reset_index(drop=True)


def beside_published(comparison: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """WFN's measured rows beside the published ones of the same delta; both in the accounting of the published tables.

    published: rows for the same data set and model. difference: measured top-1 less the published, in points.
    """
    theirs = published[published["method"] == "WFN"].copy()
    theirs["delta"] = theirs["setting"].str.removeprefix("delta ").astype(float)
    ours = comparison[comparison["method"] == "WFN"][["delta", "alpha", "top1", *AS_PUBLISHED]]
    renamed = {name: f"published_{name}" for name in ("top1", "entropy", "unique")}
    both = ours.merge(theirs[["delta", *renamed, "source"]].rename(columns=renamed), on="delta")
    both.insert(0, "method", "WFN")
    both.insert(list(both.columns).index("published_top1") + 1, "difference", both["top1"] - both["published_top1"])
    return both


def footnoted(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table with its sources as numbers, and these sources in the order of their numbers, from 1."""
    sources = list(dict.fromkeys(table["source"]))
    return table.assign(source=[sources.index(source) + 1 for source in table["source"]]), sources
