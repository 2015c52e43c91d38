"""What a run will do and how long it may take, before it begins.

Minutes are those of the last run whose report lies here (provenance.csv), on the machine that it names, scaled by
epochs of training and without start-up; what DVC finds up to date is not run again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pipeline.base.errors import InputError
from pipeline.base.results import CARD, SETTINGS, read_json
from pipeline.base.settings import Settings

PROVENANCE = "provenance.csv"
EXPLORE, BASELINE = "explore", "pretrain"
# Where these are not what they were, the last run says nothing of the next one's minutes.
DECIDE_SPEED = ("data", "model", "hardware")


class Places(NamedTuple):
    """Where to look: the profile's file, its runs, and its report."""

    profile: Path
    runs: Path
    report: Path


def forecast(settings: Settings, stages: Sequence[str], places: Places) -> list[str]:
    """Lines that say it. stages: one for every network that will be made, as stages/common/folders.py names them."""
    epochs = epochs_of(settings, stages)
    return [_work(settings, stages, epochs, places.runs), _duration(settings, epochs, places), *_sources(settings)]


def epochs_of(settings: Settings, stages: Sequence[str]) -> dict[str, int]:
    """Epochs of training in every stage of dvc.yaml. stages: `stage@cell`, one a network; `explore` makes many."""
    trained = settings.explore_baselines()
    explored = settings.explored() | trained
    found: Counter[str] = Counter()
    for stage in stages:
        kind, _, name = stage.partition("@")
        chosen = explored[name] if kind == EXPLORE else settings.for_stage(stage)
        if _kind(stage) == BASELINE or name in trained:
            epochs = chosen.pretrain.epochs if chosen.trains_the_baseline else 0
        else:
            epochs = chosen.training_epochs
        found[EXPLORE if kind == EXPLORE else stage] += epochs
    return dict(found)


def _work(settings: Settings, stages: Sequence[str], epochs: Mapping[str, int], runs: Path) -> str:
    small = {f"{EXPLORE}@{name}" for name in settings.explore_baselines()}
    counts = Counter(BASELINE if each in small else _kind(each) for each in stages)
    texts = {
        BASELINE: _plural(counts[BASELINE], "baseline"),
        "fix": _plural(counts["fix"], "fixed network"),
        "quantise": f"{counts['quantise']} of other methods",
        EXPLORE: f"{counts[EXPLORE]} explored",
    }
    count = _training_images(runs / "data" / CARD)
    images = "" if count is None else f" of {count:,} images"
    return (
        f"{settings.profile}: {settings.model.name} on {settings.data.name}: "
        f"{', '.join(text for kind, text in texts.items() if counts[kind])}; "
        f"at most {_plural(sum(epochs.values()), 'epoch')} of training{images} in {_plural(len(epochs), 'stage')}"
    )


def _training_images(card: Path) -> int | None:
    """How many the card of the data set counts; None where there is none, or it is damaged and will be made anew."""
    try:
        return int(read_json(card)["train"]["images"])
    except (FileNotFoundError, InputError, LookupError, TypeError, ValueError):
        return None


def _plural(count: int, of: str) -> str:
    """A number of things."""
    return f"{count:,} {of}{'' if count == 1 else 's'}"


def _kind(stage: str) -> str:
    """What a stage makes, in a word."""
    kind = stage.partition("@")[0]
    return {"repeats": "fix", "sweep": "fix", "variants": "fix", "baselines": BASELINE}.get(kind, kind)


def _duration(settings: Settings, epochs: Mapping[str, int], places: Places) -> str:
    seconds = seconds_of(settings, epochs, places.report)
    if seconds is not None:
        minutes = _plural(max(1, round(sum(seconds.values()) / 60)), "minute")
        device = _device(places.report)
        return f"at most about {minutes}{device and f' as on {device}'} ({places.report / PROVENANCE})"
    cost = _cost(places.profile)
    return f"no timing of such a run here{f'; {places.profile} says of a whole run: {cost}' if cost else ''}"


def _device(report: Path) -> str:
    """The processor or GPU of the last run; "" where its report does not say."""
    table = pd.read_csv(report / PROVENANCE)
    return str(table["device"].dropna().iloc[0]) if "device" in table and table["device"].notna().any() else ""


def seconds_of(settings: Settings, epochs: Mapping[str, int], report: Path) -> dict[str, float] | None:
    """Seconds of every stage, by the last run; epochs: as `epochs_of` counts them.

    None where that was of other images, another network or other hardware, or left nothing to read.
    """
    try:
        last = Settings.model_validate(json.loads((report / SETTINGS).read_text()))
        took = pd.read_csv(report / PROVENANCE).set_index("stage")["seconds"].dropna().astype(float).to_dict()
        before = epochs_of(last, [each for stage in took for each in _networks(last, str(stage))])
    except (OSError, ValueError, KeyError, InputError):
        return None
    if any(getattr(last, key) != getattr(settings, key) for key in DECIDE_SPEED):
        return None
    if EXPLORE in epochs and last.explore.model != settings.explore.model:
        return None
    seconds = {}
    for stage, count in epochs.items():
        alike = [
            each for each in before if _pace(each, last) == _pace(stage, settings) and bool(before[each]) == bool(count)
        ]
        if stage in alike:
            alike = [stage]
        if not alike:
            return None
        work = sum(before[each] for each in alike)
        seconds[stage] = sum(took[each] for each in alike) * (count / work if work else 1 / len(alike))
    return seconds


def _pace(stage: str, settings: Settings) -> tuple[str, str]:
    """What stages share whose epochs take equally long."""
    kind = _kind(stage)
    return kind, settings.for_quantiser(stage.partition("@")[2])[1].method if kind == "quantise" else ""


def expected_seconds(settings: Settings, stages: Sequence[str], report: Path) -> dict[str, float]:
    """Seconds, as `seconds_of` says, of every stage that makes the networks `stages`; empty where nothing is known."""
    return seconds_of(settings, epochs_of(settings, stages), report) or {}


def _networks(settings: Settings, stage: str) -> list[str]:
    """What a stage of dvc.yaml makes."""
    names = [*settings.explore_baselines(), *settings.explored()]
    return [f"{EXPLORE}@{name}" for name in names] if stage == EXPLORE else [stage]


def _cost(profile: Path) -> str:
    """What the head of a profile says under Cost, over as many lines as it takes."""
    found = re.search(r"^# Cost +(.*(?:\n# {6,}\S.*)*)", profile.read_text(encoding="utf-8"), re.MULTILINE)
    return re.sub(r"\s*\n#\s*", " ", found[1]) if found else ""


def _sources(settings: Settings) -> list[str]:
    """Where two settings name images or weights: which of them is used."""
    data, model = settings.data, settings.model
    lines = []
    if data.root is not None and data.hub is not None:
        lines.append(f"images from data.root = {data.root}, not from data.hub = {data.hub}")
    if model.checkpoint is not None and model.pretrained:
        lines.append(f"weights from model.checkpoint = {model.checkpoint}, not those of model.pretrained")
    return lines
