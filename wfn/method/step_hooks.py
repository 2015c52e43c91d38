"""Hooks around an optimiser's step: fixed weights get no gradient before it, and are at their values after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch.utils.hooks import RemovableHandle

from wfn.compiling import uncompiled
from wfn.method.order import StepOrder
from wfn.method.part import Part


class _Watch(NamedTuple):
    """What watches an optimiser: the identities of parameters, hooks, and the order that a step is to keep."""

    identities: frozenset[int]
    hooks: Sequence[RemovableHandle]
    order: StepOrder


# Here and not in the fixers, because a new fixer takes over from one that nobody may have any more.
_WATCHED: WeakKeyDictionary[torch.optim.Optimizer, list[_Watch]] = WeakKeyDictionary()


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


def watch(optimizer: torch.optim.Optimizer, parts: Sequence[Part], order: StepOrder, pulls: Callable[[], bool]) -> None:
    """Watch an optimiser of some of the `parts` from now on. pulls: whether there is a pull in this round."""

    def before(_: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        _check_descends(optimizer)
        for part in held_by(optimizer, parts):
            part.check_untouched()
        order.watch((part.parameter for part in trained(parts)), late=True)
        itself, *others = args
        has_closure = any(is_closure(each) for each in (*others, *kwargs.values()))
        order.stepping(optimizer, pulls() and not has_closure)  # which may still pull
        hold()
        found = (itself, *(guarded(each) if is_closure(each) else each for each in others))
        return found, {key: guarded(each) if is_closure(each) else each for key, each in kwargs.items()}

    def is_closure(argument: object) -> bool:
        return callable(argument) and not isinstance(argument, torch.nn.Module)

    def hold() -> None:
        for part in [] if pulls() else held_by(optimizer, parts):  # else `pull_` has done it
            part.hold_()

    def guarded(closure: Callable[..., Any]) -> Callable[..., Any]:
        """What is called within the step computes with the fixed weights at their values, and is to pull."""

        def run(*arguments: Any, **options: Any) -> Any:
            for part in held_by(optimizer, parts):
                part.restore_if_touched_()
            found = closure(*arguments, **options)
            order.check_pulled(pulls())
            hold()
            return found

        return run

    def after(*_: object) -> None:
        for part in held_by(optimizer, parts):
            part.restore_()
        order.stepped()

    hooks = [
        optimizer.register_step_pre_hook(uncompiled(before)),
        optimizer.register_step_post_hook(uncompiled(after)),
    ]
    # Others' hooks are to see what the step has come to.
    own = optimizer._optimizer_step_post_hooks.pop(hooks[1].id)
    others = dict(optimizer._optimizer_step_post_hooks)
    optimizer._optimizer_step_post_hooks.clear()
    optimizer._optimizer_step_post_hooks.update({hooks[1].id: own, **others})
    _WATCHED.setdefault(optimizer, []).append(_Watch(_identities(parts), hooks, order))


def unwatch(optimizer: torch.optim.Optimizer, parts: Sequence[Part]) -> None:
    """Take the hooks of all who watch any of these parts away."""
    ended = [each for each in _WATCHED.get(optimizer, []) if each.identities & _identities(parts)]
    for each in ended:
        _WATCHED[optimizer].remove(each)
        for hook in each.hooks:
            hook.remove()
        if not any(each.order is other.order for watching in _WATCHED.values() for other in watching):
            each.order.release()


def _identities(parts: Sequence[Part]) -> frozenset[int]:
    return frozenset(id(part.parameter) for part in parts)


def _check_descends(optimizer: torch.optim.Optimizer) -> None:
    if any(group.get("maximize") for group in optimizer.param_groups):
        raise ValueError("the optimiser goes up the gradients (maximize=True), away from the centres; negate the loss")
