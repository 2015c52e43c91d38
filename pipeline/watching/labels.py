"""What a run is called in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Label:
    """How a run is called: its experiment, its name for people, and the DVC stage that makes it."""

    experiment: str
    name: str
    stage: str


def label_of(stage: str, settings: Mapping[str, Any]) -> Label:
    """The label of what a DVC stage ("sweep@0.015-0.4") makes with the settings that its settings.json has.

    Networks that are not to be compared with the others, small ones and those of a choice of rates, have experiments of
    their own.
    """
    kind, _, cell = stage.partition("@")
    apart = kind in ("explore", "rates")
    experiment = f"weight-fixing-{settings['profile']}{f'-{kind}' if apart else ''}"
    if kind == "report":
        name = "report"
    elif kind == "pretrain" or (apart and cell == "baseline"):
        name = f"baseline {settings['model']['name']}"
    elif kind in ("quantise", "rates"):
        name = f"{cell} seed={settings['seed']}"
    else:
        batch_norm = "" if settings["fixing"]["fix_batch_norm"] else " bn=float"
        euclidean = " euclidean" if settings["fixing"]["distance"] == "euclidean" else ""
        once = " one shot" if len(settings["fixing"]["fractions"]) == 1 else ""
        setting = f"delta={settings['delta']:g} alpha={settings['alpha']:g}{batch_norm}{euclidean}"
        name = f"WFN{once} {setting} seed={settings['seed']}"
    return Label(experiment, name, stage)
