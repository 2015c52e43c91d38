"""What a packed file says of a network: how it is built, what becomes of a picture, what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import timm

from pipeline.base.results import Run
from pipeline.base.settings import Data, Model
from pipeline.data.recipes import AUTHORS_SQUASHED, input_settings
from wfn.packed.network.allowed import ARGUMENTS

# Of metrics.json and settings.json, what a person who is given the file alone wants to know.
METRICS = ("top1", "top5", "parameters", "unique", "entropy", "activation_bits")
SETTINGS = ("method", "bits", "delta", "alpha", "seed")


def network_of(run: Run, card: Mapping[str, Any]) -> dict[str, Any] | None:
    """The network of a run as docs/format.md has it; None where timm alone cannot build it.

    That is so for quantised activations, whose clipping values are no part of timm's networks, for arguments
    (`model.options`) that a packed file may not hold, and for networks of a person's own (`model.module`).
    """
    data, model = Data.model_validate(run.settings["data"]), Model.model_validate(run.settings["model"])
    if run.metrics.get("activation_bits") is not None or not set(model.options) <= set(ARGUMENTS):
        return None
    if not (timm.is_model(model.name) and timm.model_entrypoint(model.name).__module__.startswith("timm.")):
        return None
    names = card["class_names"]
    return {
        "timm": model.name,
        "arguments": {"in_chans": model.in_chans, "num_classes": model.num_classes, **model.options},
        "stem": model.stem.model_dump() if model.stem else None,
        "classes": names if len(names) == model.num_classes else None,
        "input": picture_of(data, model, card),
    }


def picture_of(data: Data, model: Model, card: Mapping[str, Any]) -> dict[str, Any] | None:
    """What becomes of a test picture (pipeline/data), as docs/format.md has it; None for what it has no words for."""
    known = card if data.storage == "memory" and data.statistics == "images" else input_settings(model)
    side, squashed = data.pixels, [data.pixels] * 2
    resized: dict[str, Any] = {"squash": squashed, "interpolation": "bilinear"}
    if data.storage == "files" and data.recipe == "authors":
        resized["squash"] = [round(AUTHORS_SQUASHED * side)] * 2
    elif data.storage == "files":
        scaled = math.floor(side / known["crop_pct"])
        forms: dict[str, dict[str, Any]] = {"center": {"shorter": scaled}, "squash": {"squash": [scaled] * 2}}
        if known["crop_mode"] not in forms:
            return None
        resized = forms[known["crop_mode"]] | {"interpolation": known["interpolation"]}
    statistics = {key: [float(number) for number in known[key]] for key in ("mean", "std")}
    return {"channels": data.channels, **resized, "crop": squashed, **statistics}


def metadata_of(run: Run, card: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for and what was measured, for people."""
    chosen = {key: run.settings[key] for key in SETTINGS if run.settings.get(key) is not None}
    measured = {key: run.metrics[key] for key in METRICS if run.metrics.get(key) is not None}
    return {"data": card["name"], "test_images": card["test"]["images"], **chosen, **measured}
