"""What the settings say of one stage: its own settings, and those that decide what it writes."""

from __future__ import annotations

import itertools
from typing import Any

from pipeline.base.errors import InputError
from pipeline.base.settings.everything import Everything
from pipeline.base.settings.params import Fixing, Quantiser

# Settings of `fixing` that the baselines share: what is quantised.
FIXING_OF_BASELINES = {"parameters", "fix_batch_norm"}


class Settings(Everything):
    """Everything that decides a result, and each stage's part of it."""

    def for_classes(self, count: int) -> Settings:
        """The settings for images of so many classes, which model.num_classes is where it says null.

        Raises InputError where a null would be one class only.
        """
        if self.model.num_classes is not None:
            return self
        if count < 2:
            raise InputError(f"model.num_classes = null: the images have {count} class; at least 2 are needed")
        return self.model_copy(update={"model": self.model.model_copy(update={"num_classes": count})})

    def repeated(self, repeat: int) -> Settings:
        """The same settings with the seed of a repeat."""
        return self.model_copy(update={"seed": self.seed + repeat})

    def for_stage(self, stage: str) -> Settings:
        """The settings of a stage of dvc.yaml that makes one network: "fix", "baselines@1", "sweep@0.015-0.4-2".

        Raises InputError for a repeat, a cell, a variant or a quantiser that params.yaml does not have.
        """
        kind, _, cell = stage.partition("@")
        if kind == "variants":
            return self.for_variant(cell)
        if kind == "quantise":
            return self.for_quantiser(cell)[0]
        cells = {"baselines": self._repeats(), "repeats": self._repeats(), "sweep": self.swept()}.get(kind)
        if cells is None:
            return self
        if cell not in cells:
            raise InputError(f"{kind} has no {cell!r}; allowed: {', '.join(cells) or 'none are set'}")
        return cells[cell]

    def _repeats(self) -> dict[str, Settings]:
        return {str(repeat): self.repeated(repeat) for repeat in self.repeats}

    def swept(self) -> dict[str, Settings]:
        """The settings of every cell of `sweep`, by its name in dvc.yaml."""
        grid = self.grid
        return {
            f"{delta!r}-{alpha!r}-{repeat}": self._with(delta, alpha, repeat)
            for delta, alpha, repeat in itertools.product(grid.delta, grid.alpha, grid.repeats)
        }

    def _with(self, delta: float, alpha: float, repeat: int, fixing: Fixing | None = None) -> Settings:
        update = {"delta": delta, "alpha": alpha, "fixing": fixing or self.fixing}
        return self.repeated(repeat).model_copy(update=update)

    def for_quantiser(self, name: str) -> tuple[Settings, Quantiser]:
        """What `baselines.quantisers` has under this name, and the settings with its seed.

        Raises InputError for a name that it does not have.
        """
        known = self.baselines.quantisers
        if name not in known:
            raise InputError(f"baselines.quantisers has no {name!r}; allowed: {', '.join(known) or 'none are set'}")
        return self.repeated(known[name].repeat), known[name]

    def for_variant(self, name: str) -> Settings:
        """The settings with what `variants` has under this name.

        Raises InputError for a name that it does not have.
        """
        if name not in self.variants:
            raise InputError(f"variants has no {name!r}; allowed: {', '.join(self.variants) or 'none are set'}")
        chosen = self.variants[name]
        fixing = self.fixing.model_copy(update={"fractions": chosen.fractions or self.fixing.fractions})
        return self._with(chosen.delta, chosen.alpha, chosen.repeat, fixing)

    def for_explore(self) -> Settings:
        """The settings with the network, the rounds and the epochs of `explore`."""
        model: dict[str, Any] = {
            "name": self.explore.model,
            "checkpoint": None,
            "pretrained": False,
            "stem": None,
            "options": {},
        }
        update = {
            "model": self.model.model_copy(update=model),
            "fixing": self.fixing.model_copy(update={"fractions": self.explore.fractions}),
            "finetune": self.finetune.model_copy(update={"epochs": self.explore.epochs}),
        }
        return self.model_copy(update=update)

    def explore_baselines(self) -> dict[str, Settings]:
        """The settings of every baseline of `explore`, by the name of its folder."""
        return {f"baseline_repeat-{repeat}": self.for_explore().repeated(repeat) for repeat in self.explore.repeats}

    def explored(self) -> dict[str, Settings]:
        """The settings of every network that `explore` fixes, by the name of its folder."""
        grid, small = self.explore, self.for_explore()
        cells = [("", delta, alpha, small.fixing) for delta in grid.delta for alpha in grid.alpha]
        for name, changes in grid.ablations.items():
            cells += [(f"{name}_", delta, self.alpha, self.ablated(changes)) for delta in grid.delta]
        return {
            f"{prefix}delta-{delta:g}_alpha-{alpha:g}_repeat-{repeat}": small._with(delta, alpha, repeat, fixing)
            for prefix, delta, alpha, fixing in cells
            for repeat in grid.repeats
        }

    def idle_ablations(self) -> list[str]:
        """Ablations of `explore` that change nothing: their networks would be others of it once more."""
        same = self.for_explore().fixing
        return [
            f"explore.ablations.{name} changes nothing: `fixing` is so already; allowed: other values, or no such line"
            for name, changes in self.explore.ablations.items()
            if self.ablated(changes) == same
        ]

    def of_baseline(self) -> dict[str, Any]:
        """The settings that decide the baseline, for its settings.json."""
        return self.model_dump(mode="json", include={"profile", "seed", "hardware", "data", "model", "pretrain"})

    def of_fixing(self) -> dict[str, Any]:
        """The settings that decide a fixed network, for its settings.json."""
        return self.of_baseline() | self.model_dump(mode="json", include={"delta", "alpha", "fixing", "finetune"})

    def of_quantiser(self, quantiser: Quantiser) -> dict[str, Any]:
        """The settings that decide one network of the comparison, for its settings.json."""
        fixing = self.fixing.model_dump(mode="json", include=FIXING_OF_BASELINES)
        return {
            **self.of_baseline(),
            **quantiser.model_dump(mode="json", exclude={"repeat"}),
            **self.model_dump(mode="json", include={"finetune", "quantise"}),
            "apot": self.baselines.apot.model_dump(mode="json"),
            "fixing": fixing,
            "epochs": self.training_epochs,
        }
