"""Reading files of tensors: safetensors and torch's own, without running anything that is in them."""

from __future__ import annotations

import builtins
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wfn.files.tensors.errors import TensorError
from wfn.files.tensors.kinds import OLD_TORCH, PACKED, SAFETENSORS, TORCH, what_is, why_no_safetensors
from wfn.files.tensors.nesting import too_nested
from wfn.files.tensors.unwrap import STANDS_FOR, Unwrapped, unwrap

FORMS = "a .safetensors file, or one that torch.save wrote"
# What these have is no record of a training: a file that asks for it wants to run something.
PROGRAMS = {"os", "posix", "nt", "sys", "subprocess", "runpy", "shutil", "importlib", "ctypes", "socket"}
# What a file unfolds to, in bytes: parts of an archive may be compressed, and a tensor may be one value many times.
LIMIT, LIMIT_PER_BYTE = 128 << 20, 32


def read_tensors(path: Path) -> Unwrapped:
    """The tensors of a file by name, on the CPU, and where in the file they were (`unwrap`). Nothing in it is run.

    What the file is, is told by its content. Raises TensorError, in one line, for a file without tensors by name;
    OSError for one that cannot be read; ImportError for safetensors without that package.
    """
    kind = what_is(path)
    if kind == SAFETENSORS:
        return Unwrapped(_safetensors(path), "")
    if kind == PACKED:
        raise TensorError(path, f"a packed file; wfn unpack {path.name} FILE.safetensors makes one that is read")
    if kind not in (TORCH, OLD_TORCH):
        raise TensorError(path, f"{kind}; needed: {FORMS}")
    if kind == TORCH:
        _check_size(path, _archived(path))
    found = unwrap(_torch(path, kind), path)
    _check_size(path, sum(map(_bytes, found.tensors.values())))
    return found


def _check_size(path: Path, unfolded: int) -> None:
    allowed = LIMIT + LIMIT_PER_BYTE * path.stat().st_size
    if unfolded > allowed:
        raise TensorError(path, f"a torch file that unfolds to {unfolded:,} bytes; allowed for its length: {allowed:,}")


def _archived(path: Path) -> int:
    """Bytes of all that is in an archive, once it is no more compressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(member.file_size for member in archive.infolist())
    except Exception:  # whatever a damaged archive makes of it
        raise TensorError(path, "a torch file that is damaged; fetch it again") from None


def _bytes(tensor: Tensor) -> int:
    """Bytes of a tensor in which each value has its own; 0 for one that is no array of values."""
    plain = tensor.layout == torch.strided and not tensor.is_nested and not tensor.is_meta
    return tensor.numel() * tensor.element_size() if plain else 0


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError, RuntimeError):  # KeyError: a type that torch does not have
        raise TensorError(path, f"{why_no_safetensors(path)}; fetch it again") from None


def _torch(path: Path, kind: str) -> object:
    unknown: list[str] = []
    try:
        if kind == TORCH:
            unknown = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # whatever a damaged file makes of the unpickler
        raise TensorError(path, "a torch file that is damaged; fetch it again") from None
    programs = [name for name in unknown if _runs(name)]
    if programs:
        raise TensorError(path, f"a pickle that would run {programs[0]} when read; it was not run, nor read")
    try:
        nested = too_nested(path, kind == TORCH)
    except OSError:
        raise
    except Exception:  # whatever a damaged file makes of it
        raise TensorError(path, "a torch file that was cut short, or is damaged; fetch it again") from None
    if nested:
        raise TensorError(path, "a pickle of values inside of values without end; it was not read")
    try:
        known = torch.serialization.safe_globals([(_stand_in(name), name) for name in unknown])
        with known, warnings.catch_warnings(), path.open("rb") as file:  # of a path, torch looks at the ending
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:
        if kind == OLD_TORCH and "weights_only" in str(error).lower() and "global" in str(error).lower():
            what = "an old torch file with more in it than tensors; save the tensors by themselves"
        elif unknown:
            what = f"a torch file with a {unknown[0]} in it; save the tensors by themselves"
        else:
            what = "a torch file that was cut short, or is damaged; fetch it again"
        raise TensorError(path, what) from None


def _runs(name: str) -> bool:
    """Whether a name is one by which pickles run programs: builtin functions, and those of a few modules."""
    module, _, own = name.partition(".")
    return module in PROGRAMS or (module == "builtins" and not isinstance(getattr(builtins, own, None), type))


def _stand_in(name: str) -> Any:
    """What is read in place of a class or function that torch does not know; its name is all that it says of itself.

    Training programs keep their settings and numbers beside the tensors. Nothing of theirs is imported. Such objects
    become mappings, so that what one has by name is read; NumPy's, which have nothing by name, do not.
    """

    def mapping(_: type, *__: object, **___: object) -> OrderedDict[str, object]:
        found: OrderedDict[str, object] = OrderedDict()
        setattr(found, STANDS_FOR, name)
        return found

    def nothing(_: object, *__: object) -> None:
        return

    methods = {"__init__": nothing, "__setstate__": nothing} if name.startswith("numpy") else {"__new__": mapping}
    return type("StandIn", (), {**methods, STANDS_FOR: name})
