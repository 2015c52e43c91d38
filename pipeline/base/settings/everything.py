"""All settings together: params.yaml and one profile, checked against each other and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from pipeline.base.errors import InputError
from pipeline.base.settings.allowed import Budget, Count, Name, NotNegative, Section
from pipeline.base.settings.params import Baselines, Explore, Fixing, Grid, Hardware, Rates, Variant
from pipeline.base.settings.problems import checked
from pipeline.base.settings.profile import Data, Finetune, Model, Pretrain, Quantise


class Everything(Section):
    """Everything that decides a result."""

    profile: str
    seed: Annotated[int, Field(ge=0)]
    delta: Budget
    alpha: NotNegative
    fixing: Fixing
    grid: Grid
    explore: Explore
    repeats: tuple[Count, ...]
    variants: dict[Name, Variant]
    baselines: Baselines
    rates: Rates
    hardware: Hardware
    data: Data
    model: Model
    pretrain: Pretrain
    finetune: Finetune
    quantise: Quantise

    @model_validator(mode="after")
    def _model_takes_the_images(self) -> Self:
        if self.model.in_chans != self.data.channels:
            raise ValueError(f"model.in_chans = {self.model.in_chans}: must equal data.channels = {self.data.channels}")
        return self

    @model_validator(mode="after")
    def _first_budget_below_one(self) -> Self:
        grids = ("delta", (self.delta,)), ("grid.delta", self.grid.delta)
        budgets = [(key, delta, self.fixing.fractions) for key, deltas in grids for delta in deltas]
        budgets += [("explore.delta", delta, self.explore.fractions) for delta in self.explore.delta]
        budgets += [
            (f"variants.{name}.delta", each.delta, each.fractions or self.fixing.fractions)
            for name, each in self.variants.items()
        ]
        for key, delta, fractions in budgets:
            rounds = len(fractions)
            if delta * rounds >= 1:
                raise ValueError(
                    f"{key} = {delta}: with {rounds} rounds the first budget is {delta * rounds:g}; "
                    f"allowed: below {1 / rounds:g}"
                )
        return self

    @model_validator(mode="after")
    def _batches_can_be_shared(self) -> Self:
        for key in ("pretrain", "finetune", "quantise"):
            size, shares = getattr(self, key).batch_size, self.hardware.processes * self.hardware.accumulate
            if size % shares:
                raise ValueError(
                    f"{key}.batch_size = {size}: hardware asks for {shares} equal parts "
                    "(devices x nodes x accumulate); allowed: multiples of that"
                )
        return self

    @property
    def trains_the_baseline(self) -> bool:
        """Whether the baseline is trained here; otherwise its given weights are taken as they are."""
        given = self.model.pretrained or self.model.checkpoint is not None
        return self.pretrain.from_weights or not given

    @property
    def training_epochs(self) -> int:
        """Epochs that fixing trains in all rounds together; every baseline gets as many."""
        return (len(self.fixing.fractions) - 1) * self.finetune.epochs

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """The same settings with other values, by dotted key ("fixing.fix_batch_norm"), checked again.

        Raises InputError for a key or a value that is not allowed.
        """
        values = self.model_dump()
        for key, value in changes.items():
            section = values
            *parents, last = key.split(".")
            for parent in parents:
                section = section.setdefault(parent, {})
                if not isinstance(section, dict):
                    raise InputError(f"{key} is not a setting; {parent} has no parts")
            section[last] = value
        return checked(type(self), values, ", ".join(f"{key} changed" for key in changes))
