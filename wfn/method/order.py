"""Watches that a training step keeps its order: backward, then `pull_`, then what changes gradients, then the step."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import OptState
from torch.utils.hooks import RemovableHandle

from wfn.method.processes import several_processes

ORDER = "the order is: loss.backward(), with a GradScaler scaler.unscale_(optimizer), pull_(loss), clipping, step()"


class StepOrder:
    """What has happened since the last step of the optimiser, seen through hooks on the parameters.

    Every change of a tensor raises its version number, so the versions tell whether gradients were changed after the
    last backward pass. With several processes their averaging changes gradients as well: nothing can be told then.
    """

    def __init__(self) -> None:
        # Weak, as this is hung on them: a model that is dropped goes at once.
        self._parameters: WeakValueDictionary[int, nn.Parameter] = WeakValueDictionary()
        self._hooks: list[RemovableHandle] = []
        self._versions: dict[int, int] = {}
        self._waiting = False  # gradients have come that `pull_` has not seen
        self._pulled = False  # those known are of before the last `pull_`
        # A GradScaler is met when it makes its first step; whether it has unscaled an optimiser is known from then on.
        self._scalers: WeakKeyDictionary[torch.optim.Optimizer, ref[torch.amp.GradScaler]] = WeakKeyDictionary()

    def watch(self, parameters: Iterable[nn.Parameter], *, late: bool = False) -> None:
        """Watch these, which want gradients, from now on. late: gradients that are already there count as new."""
        for parameter in parameters:
            if id(parameter) not in self._parameters:
                self._parameters[id(parameter)] = parameter
                self._hooks.append(parameter.register_post_accumulate_grad_hook(self._arrived))
                if late and parameter.grad is not None:
                    self._arrived(parameter)

    def release(self) -> None:
        """Watch none of them any more."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._parameters.clear()

    def _arrived(self, parameter: Tensor) -> None:
        if self._pulled:
            self._versions.clear()
        self._waiting, self._pulled = True, False
        if parameter.grad is not None:
            self._versions[id(parameter)] = parameter.grad._version

    def pulling(self) -> None:
        """`pull_` begins. Raises RuntimeError unless there are new gradients, unscaled and as backward left them."""
        if not self._waiting:
            raise RuntimeError(f"pull_: there are no new gradients; {ORDER}")
        known = [(scaler, of) for of, known in self._scalers.items() if (scaler := known()) is not None]
        if any(self._has_arrived_at(of) and not _has_unscaled(scaler, of) for scaler, of in known):
            raise RuntimeError(f"pull_: the gradients are still scaled; {ORDER}")
        gradients = [(key, each.grad) for key, each in self._parameters.items() if each.grad is not None]
        changed = any(grad._version != self._versions.get(key, grad._version) for key, grad in gradients)
        if changed and not several_processes():
            raise RuntimeError(f"pull_: the gradients have been changed since loss.backward(); {ORDER}")
        self._waiting, self._pulled = False, True

    def stepping(self, optimizer: torch.optim.Optimizer, pulls: bool) -> None:
        """The optimiser is about to step. Raises RuntimeError where it does so without the pull that it should have."""
        self.check_pulled(pulls)
        scaler = _stepping_scaler()
        if scaler is None:
            self._scalers.pop(optimizer, None)
        else:
            self._scalers[optimizer] = ref(scaler)

    def check_pulled(self, pulls: bool) -> None:
        """Raise RuntimeError where gradients wait for a pull. pulls: whether there is one in this round."""
        if pulls and self._waiting:
            raise RuntimeError(f"step: gradients have come since the last pull_; {ORDER}")

    def _has_arrived_at(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether gradients have come for an optimiser since the last step."""
        return any(id(parameter) in self._versions for group in optimizer.param_groups for parameter in group["params"])

    def stepped(self) -> None:
        """The optimiser has stepped."""
        self._waiting = False
        self._versions.clear()

    def forget_scalers(self) -> None:
        """Another optimiser takes over."""
        self._scalers.clear()


def _stepping_scaler() -> torch.amp.GradScaler | None:
    """The GradScaler that makes this step, if one does; an optimiser is not told."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code is torch.amp.GradScaler.step.__code__:
            scaler: torch.amp.GradScaler = frame.f_locals["self"]
            return scaler if scaler.is_enabled() else None
    return None


def _has_unscaled(scaler: torch.amp.GradScaler, optimizer: torch.optim.Optimizer) -> bool:
    return bool(scaler._per_optimizer_states[id(optimizer)]["stage"] is OptState.UNSCALED)
