"""Building timm networks, with timm's initial weights or those that it names."""

from __future__ import annotations

import timm
import torch
from torch import nn

from pipeline.base.errors import InputError, first_line
from pipeline.base.settings import Model, Stem
from pipeline.network.hub import fetch
from pipeline.network.trimming import trim
from wfn.stem import replace_stem


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
    return trim(model)


def _check_name(name: str) -> None:
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0].split('.')[0]}*")[:5] or ["any of timm.list_models()"]
        raise InputError(f"model.name = {name!r}: timm has no such model; allowed: {', '.join(near)}, ...")


def _replace_stem(model: nn.Module, stem: Stem) -> None:
    try:
        first = replace_stem(model, **stem.model_dump())
    except ValueError as error:
        raise InputError(f"model.stem: {error}; allowed for ResNets, else null") from None
    nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")  # as timm does
