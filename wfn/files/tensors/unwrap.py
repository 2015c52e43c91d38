"""Where in a file of a training program the tensors are: on their own, or in a container among other things."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from wfn.files.tensors.errors import TensorError, listed

# Moving averages of the weights, by which programs that keep them are judged: they come before the last weights.
AVERAGES = ("state_dict_ema", "model_state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema")
CONTAINERS = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params"),
    *("net_state_dict", "shadow"),
)
# Of a training, and no weights.
OTHERS = ("optimizer", "optimiser", "optimizer_state_dict", "optim", "scheduler", "scaler", "state")
DEEPEST = 4  # containers inside of one another
STANDS_FOR = "stands_for"  # what is read in place of an object has its class's name here


class Unwrapped(NamedTuple):
    """Tensors by name, and where in the file they were ("model.state_dict"; nothing for the file itself)."""

    tensors: dict[str, Tensor]
    container: str

    @property
    def averaged(self) -> bool:
        """Whether these are moving averages that the file had beside the last weights."""
        return any(key in AVERAGES for key in self.container.split("."))


def unwrap(content: object, path: Path) -> Unwrapped:
    """The tensors by name in what a file holds; moving averages where there are any.

    Raises TensorError for anything else: a whole network, an optimiser's state, a list, values that are no tensors.
    """
    keys: list[str] = []
    while isinstance(content, Mapping) and len(keys) < DEEPEST and (key := _container(content)) is not None:
        keys.append(key)
        content = content[key]
    return Unwrapped(_tensors(content, path, f" under {'.'.join(keys)!r}" if keys else ""), ".".join(keys))


def _container(content: Mapping[object, object]) -> str | None:
    """The key of what holds the tensors; None where the mapping itself does, or nothing."""
    for key in (*AVERAGES, *CONTAINERS):
        if _holds_tensors(content.get(key)) or _is_network(content.get(key)):
            return key
    if any(isinstance(value, Tensor) for value in content.values()):
        return None
    holds = {number: _holds_tensors(value) for number, value in {id(each): each for each in content.values()}.items()}
    others = [key for key, value in content.items() if key not in OTHERS and holds[id(value)]]
    return others[0] if len(others) == 1 and isinstance(others[0], str) else None


def _holds_tensors(value: object) -> bool:
    """Whether a mapping has tensors, in mappings of it too. What several have in common is looked into once."""
    level = [value] if isinstance(value, Mapping) else []
    for _ in range(DEEPEST):
        inside = {id(each): each for mapping in level for each in mapping.values()}.values()
        if any(isinstance(each, Tensor) for each in inside):
            return True
        level = [each for each in inside if isinstance(each, Mapping)]
    return False


def _is_network(value: object) -> bool:
    """Whether an object was read in part that had what modules of torch have."""
    return "_modules" in getattr(value, "__dict__", {})


def _tensors(content: object, path: Path, where: str) -> dict[str, Tensor]:
    if _is_network(content):
        raise TensorError(path, f"holds a whole network ({_kind(content)}){where}; save its state_dict() instead")
    if not isinstance(content, Mapping) or (hasattr(content, STANDS_FOR) and not content):
        raise TensorError(path, f"holds {_kind(content)}{where}; tensors by name are needed")
    if not content:
        raise TensorError(path, f"holds nothing{where}; tensors by name are needed")
    if {"state", "param_groups"} <= content.keys():
        raise TensorError(path, f"holds the state of an optimiser{where}, and no weights")
    keys = [repr(key) for key in content if not isinstance(key, str)]
    if keys:
        raise TensorError(path, f"has keys that are no names{where}: {listed(keys)}")
    others = [f"{name} ({_kind(value)})" for name, value in content.items() if not isinstance(value, Tensor)]
    if len(others) == len(content):
        raise TensorError(path, f"holds no tensors by name{where}, but {listed(others)}")
    if others:
        raise TensorError(path, f"holds what is no tensor{where}: {listed(others)}; tensors by name are needed")
    return dict(content)


def _kind(value: object) -> str:
    """What a value is, in two or three words."""
    name = getattr(value, STANDS_FOR, None)
    if name is None:
        name = "tensor" if isinstance(value, Tensor) else type(value).__name__
    elif name.startswith("numpy"):
        name = "NumPy number" if name.endswith("scalar") else "NumPy array"
    return f"an {name}" if name[0].lower() in "aeio" else f"a {name}"
