"""The same result in several processes, through plain torch.distributed; nothing to do where it is not in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed

Result = TypeVar("Result")


def several_processes() -> bool:
    """Whether torch.distributed is set up."""
    return distributed.is_available() and distributed.is_initialized()


def from_first(work: Callable[[], Result]) -> Result:
    """What `work` returns in the first process, for all of them; what it raises there is raised in all of them."""
    if not several_processes():
        return work()
    found: list[object] = [None]
    if distributed.get_rank() == 0:
        try:
            found = [work()]
        except Exception as error:  # the others wait: they must hear of it
            found = [error]
    distributed.broadcast_object_list(found, src=0)
    if isinstance(found[0], Exception):
        raise found[0]
    return cast(Result, found[0])


def in_all(work: Callable[[], None]) -> None:
    """Do `work` in every process; what it raises in one is raised in all, none of which waits for that one then."""
    error: Exception | None = None
    try:
        work()
    except Exception as raised:
        error = raised
    if several_processes():
        errors: list[Exception | None] = [None] * distributed.get_world_size()
        distributed.all_gather_object(errors, error)
        error = error or next((each for each in errors if each is not None), None)
    if error is not None:
        raise error


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a 0-dimensional tensor over all processes."""
    if not several_processes():
        return value
    total = value.clone()
    distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()
