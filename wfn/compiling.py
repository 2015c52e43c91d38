"""Compiled functions, kept on the disk where there is a place for them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

import numba
import torch

F = TypeVar("F", bound=Callable[..., Any])


class _Process:
    """Whether this process was forked off another: threads are not copied, and OpenMP ends who asks for them."""

    copied = False


def _mark_copied() -> None:
    _Process.copied = True


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_mark_copied)


def may_start_threads() -> bool:
    """Whether loops may run in threads here."""
    return not _Process.copied


def uncompiled(function: F) -> F:
    """A decorator: torch.compile leaves it alone, and what surrounds it is compiled in parts."""
    # As torch.compiler.disable, which would import torch's compiler with this package.
    return cast(F, torch._disable_dynamo(function))  # type: ignore[attr-defined]


def _forgive_damage(dispatcher: Any) -> None:
    """Have a damaged file of what is kept count as none, and be written anew."""
    kept = getattr(dispatcher, "_cache", None)
    if kept is None:  # where numba is told not to compile
        return
    load, save = kept.load_overload, kept.save_overload

    def load_overload(*arguments: Any) -> Any:
        try:
            return load(*arguments)
        except Exception:  # whatever a damaged file makes of the unpickler
            with suppress(OSError):
                kept.flush()
            return None

    def save_overload(*arguments: Any) -> None:
        with suppress(OSError):  # a full disk: it is compiled again the next time
            save(*arguments)

    kept.load_overload, kept.save_overload = load_overload, save_overload


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: as numba.njit with these options, compiled once for all processes where a folder can be written.

    parallel: loops over `prange` run in threads, where that is possible; for functions called from Python only.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            dispatcher = numba.njit(cache=True, **options)(function)
            _forgive_damage(dispatcher)
        except RuntimeError:  # neither this package's folder nor one of the person's own
            dispatcher = numba.njit(**options)(function)
        if not options.get("parallel"):
            return dispatcher
        # Not kept on the disk, where both would have one place.
        serial = numba.njit(**{**options, "parallel": False})(function)

        def run(*arguments: Any) -> Any:
            return (dispatcher if may_start_threads() else serial)(*arguments)

        return run

    return decorate
