"""What the paper's tables ask for: which networks with which settings, on which pictures."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.base.errors import InputError
from pipeline.base.naming import several
from pipeline.base.settings import Settings
from pipeline.base.settings.problems import checked
from pipeline.report.claims import APOT_BITS

PROFILE = "imagenet"
NETWORKS = ("resnet18", "resnet34", "resnet50")
WEIGHTS = "tv_in1k"  # torchvision's, which the paper begins with, in timm's names
DELTAS = (0.0075, 0.01, 0.015)
MAIN = 0.01  # the paper's "no loss"; stage fix has it, stage sweep the other two
MOST_SEEDS, MOST_IMAGES = 100, 1_000_000
TRAIN, VAL = "train", "val"
CLASSES, IMAGES = 1000, (1_281_167, 50_000)  # of ImageNet; for training and for testing
WORDNET = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class Plan:
    """networks: names of timm. mini: the first so many images of each class only; None: all. seeds: runs of each."""

    networks: tuple[str, ...]
    mini: int | None
    seeds: int

    @property
    def mark(self) -> str:
        """What has to stand beside every figure of such a run; empty for a run of all images."""
        if self.mini is None:
            return ""
        return f"{self.mini} image{'' if self.mini == 1 else 's'} a class: not ImageNet's accuracy"

    @property
    def images(self) -> str:
        """A word for a folder: what was made of fewer images never takes the place of the rest."""
        return "all" if self.mini is None else f"mini-{self.mini}"


def plan(networks: str, mini: str | None, seeds: str) -> Plan:
    """A plan as a person writes it; networks: names with commas or spaces between them.

    Raises InputError for what cannot be one. Whether timm has a network is seen by `pipeline.ahead.obstacles`.
    """
    names = tuple(dict.fromkeys(re.split(r"[,\s]+", networks.strip(", \t\n"))))
    for name in names:
        if not re.fullmatch(r"[A-Za-z]\w*(\.\w+)?", name):
            raise InputError(
                f"NETWORKS = {networks}: {name!r} is no network; allowed: {', '.join(NETWORKS)}, or others of timm, "
                "with commas between them"
            )
    return Plan(names, None if mini is None else _count("MINI", mini, MOST_IMAGES), _count("SEEDS", seeds, MOST_SEEDS))


def _count(key: str, text: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise InputError(f"{key} = {text}: allowed: whole numbers from 1 to {most:,}")
    return int(text)


def timm_name(network: str) -> str:
    """A network with the weights that it begins with: the paper's have torchvision's, another timm's first ones."""
    return f"{network}.{WEIGHTS}" if network in NETWORKS else network


def classes_of(imagenet: Path | None) -> tuple[Path, list[str]]:
    """The folder of the data set as an absolute path, and the names of its classes.

    Raises InputError unless it has train and val, both with a folder for each of the same classes.
    """
    allowed = f"a folder with {TRAIN} and {VAL}, each with a folder of pictures for every class, named by WordNet id"
    if imagenet is None:
        raise InputError(f"IMAGENET is not set; allowed: {allowed}")
    # However it is written: another path would be other settings, and all networks anew.
    written = imagenet.expanduser().absolute()
    plain = Path(os.path.normpath(written))
    root = plain if plain.exists() and written.exists() and plain.samefile(written) else written
    if not root.is_dir():
        raise InputError(f"IMAGENET = {imagenet}: no such folder; allowed: {allowed}")
    parts = {}
    for part in (TRAIN, VAL):
        if not (root / part).is_dir():
            raise InputError(f"IMAGENET = {imagenet}: has no folder {part}; allowed: {allowed}")
        parts[part] = {each.name for each in (root / part).iterdir() if each.is_dir() and each.name[:1] != "."}
        if not parts[part]:
            raise InputError(f"IMAGENET = {imagenet}: {part} has no folder in it; allowed: {allowed}")
    alone = sorted(parts[TRAIN] ^ parts[VAL])
    if alone:
        raise InputError(f"IMAGENET = {imagenet}: only {TRAIN} or only {VAL} has {several(alone)}; allowed: {allowed}")
    return root, sorted(parts[TRAIN])


def check_weights(root: Path, classes: Sequence[str]) -> None:
    """Raise InputError unless given weights, whose outputs are ImageNet's classes in their order, tell these apart."""
    other = [name for name in classes if not WORDNET.fullmatch(name)]
    if other or len(classes) != CLASSES:
        found = f"{several(other)}, which {'is' if len(other) == 1 else 'are'} no WordNet id" if other else "others"
        raise InputError(
            f"IMAGENET = {root}: {len(classes):,} classes, with {found}; allowed for networks with given weights, "
            f"whose outputs have that order: ImageNet's {CLASSES:,} by WordNet id, as in n01440764"
        )


@dataclass(frozen=True)
class Files:
    """What params.yaml and the profile say, as they are in the clone or as an experiment has them."""

    params: Mapping[str, Any]
    profile: Mapping[str, Any]

    def settings(self, source: str) -> Settings:
        """Both, checked. Raises InputError that begins with `source`."""
        return checked(Settings, {**self.params, **self.profile}, source)


def experiment(files: Files, plan: Plan, network: str, root: Path) -> Files:
    """The files for one network of the plan: the three deltas and APoT with every seed, and nothing else.

    What trains, and how, stays as it is in the clone.
    """
    params, profile = deepcopy(dict(files.params)), deepcopy(dict(files.profile))
    repeats = list(range(plan.seeds))
    params |= {"profile": PROFILE, "delta": MAIN, "repeats": repeats[1:], "variants": {}}
    params["grid"] = {
        "delta": [each for each in DELTAS if each != MAIN], "alpha": [params["alpha"]], "repeats": repeats
    }  # fmt: skip
    params["explore"] |= {"delta": [], "alpha": [], "repeats": [], "ablations": {}}
    params["baselines"]["quantisers"] = {
        _apot(repeat): {"method": "apot", "bits": APOT_BITS, "repeat": repeat} for repeat in repeats
    }
    profile["data"] |= {"root": str(root), "mini": plan.mini}
    profile["model"] |= {"name": timm_name(network)}
    return Files(params, profile)


def _apot(repeat: int) -> str:
    return f"apot-{APOT_BITS}{f'-seed-{repeat}' if repeat else ''}"
