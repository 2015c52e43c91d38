"""Files of weights: read and checked before a network is touched, and written."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from pipeline.base.errors import InputError, first_line
from pipeline.network.hub import HUB, fetch


def load_checkpoint(model: nn.Module, checkpoint: str) -> None:
    """Put the weights of a local file, or of a repository of the Hugging Face hub (hf-hub:owner/name), into `model`.

    Raises InputError as `load_weights` does, and for a repository that cannot be reached or has no file of weights.
    """
    if checkpoint.startswith(HUB):
        load_weights(model, fetch(f"model.checkpoint = {checkpoint}", checkpoint.removeprefix(HUB)))
    else:
        load_weights(model, Path(checkpoint))


def load_weights(model: nn.Module, path: Path) -> None:
    """Put the weights of a .safetensors, .pt or .pth file into `model`, once all of them have been checked.

    Nothing is unpickled but tensors. Raises InputError that names the file and the first parameter at fault, for other
    names or shapes and for NaN or infinite values.
    """
    weights = _read_weights(path)
    expected = model.state_dict()
    missing, unknown = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or unknown:
        what, names = ("lacks", missing) if missing else ("has the unknown", unknown)
        raise InputError(f"{path}: {what} {names[0]} ({len(names)} such); the model's own names are needed")
    for name, value in weights.items():
        if value.shape != expected[name].shape:
            shapes = tuple(value.shape), tuple(expected[name].shape)
            raise InputError(f"{path}: {name} has the shape {shapes[0]}; allowed: {shapes[1]}")
        if value.is_floating_point() and not value.isfinite().all():
            bad = value[~value.isfinite()][0]
            raise InputError(f"{path}: {name} holds {float(bad)}; only finite weights are allowed")
    model.load_state_dict(weights)


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"model.checkpoint = {path}: no such file; a .safetensors, .pt or .pth file is needed")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path}: not a file of weights: {first_line(error)}") from error
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"{path}: holds no mapping of parameter names to tensors")
    return content


def weight_bytes(model: nn.Module) -> bytes:
    """Parameters and buffers as the content of a .safetensors file."""
    return safetensors.torch.save({name: value.contiguous().cpu() for name, value in model.state_dict().items()})
