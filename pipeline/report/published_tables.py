"""What others have published, and what was measured here beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

# Networks that go by another name in published tables.
PUBLISHED_AS = {"cifar_resnet20": "resnet20"}
FLOAT = "Full precision"  # a method
AS_PUBLISHED = ["entropy_as_published", "unique_as_published"]
PUBLISHED = {name: f"published_{name}" for name in ("top1", "entropy", "unique")}  # columns of a table of the report


def published_rows(path: Path, data: str, model: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Published rows for the same data set and model, and all others."""
    rows = [
        {
            "method": table["method"],
            "data": table["data"],
            **row,
            "source": table["source"] + _remark(table),
        }
        for table in yaml.safe_load(path.read_text())
        for row in table["rows"]
    ]
    columns = ["method", "data", "model", "setting", "top1", "entropy", "unique", "source"]
    frame = pd.DataFrame(rows, columns=columns)
    own = model.partition(".")[0]
    same = (frame["data"] == data) & frame["model"].isin([own, PUBLISHED_AS.get(own)])
    return frame[same].reset_index(drop=True), frame[~same].reset_index(drop=True)


def _remark(table: Mapping[str, Any]) -> str:
    """What has to be known of a published table."""
    said = [*([table["note"]] if "note" in table else []), *(["not verified"] if table.get("unverified") else [])]
    return f" ({'; '.join(said)})" if said else ""


def beside_published(measured: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Measured rows beside the published ones of the same method and setting; both in the published accounting.

    measured: as `comparisons.quantisers` makes it. published: rows for the same data set and model. drop and
    published_drop: change of top-1 against the float network, in points; trainings differ less in it than in top-1.
    difference: measured change less the published, in points; empty where either is not known.
    """
    floats = published.loc[published["method"] == FLOAT, "top1"]
    theirs = published.assign(published_drop=published["top1"] - (floats.iloc[0] if len(floats) else math.nan))
    kept = ["method", "setting", *PUBLISHED, "published_drop", "source"]
    figures = [each for name in ("top1", "drop", *AS_PUBLISHED) for each in (name, f"{name}_spread")]
    ours = measured.reindex(columns=["method", "bits", "delta", "alpha", *figures])
    ours = ours.assign(setting=[_setting(row) for _, row in ours.iterrows()])
    both = ours.merge(theirs[kept].rename(columns=PUBLISHED), on=["method", "setting"]).drop(columns="setting")
    return both.assign(difference=both["drop"] - both["published_drop"]).dropna(axis="columns", how="all")


def _setting(row: pd.Series) -> str:
    """A measured row's setting as published rows have it."""
    return f"{row['bits']:.0f} bit" if pd.isna(row["delta"]) else f"delta {row['delta']:g}"


def footnoted(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table with its sources as numbers, and these sources in the order of their numbers, from 1."""
    sources = list(dict.fromkeys(table["source"]))
    return table.assign(source=[sources.index(source) + 1 for source in table["source"]]), sources
