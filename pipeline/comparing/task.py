"""What a method of quantisation is given, and what it gives back.

A method is a module of pipeline/methods with two names: `BITS`, the widths that it knows (None where it has no width),
and `quantise(task) -> Outcome`, which changes the task's model in place. Nothing else has to be told about it: a line
under `baselines.quantisers` in params.yaml asks for it by the module's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pipeline.base.settings import Quantiser, Settings
from pipeline.data.dataset import Dataset
from pipeline.training.loop import Plan, optimizer_for, train
from pipeline.training.work import Work


@dataclass(frozen=True)
class Outcome:
    """What became of the model.

    shared: names of the parameters that share a codebook, one group per codebook. activation_bits: width of the
    activations; None where they stay float.
    """

    shared: Sequence[Sequence[str]]
    activation_bits: int | None = None


class Method(Protocol):
    """A module of pipeline/methods."""

    BITS: range | None

    def quantise(self, task: Task) -> Outcome:
        """Quantise the task's model in place, trained for as many epochs as the task allows."""


@dataclass(frozen=True)
class Task:
    """A trained network to quantise, with all that may be needed for it. `quantiser` says what is asked for."""

    work: Work
    quantiser: Quantiser

    @property
    def model(self) -> nn.Module:
        """The network, as it is to be changed."""
        return self.work.model

    @property
    def dataset(self) -> Dataset:
        """The images."""
        return self.work.dataset

    @property
    def settings(self) -> Settings:
        """All settings."""
        return self.work.settings

    @property
    def bits(self) -> int:
        """The width asked for, of a method that has one (`find_method` has checked it)."""
        assert self.quantiser.bits is not None
        return self.quantiser.bits

    @property
    def rate(self) -> float | None:
        """The learning rate of this method, where the profile has one for it."""
        return self.settings.quantise.rates.get(self.quantiser.method)

    @property
    def sgd_rate(self) -> float:
        """The learning rate of this method where it trains by SGD."""
        return self.rate or self.settings.quantise.lr

    def sgd(self, parameters: Iterable[nn.Parameter] | list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Stochastic gradient descent over parameters, or groups of them, as the profile's `quantise` says."""
        chosen = self.settings.quantise
        return torch.optim.SGD(parameters, lr=self.sgd_rate, momentum=chosen.momentum, weight_decay=chosen.weight_decay)

    def as_fixing_trains(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of the rounds of fixing over `parameters`, at the rate of this method if it has one."""
        chosen = self.settings.finetune
        return optimizer_for(parameters, chosen.model_copy(update={"lr": self.rate or chosen.lr}))

    def train(
        self,
        optimizer: torch.optim.Optimizer,
        epochs: int,
        title: str = "",
        before_step: Callable[[Tensor], Mapping[str, Tensor]] = lambda _: {},
        after_step: Callable[[], None] = lambda: None,
    ) -> None:
        """Train with `optimizer`, its learning rates falling to zero along a cosine.

        title: the method's name if there is none; a method that trains more than once needs different ones.
        """
        batch_size = self.settings.quantise.batch_size
        steps = epochs * self.dataset.batch_count(batch_size)
        plan = Plan(
            title or self.quantiser.method,
            f"quantise.rates.{self.quantiser.method}",
            epochs,
            batch_size,
            optimizer,
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, steps)),
            before_step=before_step,
            after_step=after_step,
        )
        train(self.work, plan)
