"""The start page over the reports of all profiles: what was measured where, and the claims side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.base.results import SETTINGS, read_json, reading
from pipeline.report.claims import tally
from pipeline.report.columns import column
from pipeline.report.comparisons import row_at
from pipeline.report.document import PAGE
from pipeline.report.formats import Table, glossary
from pipeline.report.page import Chapter, Glossary, Section, page

TABLE = "comparison"
FIGURES = ("top1", "drop", "megabytes", "ratio", "unique", "entropy")
MEASURED = [each for name in FIGURES for each in (name, f"{name}_spread")]
# Reports of older versions, which have no claims, count another coder's bytes.
SIZES = ("megabytes", "megabytes_spread", "ratio", "ratio_spread")
COLUMNS = ["profile", "model", "data", "delta", "alpha", *MEASURED, "held"]


@dataclass(frozen=True)
class Report:
    """What the report of a profile says: its settings, the row of its main setting, and its claims if it has any.

    shown: the file to be read, the table where an older version has left no page.
    """

    profile: str
    shown: str
    settings: Mapping[str, Any]
    main: pd.Series
    claims: pd.DataFrame | None


def start_page(reports: Path) -> bytes:
    """The page over every report in a folder."""
    found = [_read(path.parent) for path in sorted(reports.glob(f"*/{TABLE}.csv"))]
    measured = pd.DataFrame([_line(report) for report in found], columns=COLUMNS)
    links = [f"{report.profile}/{report.shown}" for report in found]
    sections = [
        Section(
            "What was measured where",
            "One line for each profile, at the setting of its stage fix. It leads to the page, or to the table where "
            "an older version made the report.",
            Table(measured, ("profile", "top1", "drop", "megabytes", "unique", "held"), links=links),
        )
    ]
    claims = _side_by_side(found)
    if len(claims):
        note = "What was measured, and the verdict; empty where a profile does not measure it."
        sections.append(Section("The paper's claims", note, Table(claims)))
    meanings = Section("What the columns mean", "In the order of their first use.", Glossary(glossary([measured])))
    headline = " ".join(_sentence(report) for report in found if report.claims is not None)
    chapters = [Chapter("Results", sections), Chapter("Reference", [meanings])]
    return page("Weight fixing: what was measured", headline, chapters=chapters).encode()


def _read(folder: Path) -> Report:
    settings = read_json(folder / SETTINGS)
    path, claims = folder / f"{TABLE}.csv", folder / "claims.csv"
    shown = PAGE if (folder / PAGE).exists() else f"{TABLE}.md"
    with reading(path):
        main = row_at(pd.read_csv(path), settings["delta"], settings["alpha"])
    with reading(claims):
        found = pd.read_csv(claims) if claims.exists() else None
    return Report(folder.name, shown, settings, main, found)


def _line(report: Report) -> dict[str, Any]:
    runs = report.main.get("runs", 1)
    return {
        "profile": f"{report.profile}, {f'n = {runs}' if runs > 1 else 'one run'}",
        "model": report.main["model"],
        "data": report.settings["data"]["name"],
        "delta": report.main["delta"],
        "alpha": report.main["alpha"],
        **{name: report.main.get(name) for name in MEASURED if report.claims is not None or name not in SIZES},
        "held": "" if report.claims is None else _held(report.claims),
    }


def _held(claims: pd.DataFrame) -> str:
    """How many of the paper's claims hold, of those that were measured, and how many are not decided."""
    counts = tally(claims)
    return f"{counts.held} of {sum(counts)}, {counts.undecided} not decided"


def _sentence(report: Report) -> str:
    assert report.claims is not None
    counts = tally(report.claims)
    return f"{report.main['model']} on {report.settings['data']['name']}: {counts.answer}, {counts.others}."


def _side_by_side(reports: list[Report]) -> pd.DataFrame:
    """One row for each claim, one column for each profile that has claims."""
    columns = {
        report.profile: report.claims.set_index("claim").apply(_said, axis="columns")
        for report in reports
        if report.claims is not None
    }
    return pd.DataFrame(columns).fillna("").rename_axis("claim").reset_index()


def _said(claim: pd.Series) -> str:
    figure = "" if pd.isna(claim["measured"]) else f" ({column('measured').text(claim['measured'])} {claim['unit']})"
    return f"{claim['verdict']}{figure}"
