"""Compiled functions, kept on the disk where there is a place for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: as numba.njit with these options, compiled once for all processes where a folder can be written."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # neither this package's folder nor one of the person's own
            return numba.njit(**options)(function)

    return decorate
