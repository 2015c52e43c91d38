"""Which parameters are fixed, and their elements as vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import count
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import is_parametrized
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

Source = nn.Module | Mapping[str, nn.Parameter] | Iterable[nn.Parameter] | Iterable[tuple[str, nn.Parameter]]
Include = str | type[nn.Module] | Sequence[type[nn.Module]] | Callable[[str, nn.Parameter], bool]

# What the paper fixes: weights and biases of convolutions, of linear layers (attention has some) and batch-norm.
LAYERS: tuple[type[nn.Module], ...] = (_ConvNd, nn.Linear, nn.MultiheadAttention, _BatchNorm)
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
PARAMETRISED = "parametrizations"  # where a module keeps what its weights are computed from
MEMORY_FORMATS = (torch.contiguous_format, torch.channels_last, torch.channels_last_3d)


def choose(source: Source, include: Include | None, exclude: str | Sequence[str]) -> dict[str, nn.Parameter]:
    """The parameters of `source` to fix, by name, each once: tied ones have their first name.

    include: "all"; types of modules, one or a list, whose own parameters are taken; or a function (name, parameter) ->
    bool. None: the `LAYERS` of a module, everything of a list. exclude: names or shell patterns ("head.*") of what is
    left out.

    Raises ValueError for an `exclude` that matches nothing, for no parameters at all, and, naming the parameter, for
    one that cannot be fixed; TypeError for module types where there are no modules, and for what is no parameter.
    """
    every = _named(source)
    chosen = _included(source, every, include)
    if not isinstance(exclude, str) and not (
        isinstance(exclude, Sequence) and all(isinstance(pattern, str) for pattern in exclude)
    ):
        raise ValueError(f"exclude = {exclude!r}: allowed: a name or pattern, or several")
    for pattern in [exclude] if isinstance(exclude, str) else exclude:
        matched = {id(parameter) for name, parameter in every if name == pattern or fnmatchcase(name, pattern)}
        if not matched:
            raise ValueError(f"exclude = {pattern!r}: matches no parameter")
        chosen -= matched
    found: dict[str, nn.Parameter] = {}
    for name, parameter in every:
        if id(parameter) in chosen:
            if name in found:
                raise ValueError(f"{name}: two parameters have this name")
            found[name] = parameter
            chosen.remove(id(parameter))
    if not found:
        raise ValueError("there are no parameters to fix; include and exclude say which are taken")
    owners: dict[int, str] = {}
    factors = _factors(source)
    clipped = _clipped(source)
    for name, parameter in found.items():
        if id(parameter) in clipped:
            raise ValueError(f"{name}: its embedding changes it when it is used (max_norm); exclude it")
        if id(parameter) in factors or PARAMETRISED in name.split("."):
            raise ValueError(
                f"{name}: a weight is computed from it (weight_norm and the like) and would have other values; "
                "remove that first, or exclude it"
            )
        check_parameter(name, parameter)
        owner = owners.setdefault(parameter.data_ptr(), name) if parameter.numel() else name
        if owner != name:
            raise ValueError(f"{name}: shares its memory with {owner}; tie parameters as one nn.Parameter")
    return found


def _named(source: Source) -> list[tuple[str, nn.Parameter]]:
    """Every name with its parameter; those of tied parameters all stand in the list."""
    if isinstance(source, nn.Module):
        return list(source.named_parameters(remove_duplicate=False))
    numbers = count()
    each_of: Iterable[nn.Parameter | tuple[str, nn.Parameter]] = (
        source.items() if isinstance(source, Mapping) else source
    )
    named = [each if isinstance(each, tuple) else (f"parameter {next(numbers)}", each) for each in each_of]
    for name, parameter in named:
        if not isinstance(name, str):
            raise TypeError(f"{name!r}: the name of a parameter must be a text")
        if not isinstance(parameter, nn.Parameter):
            raise TypeError(f"{name}: an nn.Parameter is needed, not {type(parameter).__name__}")
    return named


def _included(source: Source, every: Sequence[tuple[str, nn.Parameter]], include: Include | None) -> set[int]:
    """Identities of the parameters that `include` takes."""
    kinds = tuple(include) if isinstance(include, list | tuple) else (include,) if isinstance(include, type) else ()
    known = include in (None, "all") if include is None or isinstance(include, str) else kinds or callable(include)
    if not known or isinstance(include, nn.Module) or not all(isinstance(kind, type) for kind in kinds):
        raise ValueError(f"include = {include!r}: allowed: 'all', types of modules, or a function (name, parameter)")
    if include is None and isinstance(source, nn.Module):
        kinds = LAYERS
    elif include is None or isinstance(include, str):
        return {id(parameter) for _, parameter in every}
    if kinds:
        if not isinstance(source, nn.Module):
            raise TypeError(f"include = {include}: module types need a module, not a list of parameters")
        return {
            id(parameter)
            for module in source.modules()
            if isinstance(module, kinds)
            for parameter in (*module.parameters(recurse=False), *_parametrised(module))
        }
    return {id(parameter) for name, parameter in every if cast(Callable[..., bool], include)(name, parameter)}


def _parametrised(module: nn.Module) -> Iterable[nn.Parameter]:
    """What torch.nn.utils.parametrize computes a module's own weights from."""
    return getattr(module, PARAMETRISED).parameters() if is_parametrized(module) else ()


def _factors(source: Source) -> set[int]:
    """Identities of parameters that are no weights themselves: weights are computed from them at every use.

    By torch's parametrisations, or by a hook before the module's call, as weight_norm, spectral_norm and pruning do:
    beside a plain tensor `weight`, `weight_g` and `weight_orig` are what it is computed from.
    """
    modules = list(source.modules()) if isinstance(source, nn.Module) else []
    found = [parameter for module in modules for parameter in _parametrised(module)]
    for module in modules:
        own = dict(module.named_parameters(recurse=False))
        computed = [name for name, value in vars(module).items() if isinstance(value, Tensor)]
        for stem in computed if module._forward_pre_hooks else ():
            found += [parameter for name, parameter in own.items() if name.startswith(f"{stem}_")]
    return {id(parameter) for parameter in found}


def _clipped(source: Source) -> set[int]:
    """Identities of embeddings' weights that every use changes."""
    modules = list(source.modules()) if isinstance(source, nn.Module) else []
    return {
        id(module.weight)
        for module in modules
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm is not None
    }


def check_parameter(name: str, parameter: nn.Parameter) -> None:
    """Raise ValueError for a parameter whose elements are not all its own, in one piece, and of a known type."""
    problem = ""
    if is_traceable_wrapper_subclass(parameter):  # of shards, of quantised weights
        problem = f"is a {type(parameter).__name__}; only a plain parameter can be fixed (gather shards first)"
    elif isinstance(parameter, nn.UninitializedParameter):
        problem = "has no shape yet; run the model once"
    elif parameter.layout != torch.strided or parameter.is_meta:
        problem = f"has no dense memory ({'meta' if parameter.is_meta else parameter.layout})"
    elif parameter.dtype not in DTYPES:
        problem = f"is of type {parameter.dtype}; allowed: {', '.join(str(dtype) for dtype in DTYPES)}"
    elif not any(_is_contiguous(parameter, kind) for kind in MEMORY_FORMATS):
        problem = f"has the strides {parameter.stride()}; allowed: contiguous, or with its channels last"
    elif parameter.untyped_storage().nbytes() != parameter.numel() * parameter.element_size():
        problem = "is a view of a larger memory; give it its own: parameter.data = parameter.data.clone()"
    if problem:
        raise ValueError(f"{name}: {problem}")


def _is_contiguous(parameter: Tensor, memory_format: torch.memory_format) -> bool:
    dimensions = {torch.channels_last: 4, torch.channels_last_3d: 5}.get(memory_format, parameter.ndim)
    return parameter.ndim == dimensions and parameter.is_contiguous(memory_format=memory_format)


def flat(tensor: Tensor) -> Tensor:
    """All elements of a tensor that `choose` lets pass as a vector that shares its memory, in the order of the memory.

    The order of the shape for an ordinary tensor, another one for a tensor with its channels last.
    """
    return tensor.as_strided((tensor.numel(),), (1,))


def rounded(values: Tensor, dtype: torch.dtype) -> Tensor:
    """float32 values [N] as a narrower type has them, in float32.

    The largest number of the type stands for the power of two just above it; what is larger becomes infinite.
    """
    largest = torch.finfo(dtype).max
    next_power = 2.0 ** math.ceil(math.log2(largest))
    within = values.where(values.abs() > next_power, values.clamp(-largest, largest))
    return within.to(dtype).float()


def shaped_like(vector: Tensor, parameter: Tensor) -> Tensor:
    """A vector [N] in the order of a parameter's memory, in that parameter's shape; it shares the vector's memory."""
    return vector.as_strided(parameter.size(), parameter.stride(), vector.storage_offset())
