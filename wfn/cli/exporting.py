"""A packed network as a file of another kind, chosen by the file's ending."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wfn.cli.errors import InputError, refusing
from wfn.cli.predicting import Network
from wfn.files.pictures import find_pictures

ENDINGS = (".onnx", ".pt2", ".mlpackage")
PICTURES = 8  # that the exported network is compared on


def check_kind(out: Path, plain: bool) -> None:
    """Raise InputError for an ending that is not known, and for `plain` where there is no choice."""
    if out.suffix not in ENDINGS:
        raise InputError(f"{out}: the kind of file is told by its name; allowed: {', '.join(ENDINGS)}")
    if plain and out.suffix != ".onnx":
        raise InputError(f"{out}: --plain is for .onnx only")


def example_of(network: Network, folder: Path | None) -> Tensor:
    """Inputs [N, C, H, W]: some of the pictures of a folder, evenly chosen, or noise with mean 0 and variance 1."""
    if folder is not None:
        paths = find_pictures([folder])
        return torch.stack([network.example(path) for path in paths[:: -(-len(paths) // PICTURES)]])
    from PIL import Image

    shape = network.transform(Image.new("L" if network.channels == 1 else "RGB", (64, 64))).shape
    return torch.randn(PICTURES, *shape, generator=torch.Generator().manual_seed(0))


def export_to(out: Path, network: Network, example: Tensor, plain: bool) -> Any:
    """Write the network; returns the report of `wfn.export`. Raises InputError for what that refuses.

    plain: floating-point numbers in place of a codebook and indices, for .onnx.
    """
    import wfn.export

    with refusing():
        if out.suffix == ".onnx":
            return wfn.export.to_onnx(network.model, out, example, codebook=not plain)
        write = wfn.export.to_exported_program if out.suffix == ".pt2" else wfn.export.to_coreml
        return write(network.model, out, example)
