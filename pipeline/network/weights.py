"""Files of weights: read and checked before a network is touched, and written."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from pipeline.base.errors import InputError
from pipeline.base.results import in_clone
from pipeline.base.settings import HUB, Model, Settings
from pipeline.network.checkpoint import fit
from pipeline.network.hub import fetch
from pipeline.network.values import check_values
from wfn.files.tensors.errors import TensorError, listed
from wfn.files.tensors.read import read_tensors
from wfn.files.tensors.unwrap import Unwrapped


def load_checkpoint(model: nn.Module, settings: Settings) -> str:
    """Put the weights that model.checkpoint names into `model`; returns a line that says what was taken and changed.

    They are of a local file (`checkpoint_file`), or of a repository of the Hugging Face hub (hf-hub:owner/name). Raises
    InputError for what cannot be read, does not fit (`fit`) or cannot be reached, before the network is changed.
    """
    named = str(settings.model.checkpoint)
    key = f"model.checkpoint = {named}"
    local = checkpoint_file(settings.model)
    path = local or fetch(key, named.removeprefix(HUB))
    fitted = fit(key, _read(path, key if local else f"{key}: {path.name}"), model, settings)
    model.load_state_dict(fitted.state)
    return f"{key}: {fitted.said}"


def checkpoint_file(settings: Model) -> Path | None:
    """The local file that model.checkpoint names, a relative one in the clone; None where it names none."""
    if settings.checkpoint is None or settings.checkpoint.startswith(HUB):
        return None
    return in_clone(Path(settings.checkpoint))


def load_weights(model: nn.Module, path: Path) -> None:
    """Put the weights of a file that this pipeline wrote into a network of the same settings.

    Raises InputError that names the file, for one that is not there or is another network's.
    """
    if not path.exists():
        raise InputError(f"{path}: not there; stage pretrain writes it (dvc repro pretrain)")
    tensors, expected = _read(path, str(path)).tensors, model.state_dict()
    wrong = [name for name in expected if name not in tensors or tensors[name].shape != expected[name].shape]
    wrong += [name for name in tensors if name not in expected]
    if wrong:
        raise InputError(f"{path}: of another network, {listed(wrong)} differ ({len(wrong)}); dvc repro pretrain")
    model.load_state_dict(check_values(str(path), tensors, expected))


def _read(path: Path, key: str) -> Unwrapped:
    try:
        return read_tensors(path)
    except TensorError as error:
        raise InputError(f"{key}: {error.what}") from None
    except (OSError, ValueError) as error:  # ValueError: a path that can be none
        raise InputError(f"{key}: {(getattr(error, 'strerror', None) or str(error)).lower()}") from None


def weight_bytes(model: nn.Module) -> bytes:
    """Parameters and buffers as the content of a .safetensors file; tied ones are there once for each name."""
    state = {
        name: value.cpu().clone(memory_format=torch.contiguous_format) for name, value in model.state_dict().items()
    }
    return safetensors.torch.save(state)
