"""What a packed file may say of its network: names that timm knows and plain numbers, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from wfn.packed.errors import PackedError

# Arguments of timm.create_model that say what a network looks like. None names weights, files, addresses or code.
ARGUMENTS = (
    *("in_chans", "num_classes", "img_size", "patch_size", "window_size", "global_pool", "output_stride"),
    *("act_layer", "norm_layer", "drop_rate", "drop_path_rate", "proj_drop_rate", "attn_drop_rate"),
    *("base_width", "cardinality", "stem_type", "stem_width", "avg_down", "class_token", "qkv_bias", "init_values"),
)
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
KEYS = ("timm", "arguments", "stem", "classes", "input")
MAX_SIDE, MAX_PIXELS = 1 << 14, 1 << 24  # of a picture
FLOAT32_TINY, FLOAT32_MAX = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max


def check(network: Mapping[str, Any]) -> dict[str, Any]:
    """All keys of a network, those that may be missing as None. Raises PackedError for what is not allowed."""
    unknown = sorted(network.keys() - set(KEYS))
    if unknown:
        raise PackedError(f"network: {unknown[0]!r} is unknown; allowed: {', '.join(KEYS)}")
    name, arguments = network.get("timm"), network.get("arguments", {})
    import timm

    if not isinstance(name, str) or not timm.is_model(name):
        raise PackedError(f"network.timm = {str(name)[:60]!r}: timm has no such model")
    if not isinstance(arguments, Mapping):
        raise PackedError("network.arguments: an object is needed")
    for key, value in arguments.items():
        if key not in ARGUMENTS:
            raise PackedError(f"network.arguments: {str(key)[:60]!r} is not allowed; allowed: {', '.join(ARGUMENTS)}")
        if not all(
            isinstance(each, bool | int | float | str) for each in (value if isinstance(value, list) else [value])
        ):
            raise PackedError(f"network.arguments.{key}: a number, a word, a truth value or a list of those is needed")
    return {
        "timm": name,
        "arguments": dict(arguments),
        "stem": _stem(network.get("stem")),
        "classes": _classes(network.get("classes")),
        "input": _input(network.get("input")),
    }


def _stem(stem: Any) -> dict[str, Any] | None:
    if stem is None:
        return None
    if not isinstance(stem, Mapping) or stem.keys() != {"kernel", "stride", "pool"} or type(stem["pool"]) is not bool:
        raise PackedError("network.stem: kernel, stride and pool are needed")
    return {**{key: _side(stem[key], f"network.stem.{key}", 31) for key in ("kernel", "stride")}, "pool": stem["pool"]}


def _classes(classes: Any) -> list[str] | None:
    if classes is not None and not (isinstance(classes, list) and all(isinstance(each, str) for each in classes)):
        raise PackedError("network.classes: a list of names is needed")
    return classes


def _input(given: Any) -> dict[str, Any] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise PackedError("network.input: an object is needed")
    resized = [key for key in ("squash", "shorter") if key in given]
    needed = {"channels", "interpolation", "crop", "mean", "std", *resized}
    if given.keys() != needed or len(resized) != 1 or given["channels"] not in (1, 3):
        raise PackedError(
            "network.input: channels (1 or 3), squash or shorter, interpolation, crop, mean, std are needed"
        )
    if given["interpolation"] not in INTERPOLATIONS:
        raise PackedError(f"network.input.interpolation: allowed: {', '.join(INTERPOLATIONS)}")
    for key in ("mean", "std"):
        numbers = given[key]
        fitting = isinstance(numbers, list) and len(numbers) == given["channels"]
        if not fitting or not all(_is_number(each, key == "std") for each in numbers):
            raise PackedError(f"network.input.{key}: a number for each channel is needed")
    pairs = {key: given[key] for key in ("crop", "squash") if key in given}
    for key, pair in pairs.items():
        if not isinstance(pair, list) or len(pair) != 2:
            raise PackedError(f"network.input.{key}: height and width are needed")
    sides = {key: [_side(side, f"network.input.{key}", MAX_SIDE) for side in pair] for key, pair in pairs.items()}
    for key, (height, width) in sides.items():
        if height * width > MAX_PIXELS:
            raise PackedError(f"network.input.{key} = {height} x {width}: allowed: {MAX_PIXELS:,} pixels at most")
    shorter = {"shorter": _side(given["shorter"], "network.input.shorter", MAX_SIDE)} if "shorter" in given else {}
    return {**given, **sides, **shorter}


def _is_number(value: Any, divides: bool) -> bool:
    """Whether a value is a number of JSON that float32 holds, too, and divides others there."""
    if type(value) not in (int, float) or not -FLOAT32_MAX <= value <= FLOAT32_MAX:
        return False
    return not divides or abs(value) >= FLOAT32_TINY


def _side(value: Any, where: str, most: int) -> int:
    if type(value) is not int or not 0 < value <= most:
        raise PackedError(f"{where} = {str(value)[:20]}: allowed: 1 to {most}")
    return value
