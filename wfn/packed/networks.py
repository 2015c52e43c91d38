"""The network in a packed file: what it is, and how it is built again, from names that timm knows and nothing else."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, cast

import torch
from torch import Tensor, nn

from wfn.packed.decode import allowed_bytes, tensors
from wfn.packed.errors import PackedError, first_line
from wfn.packed.file import Source, reading
from wfn.picture import plain_picture
from wfn.stem import replace_stem

# Arguments of timm.create_model that say what a network looks like. None names weights, files, addresses or code.
ARGUMENTS = (
    *("in_chans", "num_classes", "img_size", "patch_size", "window_size", "global_pool", "output_stride"),
    *("act_layer", "norm_layer", "drop_rate", "drop_path_rate", "proj_drop_rate", "attn_drop_rate"),
    *("base_width", "cardinality", "stem_type", "stem_width", "avg_down", "class_token", "qkv_bias", "init_values"),
)
# Lines of how a network describes itself that say what acts in training only.
TRAINING_ONLY = re.compile(r"Dropout\w*|DropPath|Identity")
ONLY_TRAINING = re.compile(rf"\s*\(\w+\): ({TRAINING_ONLY.pattern})\([^()]*\)")
# What is written otherwise of batch-norm that predicts the same.
SAME = re.compile(r"momentum=[^,)]*, |Sync(?=BatchNorm)|(?<=BatchNorm)[123]d")
# Values of a module that say how it computes, or trains, not what it predicts.
RUNTIME = re.compile(r"training|drop|inplace|checkpointing|fused|grad|momentum")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
KEYS = ("timm", "arguments", "stem", "classes", "input")
MAX_SIDE, MAX_PIXELS = 1 << 14, 1 << 24  # of a picture
FLOAT32_TINY, FLOAT32_MAX = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max


def load(source: Source, *, limit: int | None = None) -> nn.Module:
    """The network of a packed file: built by timm, with its weights, on the CPU and ready to predict.

        model = wfn.load("network.wfn")  # or "hf-hub:owner/name", from the Hugging Face hub
        probabilities = model(model.transform(picture)[None]).softmax(-1)

    `model.transform` makes of a Pillow picture what the network takes, [C, H, W] in the type of its weights, which is
    that of the file; `model.classes` has the names of the outputs. Each is None where the file does not say. Arguments
    and errors of `unpack`, and PackedError for a file without a network and for one that its weights do not fit;
    ImportError where timm is missing.
    """
    with reading(source) as reader:
        told = reader.header.network
        if told is None:
            raise PackedError("holds tensors only, no network; wfn.unpack gives them by name")
        checked = check(told)
        model = _built(checked, dict(tensors(reader, limit)), allowed_bytes(reader, limit))
    kind = next((weight.dtype for weight in model.parameters()), torch.float32)
    model.transform = None if checked["input"] is None else transform(checked["input"], kind)  # type: ignore[assignment]
    model.classes = checked["classes"]
    return model.eval()


def _built(network: Mapping[str, Any], state: Mapping[str, Tensor], allowed: int) -> nn.Module:
    """The network with its weights. It is laid out without memory first, so a file cannot ask for a larger one.

    allowed: bytes of what it computes for itself when it is built, as masks for larger pictures are.
    """
    with torch.device("meta"):
        empty = _create(network)
    expected = empty.state_dict()
    wrong = unfit(state, expected, network["timm"]) or _misnamed(network, empty)
    for name, each in state.items() if not wrong else ():
        if each.dtype.is_floating_point != expected[name].dtype.is_floating_point:
            wrong = f"{name}: {each.dtype} in the file, {expected[name].dtype} in {network['timm']}"
    own = sum(buffer.nbytes for name, buffer in empty.named_buffers() if name not in expected)
    if not wrong and own > allowed:
        wrong = f"{network['timm']} needs {own} bytes beside its tensors; allowed: {allowed}"
    if wrong:
        raise PackedError(wrong)
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.set_default_dtype(torch.float32)
        try:
            model = _create(network)
        finally:
            torch.set_default_dtype(before)
    model.load_state_dict(state, assign=True)
    return model


def _misnamed(network: Mapping[str, Any], model: nn.Module) -> str | None:
    """Says so where there are not as many names of classes as outputs."""
    names, outputs = network["classes"], getattr(model, "num_classes", None)
    if names is None or outputs is None or len(names) == outputs:
        return None
    return f"network.classes: {len(names)} names for {outputs} outputs"


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


def _create(network: Mapping[str, Any]) -> nn.Module:
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


def described(network: str | Mapping[str, Any], model: object) -> dict[str, Any]:
    """What a file says of its network: checked, and where only timm's name is given, read off the model.

    model: a module, or its tensors by name. Raises ValueError that names the key that is missing or not allowed, and
    for a model that is another one than timm builds so.
    """
    checked = check(_read_off(network, model) if isinstance(network, str) else network)
    with torch.device("meta"):
        built = _create(checked)
    state = model.state_dict() if isinstance(model, nn.Module) else cast(Mapping[str, Tensor], model)
    other = unfit(state, built.state_dict(), checked["timm"], "the model") or _misnamed(checked, built)
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
    return next(lines, None) or next(values, None)


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


def transform(wanted: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> Callable[[Any], Tensor]:
    """What becomes of a Pillow picture of any kind (`plain_picture`): [C, H, W]. wanted: `input`, checked."""
    from torchvision.transforms import (
        CenterCrop,
        Compose,
        ConvertImageDtype,
        InterpolationMode,
        Lambda,
        Normalize,
        Resize,
        ToTensor,
    )

    size: int | Sequence[int] = wanted["shorter"] if "shorter" in wanted else wanted["squash"]
    return Compose(
        [
            Lambda(partial(plain_picture, channels=wanted["channels"])),
            Resize(size, InterpolationMode(wanted["interpolation"])),
            CenterCrop(wanted["crop"]),
            ToTensor(),
            Normalize(wanted["mean"], wanted["std"]),
            ConvertImageDtype(dtype),
        ]
    )
