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

    Stage `explore` has an experiment of its own: its small networks are not to be compared with the others.
    """
    kind, _, cell = stage.partition("@")
    experiment = f"weight-fixing-{settings['profile']}{'-explore' if kind.startswith('explore') else ''}"
    if kind == "report":
        name = "report"
    elif kind == "pretrain" or stage == "explore@baseline":
        name = f"baseline {settings['model']['name']}"
    elif kind == "quantise":
        name = f"{cell} seed={settings['seed']}"
    else:
        batch_norm = "" if settings["fixing"]["fix_batch_norm"] else " bn=float"
        once = " one shot" if len(settings["fixing"]["fractions"]) == 1 else ""
        name = f"WFN{once} delta={settings['delta']:g} alpha={settings['alpha']:g}{batch_norm} seed={settings['seed']}"
    return Label(experiment, name, stage)
