"""Tensors by name in the files that people have: safetensors, torch's own, and packed ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from wfn.packed.decode import unpack
from wfn.packed.replacing import replacing

NESTED = ("state_dict", "model")  # where training programs keep the tensors among other things
FORMS = ".safetensors, .pt, .pth, .bin, .wfn"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU. Nothing in the file is run.

    Raises ValueError, in one line that names the file, for one that holds anything else; OSError for one that cannot be
    read; ImportError for .safetensors without that package.
    """
    if path.suffix == ".wfn":
        return unpack(path)
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if path.suffix not in (".pt", ".pth", ".bin"):
        raise ValueError(f"{path}: the kind of file is told by its name; allowed: {FORMS}")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # whatever a damaged file makes of the unpickler
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise ValueError(f"{path}: no file of tensors that torch can read ({first[0][:120]})") from None
    for key in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise ValueError(f"{path}: holds a {type(found).__name__}; tensors by name are needed")
    wrong = [name for name, value in found.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if wrong:
        raise ValueError(f"{path}: {str(wrong[0])[:60]} is no tensor; tensors by name are needed")
    return dict(found)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path.open("rb").close()  # its own message does not say which file is missing
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: no safetensors file ({error})") from None


def write_safetensors(state: Mapping[str, Tensor], path: Path) -> int:
    """Write tensors as safetensors, whole or not at all; returns the bytes. Tied tensors are written each by itself.

    Raises OSError where the file cannot be written, ImportError without safetensors.
    """
    from safetensors.torch import save_file

    seen: set[int] = set()
    separate = {}
    for name, tensor in state.items():
        tied = tensor.untyped_storage().data_ptr() in seen  # which safetensors refuses
        separate[name] = tensor.clone() if tied else tensor.contiguous()
        seen.add(tensor.untyped_storage().data_ptr())
    with replacing(path) as partial:
        save_file(separate, partial, metadata={"format": "pt"})
    return path.stat().st_size
