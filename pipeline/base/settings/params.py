"""The sections of params.yaml, whose comments say what each setting is for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.base.settings.allowed import (
    AsWritten,
    Budget,
    Count,
    Fractions,
    Name,
    NotNegative,
    Positive,
    Repeat,
    Section,
)


class Fixing(Section):
    """How weights are fixed (method, sections 3 to 7)."""

    fractions: Fractions
    clustering: Literal["recluster", "incremental"]
    distance: Literal["relative", "euclidean"]
    zero_threshold: Annotated[float, Field(gt=0, lt=1)]
    temperature: Positive
    parameters: Literal["layers", "all"]
    fix_batch_norm: bool


class Variant(Section):
    """What makes one more fixed network; everything else is as for `fix`."""

    delta: Budget
    alpha: NotNegative
    # None: those of `fixing`.
    fractions: Fractions | None = None
    repeat: Repeat = 0


class Grid(Section):
    """The settings that `sweep` covers: every delta with every alpha, each with every repeat."""

    delta: tuple[Annotated[Budget, AsWritten], ...]
    alpha: tuple[Annotated[NotNegative, AsWritten], ...]
    repeats: tuple[Repeat, ...]


class Explore(Section):
    """What `explore` covers, on a network of its own in rounds of its own: every delta with every alpha and repeat.

    ablations: changes to `fixing`, by name, each with every delta and repeat at the alpha of `fix`.
    """

    model: str
    fractions: Fractions
    epochs: Count
    delta: tuple[Budget, ...]
    alpha: tuple[NotNegative, ...]
    repeats: tuple[Repeat, ...]
    ablations: dict[Name, dict[str, Any]]


class Quantiser(Section):
    """One network of the comparison: a module of pipeline/methods and what it is asked for."""

    method: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    # Width of a weight; for the methods that have one.
    bits: Count | None = None
    repeat: Repeat = 0


class Apot(Section):
    """Choices of the APoT baseline (docs/baselines.md)."""

    activations: bool
    recipe: Literal["imagenet", "cifar"]


class Baselines(Section):
    """What WFN is compared with."""

    quantisers: dict[Name, Quantiser]
    apot: Apot


class Hardware(Section):
    """Where and in which precision training runs."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["32-true", "bf16-mixed"]
    devices: Count
    nodes: Count
    accumulate: Count
    channels_last: bool
    compile: bool
    workers: Annotated[int, Field(ge=0)]

    @property
    def processes(self) -> int:
        """Processes that share every batch."""
        return self.devices * self.nodes


class Rates(Section):
    """How learning rates are chosen (`stages/rates.py`): on images kept from the training images, with another seed."""

    validation_share: Annotated[float, Field(gt=0, lt=1)]
    repeat: Count
    grid: Annotated[tuple[Positive, ...], Field(min_length=1)]
