"""What the settings say of one stage: its own settings, and those that decide what it writes."""

from __future__ import annotations

import itertools
from typing import Any

from pipeline.base.errors import InputError
from pipeline.base.settings.everything import Everything
from pipeline.base.settings.params import Quantiser

# Settings of `fixing` that the baselines share: what is quantised.
FIXING_OF_BASELINES = {"parameters", "fix_batch_norm"}


class Settings(Everything):
    """Everything that decides a result, and each stage's part of it."""

    def repeated(self, repeat: int) -> Settings:
        """The same settings with the seed of a repeat."""
        return self.model_copy(update={"seed": self.seed + repeat})

    def for_stage(self, stage: str) -> Settings:
        """The settings of a stage of dvc.yaml that fixes: "fix", "repeats@1", "sweep@0.015-0.4-2", "variants@one-shot".

        Raises InputError for a repeat, a cell or a variant that params.yaml does not have.
        """
        kind, _, cell = stage.partition("@")
        if kind == "variants":
            return self.for_variant(cell)
        cells = {"repeats": self._repeats(), "sweep": self._sweep()}.get(kind)
        if cells is None:
            return self
        if cell not in cells:
            raise InputError(f"{kind} has no {cell!r}; allowed: {', '.join(cells) or 'none are set'}")
        return self.changed(cells[cell])

    def _repeats(self) -> dict[str, dict[str, Any]]:
        return {str(repeat): {"seed": self.seed + repeat} for repeat in self.repeats}

    def _sweep(self) -> dict[str, dict[str, Any]]:
        grid = self.grid
        return {
            f"{delta!r}-{alpha!r}-{repeat}": {"delta": delta, "alpha": alpha, "seed": self.seed + repeat}
            for delta, alpha, repeat in itertools.product(grid.delta, grid.alpha, grid.repeats)
        }

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
        update = {"delta": chosen.delta, "alpha": chosen.alpha, "fixing": fixing}
        return self.repeated(chosen.repeat).model_copy(update=update)

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

    def explored(self) -> dict[str, Settings]:
        """The settings of every network that `explore` fixes, by the name of its folder.

        Raises InputError for an ablation that changes what `fixing` does not have.
        """
        grid, small = self.explore, self.for_explore()
        cells: list[tuple[str, dict[str, Any]]] = [
            ("", {"delta": delta, "alpha": alpha}) for delta in grid.delta for alpha in grid.alpha
        ]
        for name, changes in grid.ablations.items():
            fixing = {f"fixing.{key}": value for key, value in changes.items()}
            cells += [(f"{name}_", {"delta": delta, "alpha": self.alpha, **fixing}) for delta in grid.delta]
        return {
            f"{prefix}delta-{cell['delta']:g}_alpha-{cell['alpha']:g}_repeat-{repeat}": small.repeated(repeat).changed(
                cell
            )
            for prefix, cell in cells
            for repeat in grid.repeats
        }

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
