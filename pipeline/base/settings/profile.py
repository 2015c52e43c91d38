"""The sections of a profile: a data set, a network, its training (profiles/mnist5k.yaml has comments on each key)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.base.settings.allowed import Count, Decay, NotNegative, Positive, Section

# Data sets that a package of ours carries.
PACKAGED = ("mnist5k",)


class Data(Section):
    """A data set and how its training images are varied."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    root: Path | None
    hub: str | None
    mini: Count | None
    storage: Literal["memory", "files"]
    recipe: Literal["timm", "authors"]
    statistics: Literal["images", "model"]
    pixels: Annotated[int, Field(ge=8)]
    channels: Literal[1, 3]
    max_megapixels: Annotated[float, Field(gt=0, le=10_000)]
    test_share: Annotated[float, Field(gt=0, lt=1)]
    shift: Annotated[int, Field(ge=0)]
    flip: bool

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if self.root is None and self.hub is None and self.name not in PACKAGED:
            raise ValueError(
                f"root = null: a folder of images is needed, or hub: a Hugging Face data set; without both, name can "
                f"be {', '.join(PACKAGED)} only, not {self.name!r}"
            )
        return self

    @model_validator(mode="after")
    def _recipe_is_for_files(self) -> Self:
        if self.recipe == "authors" and self.storage == "memory":
            raise ValueError("recipe = authors: is for storage: files; allowed with storage: memory: timm")
        return self


class Stem(Section):
    """A first convolution in place of the model's own, and whether the max-pool behind it stays."""

    kernel: Literal[1, 3, 5, 7]
    stride: Count
    pool: bool


class Model(Section):
    """A timm image classifier and where its weights come from.

    num_classes: None for as many as the images have.
    """

    name: str
    module: Path | None
    in_chans: Count
    num_classes: Annotated[int, Field(ge=2)] | None
    stem: Stem | None
    checkpoint: str | None
    pretrained: bool
    options: dict[str, Any]

    def without_weights(self) -> Model:
        """The same network, to be given its weights by the caller."""
        return self.model_copy(update={"pretrained": False, "checkpoint": None})


class Pretrain(Section):
    """Training of a baseline from scratch."""

    from_weights: bool
    if_unreachable: Literal["stop", "train"]
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    lr: Positive
    weight_decay: NotNegative
    ema: Decay


class Finetune(Section):
    """Training in a round of fixing (method, section 8)."""

    epochs: Annotated[int, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=2)]
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

    batch_size: Annotated[int, Field(ge=2)]
    lr: Positive
    rates: dict[str, Positive]
    momentum: Decay
    weight_decay: NotNegative
