"""The tensors of somebody's file made to fit a network, and what was done to them, in words.

What training programs do to names and types is undone; nothing that changes a result is done without a word.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from timm.models._manipulate import adapt_input_conv
from torch import Tensor, nn

from pipeline.base.errors import InputError
from pipeline.base.settings import Settings
from pipeline.network.prefix import without_prefix
from pipeline.network.values import check_values, no_weights
from wfn.files.tensors.errors import listed
from wfn.files.tensors.unwrap import Unwrapped

# What counting and averaging programs leave among the weights, by the ends of its names.
BOOKKEEPING = ("total_ops", "total_params", "n_averaged")
COUNTER = "num_batches_tracked"  # of batch-norm: files of before 2018 have none, and no result depends on it


class Fitted(NamedTuple):
    """The complete state of a network, and what a person should know of how it came about."""

    state: dict[str, Tensor]
    said: str


@dataclass
class _Work:
    """Tensors on their way into a network. new: layers that keep their initial weights; done: in words."""

    tensors: dict[str, Tensor]
    expected: Mapping[str, Tensor]
    new: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def missing(self) -> list[str]:
        kept = tuple(f"{layer}." for layer in self.new)
        return [
            name
            for name in self.expected
            if name not in self.tensors and not name.endswith(COUNTER) and not name.startswith(kept or "\n")
        ]

    def unknown(self) -> list[str]:
        return [name for name in self.tensors if name not in self.expected]

    def misshapen(self) -> list[str]:
        return [
            f"{name} {tuple(value.shape)} instead of {tuple(self.expected[name].shape)}"
            for name, value in self.tensors.items()
            if name in self.expected and value.shape != self.expected[name].shape
        ]

    def fits(self) -> bool:
        return not (self.missing() or self.unknown() or self.misshapen())


def fit(key: str, found: Unwrapped, model: nn.Module, settings: Settings) -> Fitted:
    """What `model` is to be given of the tensors of a file; the model itself is not changed.

    Where it is trained on from them (pretrain.from_weights), a head for another number of classes begins anew. Raises
    InputError, in one line that begins with `key`, for tensors that are no weights, missing and unknown names, other
    shapes, and values that are not finite in the network's own type: all faults of the first kind that there is.
    """
    odd = [f"{name} ({what})" for name, value in found.tensors.items() if (what := no_weights(value))]
    _refuse(odd, f"{key}: no ordinary tensors")
    expected = model.state_dict()
    tensors, done = without_prefix(key, found.tensors, [name for name in expected if not name.endswith(COUNTER)])
    work = _adapted(_Work(tensors, expected, done=done), model, settings)
    if not work.fits():
        work = _converted(_Work(tensors, expected, done=done), model, settings) or work
    _check_names(key, work, model, settings)
    _refuse(work.misshapen(), f"{key}: other shapes than those of {settings.model.name}")
    cast = check_values(key, work.tensors, expected)
    state = {name: cast.get(name, initial) for name, initial in expected.items()}
    return Fitted(state, _said(found, work, settings))


def _refuse(names: Sequence[str], what: str) -> None:
    if names:
        raise InputError(f"{what}, {len(names)}: {listed(names)}")


def _adapted(work: _Work, model: nn.Module, settings: Settings) -> _Work:
    """Without bookkeeping, fitted to other channels, and without a head for other classes where one is trained."""
    computed = {name for name, _ in model.named_buffers()}  # those that a network does not save, older files have
    left = [name for name in work.unknown() if name.rpartition(".")[2] in BOOKKEEPING or name in computed]
    tensors = {name: value for name, value in work.tensors.items() if name not in left}
    done = [*work.done, *([f"left out {listed(left)}"] if left else [])]
    counters = [name for name in work.expected if name.endswith(COUNTER) and name not in tensors]
    if counters:
        done.append(f"set {len(counters)} {COUNTER} to 0")
    for name in first_convolutions(model):
        fitted = _other_channels(f"{name}.weight", tensors, work.expected, settings.model.in_chans)
        if fitted is not None:
            tensors[f"{name}.weight"] = fitted
            done.append(f"fitted {name} to in_chans = {settings.model.in_chans} as timm does")
    adapted = _Work(tensors, work.expected, done=done)
    if settings.pretrain.from_weights:
        adapted.new = [head for head in heads(model) if other_classes(head, tensors, work.expected) is not None]
        own = tuple(f"{head}." for head in adapted.new)
        adapted.tensors = {name: value for name, value in tensors.items() if not (own and name.startswith(own))}
    return adapted


def _other_channels(
    name: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], channels: int
) -> Tensor | None:
    """A convolution's weight for so many channels of the images; None where it has them, or is another altogether."""
    if name not in tensors or name not in expected:
        return None
    weight, own = tensors[name], expected[name]
    shapes = [(*each.shape[:1], *each.shape[2:]) for each in (weight, own)]
    if weight.ndim != 4 or shapes[0] != shapes[1] or weight.shape == own.shape or not weight.is_floating_point():
        return None
    try:
        fitted = adapt_input_conv(channels, weight, base_chans=weight.shape[1] * channels // own.shape[1])
    except (AssertionError, NotImplementedError, ValueError, RuntimeError):
        return None
    return fitted if fitted.shape == own.shape else None


def first_convolutions(model: nn.Module) -> list[str]:
    """The names of the layers that see the images: as timm has them, else of the first convolution."""
    named = _named(model, "first_conv")
    return named or [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)][:1]


def heads(model: nn.Module) -> list[str]:
    """The names of the layers that give the classes: as timm has them, else of the last linear layer."""
    found = _named(model, "classifier")
    given: Any = getattr(model, "get_classifier", None)
    if not found and given is not None:
        own = given()
        layers = own if isinstance(own, list | tuple) else [own]
        found = [name for name, module in model.named_modules() if any(module is layer for layer in layers)]
    return found or [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1:]


def _named(model: nn.Module, key: str) -> list[str]:
    """What timm's description of a network says under `key`: the name of a layer, or several; those that it has."""
    names: Any = (getattr(model, "pretrained_cfg", None) or {}).get(key) or ()
    modules = dict(model.named_modules())
    return [name for name in ([names] if isinstance(names, str) else names) if name in modules]


def other_classes(head: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> int | None:
    """How many classes the file's own head is for, if that is all in which it differs; 0 where it has none."""
    own = [name for name in expected if name.startswith(f"{head}.")]
    pairs = [(tensors[name].shape, expected[name].shape) for name in own if name in tensors]
    if not pairs:
        return 0 if own else None
    if any(not given or given[1:] != needed[1:] for given, needed in pairs):
        return None
    counts = {given[0] for given, needed in pairs if given[0] != needed[0]}
    return min(counts, default=None)


def _converted(work: _Work, model: nn.Module, settings: Settings) -> _Work | None:
    """As timm itself converts files for this family of networks, where the result fits."""
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return None
    try:
        with torch.no_grad():
            tensors = dict(convert(dict(work.tensors), model))
    except Exception:  # whatever it makes of a file that is not of its family
        return None
    if not all(isinstance(value, Tensor) for value in tensors.values()):
        return None
    found = _adapted(_Work(tensors, work.expected, done=[*work.done, "converted as timm does"]), model, settings)
    return found if found.fits() else None


def _check_names(key: str, work: _Work, model: nn.Module, settings: Settings) -> None:
    missing, unknown = work.missing(), work.unknown()
    for head in heads(model):
        classes = other_classes(head, work.tensors, work.expected)
        only_the_head = all(name.startswith(f"{head}.") for name in [*missing, *unknown])
        if classes is not None and head not in work.new and only_the_head:
            has = f"head {head} is for {classes} classes" if classes else f"lacks the head {head}"
            raise InputError(
                f"{key}: {has}, model.num_classes = {settings.model.outputs}; allowed: as many, or "
                "pretrain.from_weights = true, which trains a new head"
            )
    if missing or unknown:
        lacks = f"lacks {len(missing)} of {len(work.expected)}: {listed(missing)}" if missing else ""
        more = f"has {len(unknown)} that it does not know: {listed(unknown)}" if unknown else ""
        both = "; ".join(part for part in (lacks, more) if part)
        raise InputError(f"{key}: not the tensors of {settings.model.name}: {both}")


def _said(found: Unwrapped, work: _Work, settings: Settings) -> str:
    where = f" from {found.container!r}" if found.container else ""
    average = ", the moving averages" if found.averaged else ""
    taken = f"took {len(work.tensors)} of {len(found.tensors)} tensors{where}{average}"
    types = {str(each.dtype) for each in work.tensors.values() if each.is_floating_point()} - {"torch.float32"}
    cast = [f"cast from {', '.join(sorted(types)).replace('torch.', '')}"] if types else []
    new = [f"new head {head} ({settings.model.outputs} classes)" for head in work.new]
    return ", ".join([taken, *work.done, *cast, *new])
