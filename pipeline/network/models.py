"""timm networks: building them, the weights they start from, and which of their parameters WFN fixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import timm
import torch
from timm.data.config import resolve_data_config
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.base.metrics import Layer, Role
from pipeline.base.settings import InputError, Model, Stem, first_line
from pipeline.network.hub import HUB, fetch


def build(settings: Model, seed: int) -> nn.Module:
    """The network of `settings` with timm's initial weights, or those timm names if `pretrained`.

    Raises InputError for a model that timm does not have, that it cannot build so, or whose weights cannot be had.
    """
    _check_name(settings.name)
    weights = {}
    if settings.pretrained and settings.checkpoint is None:
        known = timm.get_pretrained_cfg(settings.name)
        if known is None or not known.hf_hub_id:
            raise InputError(f"model.pretrained = true: timm names no weights for {settings.name}; allowed: false")
        # timm fits them to other channels and classes.
        weights = {"file": str(fetch(f"model.name = {settings.name}", known.hf_hub_id))}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = timm.create_model(
                settings.name,
                pretrained=bool(weights),
                pretrained_cfg_overlay=weights or None,
                in_chans=settings.in_chans,
                num_classes=settings.num_classes,
                **settings.options,
            )
        except (TypeError, RuntimeError, OSError) as error:
            raise InputError(f"model: timm cannot build {settings.name}: {first_line(error)}") from error
        if settings.stem is not None:
            _replace_stem(model, settings.stem)
    return model


def _check_name(name: str) -> None:
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0].split('.')[0]}*")[:5] or ["any of timm.list_models()"]
        raise InputError(f"model.name = {name!r}: timm has no such model; allowed: {', '.join(near)}, ...")


def _replace_stem(model: nn.Module, stem: Stem) -> None:
    """A smaller first convolution for small images, as networks for CIFAR have it."""
    first = getattr(model, "conv1", None)
    if not isinstance(first, nn.Conv2d) or not isinstance(getattr(model, "maxpool", None), nn.Module):
        raise InputError("model.stem: this model has no conv1 and maxpool to replace; allowed for ResNets, else null")
    model.conv1 = nn.Conv2d(
        first.in_channels, first.out_channels, stem.kernel, stem.stride, padding=stem.kernel // 2, bias=False
    )
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")  # as timm does
    if not stem.pool:
        model.maxpool = nn.Identity()


def input_settings(settings: Model) -> dict[str, Any]:
    """What timm says of the images that a model's trained weights expect: mean, std, interpolation, crop_pct, ...

    Raises InputError for a model that timm does not have.
    """
    _check_name(settings.name)
    known = timm.get_pretrained_cfg(settings.name, allow_unregistered=False)
    found = resolve_data_config({}, pretrained_cfg=known.to_dict() if known else {})
    if settings.in_chans == 1:  # timm adds up the weights of the colours
        found |= {key: (sum(found[key]) / len(found[key]),) for key in ("mean", "std")}
    return found


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


def layers(model: nn.Module) -> Iterator[Layer]:
    """Every parameter once, with its roles in the network; tied parameters count at their first name."""
    weighted = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for name, parameter in model.named_parameters():
        owner = name.rpartition(".")[0]
        is_role: dict[Role, bool] = {
            "first": owner == weighted[0],
            "last": owner == weighted[-1],
            "downsample": "downsample" in owner,
            "batch_norm": isinstance(model.get_submodule(owner), _BatchNorm),
        }
        roles = frozenset(role for role, holds in is_role.items() if holds)
        yield Layer(name, roles, parameter.detach().cpu().numpy().ravel())


def fixable_parameters(
    model: nn.Module, which: Literal["layers", "all"] = "layers", *, batch_norm: bool
) -> list[nn.Parameter]:
    """The parameters that are fixed, each once, tied or not (method, section 2).

    layers: weights and biases of convolution, linear and, if wanted, batch-norm modules. all: every other parameter as
    well, such as tokens, embeddings, layer norm and layer scale.
    """
    found: dict[int, nn.Parameter] = {}
    for module in model.modules():
        is_norm = isinstance(module, _BatchNorm)
        is_layer = isinstance(module, nn.modules.conv._ConvNd | nn.Linear)
        if batch_norm if is_norm else is_layer or which == "all":
            for parameter in module.parameters(recurse=False):
                found.setdefault(id(parameter), parameter)
    return list(found.values())


def trainable_besides(model: nn.Module, parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """The trainable parameters of `model` that are not among `parameters`."""
    given = {id(parameter) for parameter in parameters}
    return [each for each in model.parameters() if each.requires_grad and id(each) not in given]


def names_of(model: nn.Module, parameters: Sequence[nn.Parameter]) -> list[str]:
    """The names of `parameters` in the order in which `layers` yields them; tied ones at their first name."""
    wanted = {id(parameter) for parameter in parameters}
    return [name for name, parameter in model.named_parameters() if id(parameter) in wanted]


def buffer_bytes(model: nn.Module) -> int:
    """Size of what a network stores beside its parameters: running statistics and the like."""
    return sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
