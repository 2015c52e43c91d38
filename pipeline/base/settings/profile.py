"""The sections of a profile: a data set, a network, its training (profiles/mnist5k.yaml has comments on each key)."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from pipeline.base.settings.allowed import (
    BatchSize,
    Count,
    Decay,
    Epochs,
    Integer,
    NotNegative,
    Number,
    Part,
    Place,
    PointedName,
    Positive,
    Section,
    Switch,
    Text,
    Whole,
)

# What a model.checkpoint begins with that is a repository of the Hugging Face hub.
HUB = "hf-hub:"
# Data sets that a package of ours carries.
PACKAGED = ("mnist5k",)
# Arguments of timm.create_model that are settings of their own, or would bring in weights beside them.
NOT_OPTIONS = ("in_chans", "num_classes", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path")


class Data(Section):
    """A data set and how its training images are varied."""

    name: PointedName
    root: Place | None
    hub: Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?$", max_length=200)] | None
    mini: Count | None
    storage: Literal["memory", "files"]
    recipe: Literal["timm", "authors"]
    statistics: Literal["images", "model"]
    pixels: Annotated[Whole, Field(ge=8, le=4096)]
    channels: Annotated[Literal[1, 3], Integer]
    max_megapixels: Annotated[Number, Field(gt=0, le=10_000)]
    test_share: Part
    shift: Annotated[Whole, Field(ge=0, le=4096)]
    flip: Switch

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = []
        if self.root is None and self.hub is None and self.name not in PACKAGED:
            problems.append(
                f"root = null: a folder of images is needed, or hub: a Hugging Face data set; without both, name can "
                f"be {', '.join(PACKAGED)} only, not {self.name!r}"
            )
        if self.storage == "memory" and self.recipe == "authors":
            problems.append("recipe = authors: is for storage: files; allowed with storage: memory: timm")
        if self.storage == "files" and self.statistics == "images":
            problems.append("statistics = images: is for storage: memory; allowed with storage: files: model")
        if self.storage == "files" and self.shift:
            problems.append(f"shift = {self.shift}: is for storage: memory; allowed with storage: files: 0")
        if self.shift >= self.pixels:
            problems.append(f"shift = {self.shift}: shifts pictures out of sight; allowed: below pixels, {self.pixels}")
        if problems:
            raise ValueError(*problems)
        return self


class Stem(Section):
    """A first convolution in place of the model's own, and whether the max-pool behind it stays."""

    kernel: Annotated[Literal[1, 3, 5, 7], Integer]
    stride: Annotated[Whole, Field(ge=1, le=64)]
    pool: Switch


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Values that settings.json can hold, and no second way to set what is a setting already."""
    for name in NOT_OPTIONS:
        if name in options:
            raise ValueError(f"{name} is no option; allowed: other arguments of timm.create_model")

    def walk(value: Any) -> None:
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"holds {value}; only finite numbers are allowed")
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
            walk(each)

    walk(options)
    return options


class Model(Section):
    """A timm image classifier and where its weights come from.

    num_classes: None for as many as the images have.
    """

    name: PointedName
    module: Place | None
    in_chans: Count
    num_classes: Annotated[Whole, Field(ge=2, le=1_000_000)] | None
    stem: Stem | None
    checkpoint: Text | None
    pretrained: Switch
    options: Annotated[dict[str, Any], AfterValidator(_plain)]

    @property
    def outputs(self) -> int:
        """How many classes the network tells apart, known once `Settings.for_classes` has been told."""
        if self.num_classes is None:
            raise ValueError("model.num_classes is null: Settings.for_classes says how many there are")
        return self.num_classes

    def without_weights(self) -> Model:
        """The same network, to be given its weights by the caller."""
        return self.model_copy(update={"pretrained": False, "checkpoint": None})


class Pretrain(Section):
    """Training of a baseline from scratch."""

    from_weights: Switch
    if_unreachable: Literal["stop", "train"]
    epochs: Epochs
    batch_size: BatchSize
    lr: Positive
    weight_decay: NotNegative
    ema: Decay


class Finetune(Section):
    """Training in a round of fixing (method, section 8)."""

    epochs: Annotated[Whole, Field(ge=0, le=100_000)]
    batch_size: BatchSize
    optimizer: Literal["adam", "sgd"]
    lr: Positive
    momentum: Decay
    weight_decay: NotNegative
    clip_norm: Positive
    ema: Decay


class Quantise(Section):
    """Training of the networks that WFN is compared with: images per batch, rates, the SGD of APoT and LSQ.

    rates: learning rates by method; those that it does not name have `lr` if they train by SGD, else `finetune.lr`.
    """

    batch_size: BatchSize
    lr: Positive
    rates: dict[str, Positive]
    momentum: Decay
    weight_decay: NotNegative
