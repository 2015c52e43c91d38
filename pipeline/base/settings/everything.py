"""All settings together: params.yaml and one profile, checked against each other and frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, Self

from pydantic import ValidationError, model_validator

from pipeline.base.errors import InputError
from pipeline.base.settings.allowed import (
    MOST,
    Budget,
    Distinct,
    DistinctLines,
    Few,
    Name,
    NotNegative,
    OtherSeed,
    Section,
    Seed,
)
from pipeline.base.settings.params import Baselines, Explore, Fixing, Grid, Hardware, Quantiser, Rates, Variant
from pipeline.base.settings.problems import checked, problems
from pipeline.base.settings.profile import Data, Finetune, Model, Pretrain, Quantise

SMALL = 32  # pixels, height and width: images that gain little from a second thread (docs/budgets.md)


class Everything(Section):
    """Everything that decides a result."""

    profile: Name
    seed: Seed
    delta: Budget
    alpha: NotNegative
    fixing: Fixing
    grid: Grid
    explore: Explore
    repeats: Annotated[tuple[OtherSeed, ...], Few, Distinct]
    variants: Annotated[dict[Name, Variant], Few, DistinctLines]
    baselines: Baselines
    rates: Rates
    hardware: Hardware
    data: Data
    model: Model
    pretrain: Pretrain
    finetune: Finetune
    quantise: Quantise

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        found = [*self._channels(), *self._networks(), *self._repeats_used(), *self._ablations(), *self._budgets()]
        found += self._batches()
        if found:
            raise ValueError(*found)
        return self

    def _channels(self) -> Iterator[str]:
        if self.model.in_chans != self.data.channels:
            yield f"model.in_chans = {self.model.in_chans}: must equal data.channels = {self.data.channels}"

    def _networks(self) -> Iterator[str]:
        for key, count in (("grid", self.grid.networks), ("explore", self.explore.networks)):
            if count > MOST:
                yield f"{key}: asks for {count:,} networks; allowed: at most {MOST:,}"

    def _repeats_used(self) -> Iterator[str]:
        lines: dict[str, Mapping[str, Variant | Quantiser]] = {
            "variants": self.variants, "baselines.quantisers": self.baselines.quantisers
        }  # fmt: skip
        used = {f"{key}.{name}.repeat": (line.repeat,) for key, named in lines.items() for name, line in named.items()}
        known = (0, *self.repeats)
        for key, repeats in (("grid.repeats", self.grid.repeats), *used.items()):
            unknown = next((repeat for repeat in repeats if repeat not in known), None)
            if unknown is not None:
                allowed = ", ".join(map(str, known))
                yield f"{key}: there is no baseline for repeat {unknown}; allowed: {allowed} (0 and those of `repeats`)"

    def _ablations(self) -> Iterator[str]:
        for name, changes in self.explore.ablations.items():
            try:
                self.ablated(changes)
            except ValidationError as error:
                yield from (f"explore.ablations.{name}.{text}" for text in problems(Fixing, error))

    def _budgets(self) -> Iterator[str]:
        grids = ("delta", (self.delta,)), ("grid.delta", self.grid.delta)
        budgets = [(key, delta, self.fixing.fractions) for key, deltas in grids for delta in deltas]
        budgets += [("explore.delta", delta, self.explore.fractions) for delta in self.explore.delta]
        budgets += [
            (f"variants.{name}.delta", each.delta, each.fractions or self.fixing.fractions)
            for name, each in self.variants.items()
        ]
        for name, changes in self.explore.ablations.items():
            if "fractions" in changes:
                with suppress(ValidationError):  # of which `_ablations` speaks
                    rounds_of = self.ablated(changes).fractions
                    budgets += [(f"explore.ablations.{name}: delta", delta, rounds_of) for delta in self.explore.delta]
        for key, delta, fractions in budgets:
            rounds = len(fractions)
            if delta * rounds >= 1:
                yield (
                    f"{key} = {delta}: with {rounds} rounds the first budget is {delta * rounds:g}; "
                    f"allowed: below {1 / rounds:g}"
                )

    def _batches(self) -> Iterator[str]:
        for key in ("pretrain", "finetune", "quantise"):
            size, shares = getattr(self, key).batch_size, self.hardware.processes * self.hardware.accumulate
            if size % shares:
                yield (
                    f"{key}.batch_size = {size}: hardware asks for {shares} equal parts "
                    "(devices x nodes x accumulate); allowed: multiples of that"
                )

    def ablated(self, changes: Mapping[str, Any]) -> Fixing:
        """How `explore` fixes, with the changes of an ablation. Raises ValidationError for one that is not allowed."""
        return Fixing.model_validate(self.fixing.model_dump() | {"fractions": self.explore.fractions} | dict(changes))

    @property
    def trains_the_baseline(self) -> bool:
        """Whether the baseline is trained here; otherwise its given weights are taken as they are."""
        given = self.model.pretrained or self.model.checkpoint is not None
        return self.pretrain.from_weights or not given

    @property
    def training_epochs(self) -> int:
        """Epochs that fixing trains in all rounds together; every baseline gets as many."""
        return (len(self.fixing.fractions) - 1) * self.finetune.epochs

    @property
    def threads(self) -> int | None:
        """Threads of each process that trains on a CPU; None: as many as torch finds."""
        if self.hardware.threads == "auto":
            return 1 if self.data.pixels <= SMALL else None
        return self.hardware.threads

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
