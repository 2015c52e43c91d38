"""The network of a packed file, ready to predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from wfn.packed.decode import allowed_bytes, tensors
from wfn.packed.errors import PackedError
from wfn.packed.file import Source, reading
from wfn.packed.network.allowed import check
from wfn.packed.network.building import create, misnamed, unfit
from wfn.picture import plain_picture

_ONE_AT_A_TIME = Lock()


def load(source: Source, *, limit: int | None = None) -> nn.Module:
    """The network of a packed file: built by timm, with its weights, on the CPU and ready to predict.

        model = wfn.load("network.wfn")  # or "hf-hub:owner/name", from the Hugging Face hub
        probabilities = model(model.transform(picture)[None]).softmax(-1)

    `model.transform` makes of a Pillow picture what the network takes, [C, H, W] in the type of its weights, which is
    that of the file; `model.classes` has the names of the outputs. Each is None where the file does not say. Arguments
    and errors of `unpack`, and PackedError for a file without a network and for one that its weights do not fit;
    ImportError where timm is missing.

    torch's default type and random state are the process' own: they are borrowed while the network is built, and
    put back. Other threads should not draw from them meanwhile; several may load at a time.
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
        empty = create(network)
    expected = empty.state_dict()
    wrong = unfit(state, expected, network["timm"]) or misnamed(network, empty)
    for name, each in state.items() if not wrong else ():
        if each.dtype.is_floating_point != expected[name].dtype.is_floating_point:
            wrong = f"{name}: {each.dtype} in the file, {expected[name].dtype} in {network['timm']}"
    own = sum(buffer.nbytes for name, buffer in empty.named_buffers() if name not in expected)
    if not wrong and own > allowed:
        wrong = f"{network['timm']} needs {own} bytes beside its tensors; allowed: {allowed}"
    if wrong:
        raise PackedError(wrong)
    with _ONE_AT_A_TIME, torch.random.fork_rng(devices=[]), torch.device("cpu"):
        before = torch.get_default_dtype()
        if before != torch.float32:
            torch.set_default_dtype(torch.float32)
        try:
            model = create(network)
        finally:
            if before != torch.float32:
                torch.set_default_dtype(before)
    model.load_state_dict(state, assign=True)
    return model


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
