"""The first screen of the page: the verdict in words, and answers to what a reader comes with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pipeline.base.settings import Settings
from pipeline.report.claims import LOSS, LOSSLESS, tally
from pipeline.report.comparisons import BASELINE, row_at
from pipeline.report.evidence import FAILS, HOLDS, UNDECIDED, UNMEASURED
from pipeline.report.page import Card
from pipeline.report.results import Results

CLAIMS, LOST, COMPARISON, USE = (
    "What the paper claims, what was measured here",
    "What is lost, what is saved",
    "Baseline and fixed networks",
    "Use the network",
)
# Data sets whose images are published as they are; a copy of them that came as JPEG is another data set.
LOSSLESS_IMAGES = ("cifar10", "cifar100", "mnist", "mnist5k")
WORDS = {
    HOLDS: f"keeps its accuracy, within {LOSS} points",
    FAILS: f"loses more than {LOSS} points of its accuracy",
}


def headline(settings: Settings, results: Results, frames: Mapping[str, pd.DataFrame]) -> str:
    """What became of the network with the main setting, in words and figures."""
    main = _main(settings, frames)
    found = frames["claims"] if "claims" in frames else pd.DataFrame(columns=["claim", "verdict"])
    verdict = next(iter(found.loc[found["claim"].str.startswith(LOSSLESS), "verdict"]), UNMEASURED)
    over = "in one run" if main["runs"] == 1 else f"over {main['runs']} runs"
    change = f"changes its top-1 by {_change(main)} points {over}"
    if verdict == UNDECIDED:
        change += f", which does not decide whether it loses more than {LOSS}"
    words = WORDS.get(verdict, change)
    images = f"{settings.data.name}{_copy(results.card)}"
    return (
        f"{settings.model.name} on {images} {words}. All its weights share {main['unique']:.0f} values, "
        f"{main['entropy']:.2f} bits each, and its file is {main['ratio']:.1f} times smaller."
    )


def cards(settings: Settings, results: Results, frames: Mapping[str, pd.DataFrame]) -> list[Card]:
    """What it cost, what it saved, whether the paper holds, and how to use the network."""
    main, baseline = _main(settings, frames), frames["comparison"].iloc[0]
    assert baseline["method"] == BASELINE
    count = results.fixed[0].metrics["parameters"] / 1e6
    runs = f"means over {main['runs']} runs" if main["runs"] > 1 else "one run"
    shown = LOST if "quantisers" in frames else COMPARISON
    found = [
        Card(
            "What did it cost?",
            f"{_change(main)} points",
            f"Top-1: {baseline['top1']:.2f} % before, {main['top1']:.2f} % after; {runs}.",
            shown,
        ),
        Card(
            "What did it save?",
            f"{baseline['megabytes']:.1f} → {main['megabytes']:.2f} MB",
            f"{count:.1f} million weights, {main['unique']:.0f} values, {main['entropy']:.2f} bits a weight.",
            shown,
        ),
    ]
    if "claims" in frames:
        counts = tally(frames["claims"])
        found.append(Card("Does the paper hold?", counts.answer, f"{counts.others}.", CLAIMS))
    return [*found, Card("How do I use it?", "One line of Python", "", USE, code=f'wfn.load("{results.file}")')]


def _copy(card: Mapping[str, Any]) -> str:
    """In which form the images came, where that takes something from them."""
    kinds = [kind for part in card.get("stored_as", {}).values() for kind in part]
    jpeg = card["name"] in LOSSLESS_IMAGES and any("JPEG" in kind for kind in kinds)
    return ", of which a copy came as JPEG," if jpeg else ""


def _main(settings: Settings, frames: Mapping[str, pd.DataFrame]) -> pd.Series:
    return row_at(frames["comparison"], settings.delta, settings.alpha)


def _change(row: pd.Series) -> str:
    """A row's change of top-1 and its spread, if it has one; what is rounded to nothing is no loss."""
    change = f"{row['drop']:+z.2f}"
    return change if pd.isna(row["drop_spread"]) else f"{change} ± {row['drop_spread']:.2f}"
