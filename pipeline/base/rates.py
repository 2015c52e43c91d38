"""How learning rates are chosen: the candidates, and which of them is taken after what was measured of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pipeline.base.errors import InputError
from pipeline.base.settings import Quantiser, Settings

FOLDER = Path("profiles/rates")  # a table for every profile whose rates have been chosen
FIXING = "wfn"  # beside the methods of the comparison


class Candidate(NamedTuple):
    """A method at one rate. line: its name in `baselines.quantisers`; quantiser: None for fixing."""

    method: str
    rate: float
    settings: Settings
    line: str = ""
    quantiser: Quantiser | None = None

    @property
    def name(self) -> str:
        """For its folder."""
        return f"{self.line or self.method}_lr-{self.rate:g}"

    def row(self, metrics: Mapping[str, Any] | None) -> dict[str, Any]:
        """A row of the table: what was measured, nothing where training diverged."""
        found = metrics or {}
        return {
            "method": self.method,
            "bits": self.quantiser.bits if self.quantiser else None,
            "rate": self.rate,
            "top1": found.get("top1"),
            "entropy": found.get("entropy"),
            "unique": found.get("unique"),
        }


def candidates(settings: Settings, methods: Sequence[str] = ()) -> list[Candidate]:
    """Fixing, and the first setting of every method of the comparison, at each rate of the grid.

    methods: these alone. Raises InputError for one that the settings do not have.
    """
    first: dict[str, tuple[str, Quantiser]] = {}
    for line, quantiser in settings.baselines.quantisers.items():
        first.setdefault(quantiser.method, (line, quantiser))
    unknown = [method for method in methods if method not in {FIXING, *first}]
    if unknown:
        raise InputError(
            f"--method {unknown[0]}: is in no line of baselines.quantisers; allowed: {FIXING}, {', '.join(first)}"
        )
    grid = settings.rates.grid
    found = [Candidate(FIXING, rate, settings.changed({"finetune.lr": rate})) for rate in grid]
    for method, (line, quantiser) in first.items():
        found += [
            Candidate(method, rate, settings.changed({f"quantise.rates.{method}": rate}), line, quantiser)
            for rate in grid
        ]
    return [each for each in found if not methods or each.method in methods]


def together(table: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """An earlier table with the methods of `found` in place of its own rows for them, in the earlier order."""
    order = list(dict.fromkeys([*table["method"], *found["method"]]))
    kept = table[~table["method"].isin(found["method"])].drop(columns="chosen")
    both = pd.concat([kept, found])
    places = both["method"].map(order.index)
    return both.iloc[places.argsort(kind="stable")].reset_index(drop=True)


def chosen(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a column `chosen`: one rate per method, where any of its rates gave a result.

    table: a row per method and rate: method, rate, top1 (percent of the validation images; empty where training
    diverged). Chosen is the highest top-1; of equal ones the smaller rate.
    """
    marked = table.assign(chosen=False)
    for _, rows in table.dropna(subset=["top1"]).groupby("method", sort=False):
        order = rows.sort_values(["top1", "rate"], ascending=[False, True])
        marked.loc[order.index[0], "chosen"] = True
    return marked


def at_the_edge(table: pd.DataFrame) -> list[str]:
    """Methods, of a table with the column `chosen`, whose rate is the least or the largest that was tried.

    A rate beyond it may be better. Not those of which another rate was as good.
    """
    found = []
    for method, rows in table.groupby("method", sort=False):
        best = rows[rows["top1"] == rows["top1"].max()]["rate"]
        if len(best) and set(best) <= {rows["rate"].min(), rows["rate"].max()}:
            found.append(str(method))
    return found


def own_rate(settings: Settings, method: str) -> float | None:
    """The rate that these settings have for a method; None where they have none for it alone."""
    return settings.finetune.lr if method == FIXING else settings.quantise.rates.get(method)
