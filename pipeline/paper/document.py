"""The page of the paper's tables: whatever is measured so far, beside what was published."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline.base.results import to_csv
from pipeline.paper.plan import IMAGES, Plan
from pipeline.paper.progress import Network
from pipeline.paper.tables import NOT_YET, WFN, claims_of, made_with, marked, table_1, table_2, work
from pipeline.report.claims import Tally, tally
from pipeline.report.document import PAGE
from pipeline.report.formats import Table, glossary, to_latex, to_markdown
from pipeline.report.page import Card, Chapter, Glossary, Listing, Section, page
from pipeline.report.published_tables import footnoted

HEADINGS = {
    "table-1": "Table 1: beside the published figures",
    "table-2": "Table 2: WFN against APoT in full",
    "claims": "What the paper claims, network by network",
    "made-with": "Pictures and settings of each network",
    "work": "Every result",
}
FIRST = {
    "table-1": (
        *("model", "method", "top1", "published_top1", "top1_difference", "entropy_as_published", "published_entropy"),
        *("unique_as_published", "published_unique"),
    ),
    "table-2": (
        *("model", "method", "top1", "entropy", "unique", "unique_no_bn", "unique_no_bn_first_last", "megabytes"),
    ),
    "claims": ("model", "claim", "verdict", "measured", "least", "unit"),
}
NOTES = {
    "table-1": "Entropy and values are counted as the published ones were: without zeros and down-sampling layers "
    "(docs/method.md, section 9). Difference: top-1 measured here less the published.",
    "table-2": "Of the whole network, every parameter and zeros included; the file is the packed one. Published "
    "top-1 can be compared; published values and bits leave out some weights. Those of APoT are by the WFN paper.",
    "claims": "Of what is there so far. A verdict needs runs with several seeds (SEEDS=3): of a single run none is "
    "made. Settings that the two tables do not need are not run, so some claims are not measured here.",
    "made-with": "The authors' recipe is another one (docs/method.md, section 8; the head of profiles/imagenet.yaml). "
    f"ImageNet has {IMAGES[0]:,} training and {IMAGES[1]:,} validation pictures.",
    "work": "Each is a stage of dvc.yaml, made in a folder of its own.",
}


def document(plan: Plan, networks: Sequence[Network], published: Path, commit: str) -> dict[str, bytes]:
    """Every file, name -> content: the page, its tables in every form, and the page of every finished network."""
    frames = {
        "table-1": table_1(networks, published),
        "table-2": table_2(networks, published),
        "claims": pd.concat([claims_of(each) for each in networks], ignore_index=True),
        "made-with": made_with(networks),
        "work": work(networks),
    }
    frames = {name: marked(frame, plan) for name, frame in frames.items()}
    files = {f"{each.name}.html": _own_page(each.page, plan) for each in networks if each.page is not None}
    files[PAGE] = _page(plan, networks, frames, commit).encode()
    for name, frame in frames.items():
        files |= {f"{name}.csv": to_csv(frame), f"{name}.md": to_markdown(frame).encode()}
        files |= {f"{name}.tex": to_latex(frame).encode()}
    return files


def _own_page(path: Path, plan: Plan) -> bytes:
    """The report of a network, whose title does not say yet of how few images it is."""
    text = path.read_text(encoding="utf-8")
    return re.sub("(?=</title>|</h1>)", f" ({html.escape(plan.mark)})" if plan.mark else "", text).encode()


def _page(plan: Plan, networks: Sequence[Network], frames: dict[str, pd.DataFrame], commit: str) -> str:
    headings = {name: _with_mark(heading, plan) for name, heading in HEADINGS.items()}
    sections = {name: _section(headings[name], networks, name, frame) for name, frame in frames.items()}
    meanings = Section("What the columns mean", "In the order of their first use.", Glossary(glossary(frames.values())))
    return page(
        _with_mark("Weight fixing: the paper's tables on ImageNet", plan),
        f"{'; '.join(map(said, networks))}.",
        _cards(networks, frames, headings),
        [
            Chapter("The paper's tables", [sections["table-1"], sections["table-2"]]),
            Chapter("The paper's claims", [sections["claims"]]),
            Chapter(
                "How it was made",
                [sections["made-with"], sections["work"], Section("Code", "This page's commit.", Listing(commit))],
            ),
            Chapter("Reference", [meanings]),
        ],
        f"../{PAGE}",
    )


def _with_mark(heading: str, plan: Plan) -> str:
    return f"{heading} ({plan.mark})" if plan.mark else heading


def _section(heading: str, networks: Sequence[Network], name: str, frame: pd.DataFrame) -> Section:
    if not len(frame):
        return Section(heading, NOTES[name], Listing(NOT_YET))
    numbers = {f"{name}.csv": to_csv(frame)}
    sources: list[str] = []
    if name.startswith("table"):
        frame, sources = footnoted(frame)
        frame = frame.assign(method=frame["method"] + ", " + frame["setting"]).drop(columns="setting")
    pages = {each.name: f"{each.name}.html" for each in networks if each.page is not None}
    table = Table(frame, FIRST.get(name, ()), links=[pages.get(each, "") for each in frame["model"]])
    return Section(heading, NOTES[name], table, numbers, sources)


def said(network: Network) -> str:
    """How much of a network is there, in words."""
    there, missing = len(network.runs), len(network.missing)
    if not there:
        return f"{network.name} is {NOT_YET}"
    how_far = "is measured" if network.page else f"has {there} of {there + missing} results"
    images = (network.train_images, network.test_images)
    whole = network.settings is None or network.settings.data.mini is not None or images == IMAGES or not images[0]
    of = "" if whole else f", of {images[0]:,} training and {images[1]:,} test images, and not of all of ImageNet's"
    return f"{network.name} {how_far}{of}"


def _cards(networks: Sequence[Network], frames: dict[str, pd.DataFrame], headings: dict[str, str]) -> list[Card]:
    """How far the work is, how near the published figures are, and whether the claims hold."""
    done, there = (sum(each.page is not None for each in networks), sum(len(each.runs) for each in networks))
    first, found = frames["table-1"], frames["claims"]
    differences = pd.to_numeric(first.loc[first["method"] == WFN, "top1_difference"].map(str), errors="coerce").dropna()
    near = f"{differences.min():+.2f} to {differences.max():+.2f} points" if len(differences) else NOT_YET
    counts = tally(found) if len(found) else Tally(0, 0, 0)
    return [
        Card("What is measured?", f"{done} of {len(networks)} networks", f"{there} results.", headings["work"]),
        Card("As published?", near, f"Top-1 of WFN less the published, {len(differences)} rows.", headings["table-1"]),
        Card("Does the paper hold?", counts.answer, f"{counts.others}.", headings["claims"]),
    ]
