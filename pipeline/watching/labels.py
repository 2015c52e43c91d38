"""What a run is called in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WIDTH = 20  # characters of a name that MLflow's lists and legends show
REPORT = "report"  # the stage of the page
# Of `fixing`: what is not so is said in a run's name.
USUAL_WORDS = {"distance": "relative", "clustering": "recluster", "parameters": "layers"}
USUAL_NUMBERS = {"temperature": 0.05, "zero_threshold": 2**-7}
APART = ("explore", "rates", REPORT)


def experiments(profile: str) -> list[str]:
    """The experiments that hold the runs of a profile: of its networks first, then those of APART."""
    return [f"weight-fixing-{profile}", *(f"weight-fixing-{profile}-{kind}" for kind in APART)]


@dataclass(frozen=True)
class Label:
    """How a run is called: its experiment, its name for people, and the DVC stage that makes it."""

    experiment: str
    name: str
    stage: str


def label_of(stage: str, settings: Mapping[str, Any]) -> Label:
    """The label of what a DVC stage ("sweep@0.015-0.4-2") makes with the settings that its settings.json has.

    What is not to be compared with the networks of an experiment - small networks, those of a choice of rates, the
    report - has one of its own. Names within an experiment differ in their first 20 characters.
    """
    kind, _, cell = stage.partition("@")
    experiment = f"weight-fixing-{settings['profile']}{f'-{kind}' if kind in APART else ''}"
    if kind == REPORT:
        name = REPORT
    elif kind in ("pretrain", "baselines") or (kind in APART and cell.startswith("baseline")):
        name = f"baseline s{settings['seed']} {settings['model']['name']}"
    elif kind in ("quantise", "rates", "variants"):
        name = _short(cell)
    else:
        fixing = settings["fixing"]
        setting = f"WFN {settings['delta']:g}/{settings['alpha']:g} s{settings['seed']}"
        special = {
            "sweep": kind == "sweep",
            "bn=float": not fixing["fix_batch_norm"],
            "one shot": len(fixing["fractions"]) == 1,
            **{fixing[key]: fixing[key] != usual for key, usual in USUAL_WORDS.items()},
            **{f"{key}={fixing[key]:g}": fixing[key] != usual for key, usual in USUAL_NUMBERS.items()},
        }
        name = " ".join([setting, *(word for word, is_so in special.items() if is_so)])
    return Label(experiment, name, stage)


def _short(name: str) -> str:
    """A name of 20 characters at most: its two ends, which tell apart what begins alike."""
    half = WIDTH // 2
    return name if len(name) <= WIDTH else f"{name[:half]}\u2026{name[1 - half :]}"
