"""Writing a packed file, and reading it back before it is believed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from pipeline.base.results import WEIGHTS, Run, reading
from pipeline.packing.network import metadata_of, network_of
from wfn import pack, unpack
from wfn.files.compare import first_difference


def write_packed(
    path: Path, state: Mapping[str, Tensor], network: Mapping[str, Any] | None, metadata: Mapping[str, Any]
) -> int:
    """Write a packed file, its folder too; returns its bytes. Raises RuntimeError unless it reads back bit by bit.

    Zeros lose their sign: rounding leaves both, which no product shows, and a file that keeps every bit would pay for.
    """
    state = {name: tensor + 0.0 if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    size = pack(state, path, network=network, metadata=metadata)
    again = unpack(path, limit=sum(tensor.nbytes for tensor in state.values()))
    difference = first_difference(again, state)
    if difference:
        raise RuntimeError(f"{path}: does not read back as it was: {difference}")
    return size


def pack_run(found: Run, card: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Pack the network of a run; returns its bytes, and the timm model that it loads as, if any.

    card: of the data set. Raises RuntimeError as `write_packed` does.
    """
    weights, network = found.folder / WEIGHTS, network_of(found, card)
    with reading(weights):
        state = safetensors.torch.load_file(weights)
    return {
        "bytes": write_packed(path, state, network, metadata_of(found, card)),
        "network": network and network["timm"],
    }
