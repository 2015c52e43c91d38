"""The sections of params.yaml, whose comments say what each setting is for."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.base.settings.allowed import (
    AsWritten,
    Budget,
    Distinct,
    DistinctLines,
    Epochs,
    Few,
    Fractions,
    Name,
    NotNegative,
    OtherSeed,
    Part,
    PointedName,
    Positive,
    Processes,
    Repeat,
    Section,
    Switch,
    Threads,
    Whole,
)

Bits = Annotated[Whole, Field(ge=1, le=32)]


class Fixing(Section):
    """How weights are fixed (method, sections 3 to 7)."""

    fractions: Fractions
    clustering: Literal["recluster", "incremental"]
    distance: Literal["relative", "euclidean"]
    zero_threshold: Part
    temperature: Positive
    parameters: Literal["layers", "all"]
    fix_batch_norm: Switch


class Variant(Section):
    """What makes one more fixed network; everything else is as for `fix`."""

    delta: Budget
    alpha: NotNegative
    # None: those of `fixing`.
    fractions: Fractions | None = None
    repeat: Repeat

    @model_validator(mode="after")
    def _pulls_while_it_trains(self) -> Self:
        if self.alpha and self.fractions and len(self.fractions) == 1:
            raise ValueError(f"alpha = {self.alpha}: nothing is trained in a single round; allowed: 0.0")
        return self


class Grid(Section):
    """The settings that `sweep` covers: every delta with every alpha, each with every repeat."""

    delta: Annotated[tuple[Annotated[Budget, AsWritten], ...], Few, Distinct]
    alpha: Annotated[tuple[Annotated[NotNegative, AsWritten], ...], Few, Distinct]
    repeats: Annotated[tuple[Repeat, ...], Few, Distinct]

    @property
    def networks(self) -> int:
        """How many it has."""
        return len(self.delta) * len(self.alpha) * len(self.repeats)


class Explore(Section):
    """What `explore` covers, on a network of its own in rounds of its own: every delta with every alpha and repeat.

    ablations: changes to `fixing`, by name, each with every delta and repeat at the alpha of `fix`.
    """

    model: PointedName
    fractions: Fractions
    epochs: Epochs
    delta: Annotated[tuple[Budget, ...], Few, Distinct]
    alpha: Annotated[tuple[NotNegative, ...], Few, Distinct]
    repeats: Annotated[tuple[Repeat, ...], Few, Distinct]
    ablations: Annotated[dict[Name, dict[str, Any]], Few, DistinctLines]

    @property
    def networks(self) -> int:
        """How many it has, beside its baseline."""
        return len(self.delta) * (len(self.alpha) + len(self.ablations)) * len(self.repeats)


class Quantiser(Section):
    """One network of the comparison: a module of pipeline/methods and what it is asked for."""

    method: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    # Width of a weight; for the methods that have one.
    bits: Bits | None = None
    repeat: Repeat


class Apot(Section):
    """Choices of the APoT baseline (docs/baselines.md)."""

    activations: Switch
    recipe: Literal["imagenet", "cifar"]


class Baselines(Section):
    """What WFN is compared with."""

    quantisers: Annotated[dict[Name, Quantiser], Few, DistinctLines]
    apot: Apot


class Hardware(Section):
    """Where and in which precision training runs."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["32-true", "bf16-mixed"]
    devices: Processes
    nodes: Processes
    threads: Threads
    accumulate: Annotated[Whole, Field(ge=1, le=1_000_000)]
    channels_last: Switch
    compile: Switch
    workers: Annotated[Whole, Field(ge=0, le=1024)]

    @property
    def processes(self) -> int:
        """Processes that share every batch."""
        return self.devices * self.nodes


class Rates(Section):
    """How learning rates are chosen (`stages/rates.py`): on images kept from the training images, with another seed."""

    validation_share: Part
    repeat: OtherSeed
    grid: Annotated[tuple[Positive, ...], Field(min_length=1), Few, Distinct]
