"""Tensors by name written as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from wfn.packed.replacing import replacing


def write_safetensors(state: Mapping[str, Tensor], path: Path) -> int:
    """Write tensors as safetensors, whole or not at all; returns the bytes. Tied tensors are written each by itself.

    Raises OSError where the file cannot be written, ImportError without safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    seen: set[int] = set()
    separate = {}
    for name, tensor in state.items():
        tied = tensor.untyped_storage().data_ptr() in seen  # which safetensors refuses
        separate[name] = tensor.clone() if tied else tensor.contiguous()
        seen.add(tensor.untyped_storage().data_ptr())
    with replacing(path) as partial:
        try:
            save_file(separate, partial, metadata={"format": "pt"})
        except SafetensorError as error:
            raise OSError(f"{path}: {error}") from None
    return path.stat().st_size
