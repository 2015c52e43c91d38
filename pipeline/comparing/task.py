"""What a method of quantisation is given, and what it gives back.

A method is a module of pipeline/quantisers with two names: `BITS`, the widths that it knows (None where it has no
width), and `quantise(task) -> Outcome`, which changes the task's model in place. Nothing else has to be told about it:
a line under `baselines.quantisers` in params.yaml asks for it by the module's name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, cast

import torch
from lightning_fabric import Fabric
from torch import nn

from pipeline import methods as quantisers
from pipeline.base.errors import InputError
from pipeline.base.settings import Quantiser, Settings
from pipeline.data.dataset import Dataset
from pipeline.methods import check_method
from pipeline.training.device import set_up
from pipeline.training.loop import Epoch, Plan, train


@dataclass(frozen=True)
class Outcome:
    """What became of the model.

    epochs: one row per epoch trained. shared: names of the parameters that share a codebook, one group per codebook.
    activation_bits: width of the activations; None where they stay float.
    """

    epochs: Sequence[Epoch]
    shared: Sequence[Sequence[str]]
    activation_bits: int | None = None


class Method(Protocol):
    """A module of pipeline/quantisers."""

    BITS: range | None

    def quantise(self, task: Task) -> Outcome:
        """Quantise the task's model in place, trained for as many epochs as the task allows."""


@dataclass(frozen=True)
class Task:
    """A trained network to quantise, with all that may be needed for it. `quantiser` says what is asked for."""

    fabric: Fabric
    model: nn.Module
    dataset: Dataset
    settings: Settings
    quantiser: Quantiser
    generator: torch.Generator
    on_epoch: Callable[[int, Epoch], None]

    @property
    def bits(self) -> int:
        """The width asked for, of a method that has one (`find` has checked it)."""
        assert self.quantiser.bits is not None
        return self.quantiser.bits

    @cached_property
    def network(self) -> nn.Module:
        """The model as the fabric runs it; set up at first use, when the method has put in what it trains."""
        return set_up(self.fabric, self.model, self.settings.hardware)

    def sgd(self, parameters: Iterable[nn.Parameter] | list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Stochastic gradient descent over parameters, or groups of them, as the profile's `quantise` says."""
        chosen = self.settings.quantise
        return torch.optim.SGD(parameters, lr=chosen.lr, momentum=chosen.momentum, weight_decay=chosen.weight_decay)

    def train(
        self,
        optimizer: torch.optim.Optimizer,
        epochs: int,
        first_epoch: int = 0,
        before_step: Callable[[], None] = lambda: None,
        after_step: Callable[[], None] = lambda: None,
    ) -> list[Epoch]:
        """Train with `optimizer`, its learning rates falling to zero along a cosine; one row per epoch."""
        batch_size = self.settings.quantise.batch_size
        steps = epochs * self.dataset.batch_count(batch_size)
        plan = Plan(
            self.quantiser.method,
            epochs,
            batch_size,
            optimizer,
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, steps)),
            self.settings.hardware.accumulate,
            first_epoch,
            before_step=before_step,
            after_step=after_step,
        )
        return train(self.fabric, self.network, self.dataset, plan, self.generator, self.on_epoch)


def find(name: str, quantiser: Quantiser) -> Method:
    """The method that `quantiser`, called `name` in params.yaml, asks for.

    Raises InputError for an unknown method, a width that it does not know, or a package that it lacks.
    """
    key = f"baselines.quantisers.{name}"
    check_method(name, quantiser)
    try:
        method = cast(Method, importlib.import_module(f"{quantisers.__name__}.{quantiser.method}"))
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        hint = "; `uv sync --extra peers` installs it" if package == "coremltools" else ""
        raise InputError(f"{key}.method = {quantiser.method!r}: needs the package {package}{hint}") from error
    missing = [part for part in ("BITS", "quantise") if not hasattr(method, part)]
    if missing:
        raise InputError(f"{key}.method = {quantiser.method!r}: its module lacks {missing[0]}")
    if method.BITS is None and quantiser.bits is not None:
        raise InputError(f"{key}.bits = {quantiser.bits}: {quantiser.method} has no width; allowed: no bits at all")
    if method.BITS is not None and quantiser.bits not in method.BITS:
        raise InputError(f"{key}.bits = {quantiser.bits}: allowed for {quantiser.method}: {span(method.BITS)}")
    return method


def span(widths: range) -> str:
    """A range for people: "2 to 5"."""
    return f"{widths.start} to {widths.stop - 1}"
