"""A finished run, as the settings ask for it: DVC alone does not know what it was made with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.base.errors import InputError
from pipeline.base.results import Run, read_run
from pipeline.base.settings import Settings
from stages.common.folders import Made


def read_made(runs: Path, made: Made, settings: Settings, card: Mapping[str, Any]) -> Run:
    """The run of a stage. card: of the data set.

    DVC writes down what the settings are when a stage ends. Where they were changed while it worked, its results are
    those of others, and up to date for DVC: InputError, which names one.
    """
    run = read_run(runs / made.folder)
    expected = json.loads(json.dumps(_expected(settings.for_classes(card["classes"]), made.stage)))
    if differ := _first_difference(run.settings, expected):
        key, was, now = differ
        stage = "explore" if made.stage.startswith("explore@") else made.stage  # makes several
        raise InputError(
            f"{run.folder}: made with {key} = {was}, and the settings have {now}: they were changed while it was made; "
            f"`dvc repro --force --single-item {stage}` makes it anew"
        )
    return run


def _expected(settings: Settings, stage: str) -> dict[str, Any]:
    """What decides a run."""
    kind, _, name = stage.partition("@")
    if kind == "quantise":
        own, quantiser = settings.for_quantiser(name)
        return own.of_quantiser(quantiser)
    if kind == "explore":
        baselines = settings.explore_baselines()
        return baselines[name].of_baseline() if name in baselines else settings.explored()[name].of_fixing()
    own = settings.for_stage(stage)
    return own.of_baseline() if kind in ("pretrain", "baselines") else own.of_fixing()


def _first_difference(was: Any, now: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """A key that both have with another value, and the values. One that is new decides nothing of what is older."""
    if isinstance(was, dict) and isinstance(now, dict):
        inner = (_first_difference(was[name], now[name], f"{key}.{name}") for name in was if name in now)
        return next((each for each in inner if each), None)
    return None if was == now else (key.removeprefix("."), was, now)
