"""What a packed file says of its network: given, or read off a model of timm; and whether that is the model."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, cast

import torch
from torch import Tensor, nn

from wfn.packed.network.allowed import check
from wfn.packed.network.building import create, misnamed, unfit

# Lines of how a network describes itself that say what acts in training only.
TRAINING_ONLY = re.compile(r"Dropout\w*|DropPath|Identity")
ONLY_TRAINING = re.compile(rf"\s*\(\w+\): ({TRAINING_ONLY.pattern})\([^()]*\)")
# What is written otherwise of batch-norm that predicts the same.
SAME = re.compile(r"momentum=[^,)]*, |Sync(?=BatchNorm)|(?<=BatchNorm)[123]d")
# Values of a module that say how it computes, or trains, not what it predicts.
RUNTIME = re.compile(r"training|drop|inplace|checkpointing|fused|grad|momentum")


def described(network: str | Mapping[str, Any], model: object) -> dict[str, Any]:
    """What a file says of its network: checked, and where only timm's name is given, read off the model.

    model: a module, or its tensors by name. Raises ValueError that names the key that is missing or not allowed, and
    for a model that is another one than timm builds so.
    """
    checked = check(_read_off(network, model) if isinstance(network, str) else network)
    with torch.device("meta"):
        built = create(checked)
    state = model.state_dict() if isinstance(model, nn.Module) else cast(Mapping[str, Tensor], model)
    other = unfit(state, built.state_dict(), checked["timm"], "the model") or misnamed(checked, built)
    if not other and isinstance(model, nn.Module):
        other = _differs(model, built)
    if other:
        by = f"network = {network!r}: by that name alone" if isinstance(network, str) else "network: as it is described"
        raise ValueError(
            f"{by} it would be loaded as another network ({other}); needed: a model as timm builds it, "
            "network={'timm': ..., 'arguments': ..., 'input': ...} with what it was built with, or model.state_dict() "
            "in place of a model that is another on purpose"
        )
    return checked


def _differs(model: nn.Module, built: nn.Module) -> str | None:
    """In what a model differs from the network as it will be built; None where it does not, but for training."""
    own, theirs = (
        [SAME.sub("", line) for line in repr(each).splitlines() if not ONLY_TRAINING.fullmatch(line)]
        for each in (model, built)
    )
    lines = (f"{a.strip()} in place of {b.strip()}" for a, b in zip_longest(own, theirs, fillvalue="nothing") if a != b)
    pairs = zip(_acting(model), _acting(built), strict=False)
    values = (
        f"{name}.{key} = {a[key]!r} in place of {b[key]!r}"
        for (name, a), (_, b) in pairs
        for key in sorted(a.keys() & b.keys())
        if a[key] != b[key]
    )
    return next(lines, None) or next(values, None) or next(_changes(model, built), None)


def _changes(model: nn.Module, built: nn.Module) -> Iterator[str]:
    """Hooks of a model's modules, and methods replaced there, that the network as it will be built does not have."""
    for (name, module), (_, other) in zip(model.named_modules(), built.named_modules(), strict=False):
        for kind in ("forward_pre_hooks", "forward_hooks"):
            if len(getattr(module, f"_{kind}")) != len(getattr(other, f"_{kind}")):
                yield f"{name or 'the model'}: has {kind.replace('_', ' ')} of its own"
        for key in sorted(vars(module).keys() - vars(other).keys()):
            if callable(getattr(type(module), key, None)):
                yield f"{name or 'the model'}: its method {key} has been replaced"


def _acting(model: nn.Module) -> list[tuple[str, dict[str, Any]]]:
    """The modules that do something when the network predicts, by name: what each has in numbers and words.

    Of attention, how many heads, of which neither shapes nor descriptions tell.
    """
    return [
        (name, _plain_values(module))
        for name, module in model.named_modules()
        if not TRAINING_ONLY.fullmatch(type(module).__name__)
    ]


def _plain_values(module: nn.Module) -> dict[str, Any]:
    kinds = (bool, int, float, str, tuple)
    found = {key: value for key, value in vars(module).items() if isinstance(value, kinds)}
    return {key: value for key, value in found.items() if not (key.startswith("_") or RUNTIME.search(key))}


def _read_off(name: str, model: object) -> dict[str, Any]:
    """Number of channels and classes, and what timm says of pictures, of a model that timm has built."""
    if not isinstance(model, nn.Module) or not hasattr(model, "num_classes"):
        raise ValueError(
            f"network = {name!r}: a model that timm has built is needed with it, or all keys of the network"
        )
    if hasattr(model, "_orig_mod"):
        raise ValueError(f"network = {name!r}: the model is compiled; pack what was compiled, model._orig_mod")
    from timm.data.config import resolve_data_config

    known = resolve_data_config({}, model=model)
    channels, *crop = known["input_size"]
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is not None and first.in_channels != channels:
        channels = first.in_channels
        if channels == 1:  # timm adds up the weights of the colours
            known |= {key: [sum(known[key]) / len(known[key])] for key in ("mean", "std")}
    resized = [math.floor(side / known["crop_pct"]) for side in crop]
    if known["crop_mode"] not in ("center", "squash") or (known["crop_mode"] == "center" and crop[0] != crop[1]):
        raise ValueError(f"network = {name!r}: its pictures are cropped in another way; network.input has to be given")
    picture = {
        "channels": channels,
        **({"squash": resized} if known["crop_mode"] == "squash" else {"shorter": resized[0]}),
        "interpolation": known["interpolation"],
        "crop": crop,
        "mean": list(known["mean"]),
        "std": list(known["std"]),
    }
    return {
        "timm": name,
        "arguments": {"in_chans": channels, "num_classes": int(cast(Any, model).num_classes)},
        "input": picture if channels in (1, 3) else None,
    }
