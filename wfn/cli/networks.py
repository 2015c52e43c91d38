"""What `wfn pack` says of the network that weights belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wfn.cli.errors import InputError
from wfn.packed.network.building import unfit
from wfn.packed.network.describing import described
from wfn.plain_json import parse_json


def described_network(name: str | None, state: Mapping[str, Tensor], classes: Path | None) -> dict[str, Any] | None:
    """All that a file says of a network, from timm's name for it or a file with the keys of docs/format.md.

    Raises InputError and ValueError for a name that timm does not know, for weights that are not of this network, for a
    file that says something else, and for class names that are not as many as its outputs.
    """
    if name is None:
        if classes is not None:
            raise InputError(f"--classes {classes}: --network is needed with it")
        return None
    told = _from_file(Path(name), state) if name.endswith(".json") else _from_timm(name, state)
    if classes is not None:
        told["classes"] = _names(classes, told["arguments"].get("num_classes"))
    return told


def _from_file(path: Path, state: Mapping[str, Tensor]) -> dict[str, Any]:
    try:
        told = parse_json(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise InputError(f"{path}: no JSON ({error})") from None
    if not isinstance(told, dict):
        raise InputError(f"{path}: an object is needed")
    return described(told, state)


def _from_timm(name: str, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The network, with as many channels and classes as the weights of its first and its last layer have."""
    import timm

    if not timm.is_model(name):
        raise InputError(f"--network {name}: timm has no such model")
    config = timm.get_pretrained_cfg(name)
    first, last = (_layer(getattr(config, key, None), state) for key in ("first_conv", "classifier"))
    arguments: dict[str, Any] = {} if last is None else {"num_classes": last.shape[0]}
    if first is not None and first.ndim == 4:
        arguments["in_chans"] = first.shape[1]
    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False, **arguments)
    wrong = unfit(state, model.state_dict(), "the network")
    if wrong:
        raise InputError(f"--network {name}: {wrong}")
    return described(name, model)


def _layer(names: Any, state: Mapping[str, Tensor]) -> Tensor | None:
    """The weights of a layer, of the first where timm names several."""
    first = names[0] if isinstance(names, list | tuple) and names else names
    return state.get(f"{first}.weight")


def _names(path: Path, outputs: int | None) -> list[str]:
    names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if outputs is not None and len(names) != outputs:
        raise InputError(f"--classes {path}: {len(names)} names; the network has {outputs} outputs")
    return names
