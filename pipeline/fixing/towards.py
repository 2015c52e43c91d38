"""The training of one round: towards the centres of the clustering pass before it (method, sections 7 and 8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from pipeline.base.settings import Settings
from pipeline.data.dataset import Dataset
from pipeline.data.images import Images
from pipeline.network.parameters import trainable_besides
from pipeline.training.averaging import Average
from pipeline.training.device import backward, share_of, unwrapped
from pipeline.training.loop import finite, optimizer_for
from pipeline.watching.progress import Steps
from wfn.free import FreeWeights
from wfn.regulariser import Regulariser

Losses = dict[str, float | None]
NO_LOSSES: Losses = {"loss": None, "regulariser": None}


class Fixed(NamedTuple):
    """What the latest clustering pass left: which weights are fixed, bool [N], and the centres [k]."""

    fixed: Tensor
    centres: Tensor


class Training:
    """The training of one round, with a fresh optimiser, epoch by epoch; `finish` ends it.

    The loss is CE + a * L_reg with a = alpha * CE / L_reg, held constant: the regulariser always weighs alpha times the
    task loss (method, section 7).
    """

    def __init__(
        self, fabric: Fabric, network: nn.Module, parameters: list[nn.Parameter], latest: Fixed, settings: Settings
    ) -> None:
        self._fabric, self._network, self._settings = fabric, network, settings
        self._free = FreeWeights(parameters, latest.fixed)
        self._trained = [self._free.values, *trainable_besides(network, parameters)]
        self._optimizer = optimizer_for(self._trained, settings.finetune)
        self._regulariser = _regulariser(latest.centres, settings)
        self._losses: list[Tensor] = []
        ema = settings.finetune.ema
        self._average = Average(unwrapped(network), ema) if ema else None
        self.epochs = 0
        self.seconds = 0.0

    def state(self) -> dict[str, Any]:
        """For a checkpoint; `resume` takes it."""
        return {
            "epochs": self.epochs,
            "seconds": self.seconds,
            "optimizer": self._optimizer.state_dict(),
            "losses": torch.stack(self._losses),
            "average": self._average.state() if self._average else None,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken; the network must be as it was then."""
        self.epochs, self.seconds = state["epochs"], state["seconds"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._losses = list(state["losses"].to(self._free.values.device))
        if self._average:
            self._average.resume(state["average"])

    def epoch(self, dataset: Dataset, generator: torch.Generator, progress: Steps) -> None:
        """Train over all images once."""
        share, size = share_of(self._fabric), self._settings.finetune.batch_size
        self._network.train()
        for batch in dataset.training_batches(size, generator, share):
            self._step(batch)
            progress.advance()
        self.epochs += 1

    def _step(self, batch: Images) -> None:
        free = self._free
        self._network.zero_grad()
        task = backward(self._fabric, self._network, batch, self._settings.hardware.accumulate)
        free.pull_gradients_()
        pull = torch.zeros_like(task)
        if self._regulariser is not None:
            alpha = self._settings.alpha
            pull = self._regulariser.add_pull_(free.gradients, free.values.detach(), task_loss=task, alpha=alpha)
        nn.utils.clip_grad_norm_(self._trained, self._settings.finetune.clip_norm)
        self._optimizer.step()
        free.push_values_()
        if self._average:
            self._average.update()
        self._losses.append(torch.stack([task, pull]))

    def finish(self) -> Losses:
        """Leave the network as it is to be clustered; mean losses over all steps, None for one that there was not."""
        if self._average:
            self._average.install_()
        if not self._losses:
            return NO_LOSSES
        task, pull = (finite(mean, "fix") for mean in torch.stack(self._losses).mean(dim=0))
        return {"loss": task, "regulariser": pull if self._regulariser else None}


def _regulariser(centres: Tensor, settings: Settings) -> Regulariser | None:
    if settings.alpha == 0:
        return None
    return Regulariser(
        centres,
        zero_threshold=settings.fixing.zero_threshold,
        temperature=settings.fixing.temperature,
        distance=settings.fixing.distance,
    )
