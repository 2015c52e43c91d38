"""The network as it was before a training lost it: kept in memory, written once an epoch ends in NaN or infinity."""

from __future__ import annotations

import re

import safetensors.torch
import torch
from torch import Tensor, nn

from pipeline.base.results import repository
from pipeline.training.checkpoint import why
from pipeline.training.device import summed, unwrapped
from pipeline.training.work import Work

FILE = "last-good.safetensors"
# What torch calls the float weight under a quantised one.
ORIGINAL = re.compile(r"parametrizations\.(\w+)\.original$")


class LastGood:
    """The weights and statistics of a work's network when they were last `take`n and finite, on the CPU.

    They have the names that the network had when the work began, whatever a method has wrapped around its weights
    since, so that `model.checkpoint` can name the file.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._state = _plain_state(unwrapped(work.network), work.names)
        self._finite = [name for name, tensor in self._state.items() if tensor.isfinite().all()]  # not so: some masks

    def take(self) -> bool:
        """Keep the network as it is now, if all that was finite still is, in every process; returns whether it is."""
        state = _plain_state(unwrapped(self._work.network), self._work.names)
        bad = torch.tensor(sum(not state[name].isfinite().all() for name in self._finite))
        finite = not int(summed(self._work.fabric, bad))
        self._state = state if finite else self._state
        return finite

    def write(self) -> str:
        """Write what was kept beside the checkpoint, by the first process; says which file of the clone that is."""
        try:
            path = self._work.checkpoint.write(FILE, safetensors.torch.save(self._state))
        except OSError as error:
            return f"cannot be kept ({why(error)})"
        return f"is kept, for model.checkpoint: {path.relative_to(repository())}"


def _plain_state(model: nn.Module, names: frozenset[str]) -> dict[str, Tensor]:
    state = {ORIGINAL.sub(r"\1", name): value for name, value in model.state_dict().items()}
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items() if name in names}
