"""Hooks around an optimiser's step: fixed weights get no gradient before it, and are at their values after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.utils.hooks import RemovableHandle

from wfn.compiling import uncompiled
from wfn.method.order import StepOrder
from wfn.method.part import Part


def trained(parts: Sequence[Part]) -> list[Part]:
    """Those that want a gradient now; they may be frozen, and set free again, at any time."""
    return [part for part in parts if part.parameter.requires_grad]


def held_by(optimizer: torch.optim.Optimizer, parts: Sequence[Part]) -> list[Part]:
    """Those that an optimiser has now; it may be given more."""
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return [part for part in parts if id(part.parameter) in held]


def check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Raise TypeError for what is no optimiser of torch's kind, ValueError for one that goes up the gradients."""
    if not isinstance(optimizer, torch.optim.Optimizer) or not hasattr(optimizer, "_optimizer_step_pre_hooks"):
        raise TypeError(f"attach: a torch.optim.Optimizer is needed, not {type(optimizer).__name__}")
    _check_descends(optimizer)
    if not getattr(type(optimizer).step, "hooked", False):  # of a class that does not call torch's own __init__
        optimizer._patch_step_function()


class _Watch:
    """Watches an optimiser of some of the `parts`. pulls: whether there is a pull in this round.

    It does not hold the optimiser, on which it is hung: dropped, that is to go at once, with all its moments, and not
    when Python next looks for circles of references.
    """

    def __init__(self, parts: Sequence[Part], order: StepOrder, pulls: Callable[[], bool]) -> None:
        self.identities, self.order = _identities(parts), order
        self.hooks: list[RemovableHandle] = []
        self._parts, self._pulls = parts, pulls

    @uncompiled
    def before(
        self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Before a step. Raises ValueError and RuntimeError for one that must not be made."""
        _check_descends(optimizer)
        for part in held_by(optimizer, self._parts):
            part.check_untouched()
        self.order.watch((part.parameter for part in trained(self._parts)), late=True)
        itself, *others = args
        has_closure = any(_is_closure(each) for each in (*others, *kwargs.values()))
        self.order.stepping(optimizer, self._pulls() and not has_closure)  # which may still pull
        self._hold_(optimizer)

        def guarded(argument: Any) -> Any:
            return self._guarded(argument, optimizer) if _is_closure(argument) else argument

        return (itself, *map(guarded, others)), {key: guarded(each) for key, each in kwargs.items()}

    @uncompiled
    def after(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        """After a step."""
        for part in held_by(optimizer, self._parts):
            part.restore_()
        self.order.stepped()

    def _hold_(self, optimizer: torch.optim.Optimizer) -> None:
        for part in [] if self._pulls() else held_by(optimizer, self._parts):  # else `pull_` has done it
            part.hold_()

    def _guarded(self, closure: Callable[..., Any], optimizer: torch.optim.Optimizer) -> Callable[..., Any]:
        """What is called within the step computes with the fixed weights at their values, and is to pull."""

        def run(*arguments: Any, **options: Any) -> Any:
            for part in held_by(optimizer, self._parts):
                part.restore_if_touched_()
            found = closure(*arguments, **options)
            self.order.check_pulled(self._pulls())
            self._hold_(optimizer)
            return found

        return run


# Here and not in the fixers, because a new fixer takes over from one that nobody may have any more.
_WATCHED: WeakKeyDictionary[torch.optim.Optimizer, list[_Watch]] = WeakKeyDictionary()


def watch(optimizer: torch.optim.Optimizer, parts: Sequence[Part], order: StepOrder, pulls: Callable[[], bool]) -> None:
    """Watch an optimiser of some of the `parts` from now on. pulls: whether there is a pull in this round."""
    watching = _Watch(parts, order, pulls)
    watching.hooks += [
        optimizer.register_step_pre_hook(watching.before),
        optimizer.register_step_post_hook(watching.after),
    ]
    # Others' hooks are to see what the step has come to.
    after = watching.hooks[1].id
    own = optimizer._optimizer_step_post_hooks.pop(after)
    others = dict(optimizer._optimizer_step_post_hooks)
    optimizer._optimizer_step_post_hooks.clear()
    optimizer._optimizer_step_post_hooks.update({after: own, **others})
    _WATCHED.setdefault(optimizer, []).append(watching)


def unwatch(optimizer: torch.optim.Optimizer, parts: Sequence[Part]) -> None:
    """Take the hooks of all who watch any of these parts away."""
    ended = [each for each in _WATCHED.get(optimizer, []) if each.identities & _identities(parts)]
    for each in ended:
        _WATCHED[optimizer].remove(each)
        for hook in each.hooks:
            hook.remove()
        if not any(each.order is other.order for watching in _WATCHED.values() for other in watching):
            each.order.release()


def _is_closure(argument: object) -> bool:
    return callable(argument) and not isinstance(argument, torch.nn.Module)


def _identities(parts: Sequence[Part]) -> frozenset[int]:
    return frozenset(id(part.parameter) for part in parts)


def _check_descends(optimizer: torch.optim.Optimizer) -> None:
    if any(group.get("maximize") for group in optimizer.param_groups):
        raise ValueError("the optimiser goes up the gradients (maximize=True), away from the centres; negate the loss")
