"""Builds the network of timm that a description names, and says which weights it would not take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from wfn.packed.errors import PackedError, first_line
from wfn.stem import replace_stem


def create(network: Mapping[str, Any]) -> nn.Module:
    """The network that a checked description names. Raises PackedError where timm cannot build it."""
    import timm

    try:
        model = timm.create_model(network["timm"], pretrained=False, **network["arguments"])
    except Exception as error:  # whatever arguments of other types and sizes make of timm
        said = " ".join(first_line(error).split())[:200]
        raise PackedError(f"timm cannot build {network['timm']} ({said})") from None
    if network["stem"] is not None:
        try:
            replace_stem(model, **network["stem"])
        except ValueError as error:
            raise PackedError(f"network.stem: {error}") from None
    return model


def unfit(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], network: str, given: str = "the file"
) -> str | None:
    """The first name whose shape in what is given is not what a network expects, and both; None where all fit."""
    shapes = [{name: tuple(tensor.shape) for name, tensor in each.items()} for each in (state, expected)]
    wrong = sorted(name for name, _ in shapes[0].items() ^ shapes[1].items())
    if not wrong:
        return None
    found, needed = shapes[0].get(wrong[0], "no such tensor"), shapes[1].get(wrong[0], "none")
    return f"{wrong[0]}: {found} in {given}, {needed} in {network}"


def misnamed(network: Mapping[str, Any], model: nn.Module) -> str | None:
    """Says so where there are not as many names of classes as outputs."""
    names, outputs = network["classes"], getattr(model, "num_classes", None)
    if names is None or outputs is None or len(names) == outputs:
        return None
    return f"network.classes: {len(names)} names for {outputs} outputs"
