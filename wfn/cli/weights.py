"""The tensors of any file that the command is given, packed or not."""

from __future__ import annotations

from pathlib import Path

import typer
from torch import Tensor

from wfn.files.tensors.kinds import PACKED, what_is
from wfn.files.tensors.read import read_tensors
from wfn.packed.decode import unpack

FORMS = "safetensors, a file of torch.save, or a packed file"


def tensors_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; says on the standard error where they are moving averages (EMA).

    Raises what `unpack` raises for packed files and `read_tensors` for all others.
    """
    if what_is(path) == PACKED:
        return unpack(path)
    found = read_tensors(path)
    if found.averaged:
        typer.echo(f"{path}: the moving averages, {found.container!r}", err=True)
    return found.tensors
