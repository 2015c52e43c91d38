"""Building timm networks, with timm's initial weights or those that it names."""

from __future__ import annotations

import timm
import torch
from torch import nn

from pipeline.base.errors import InputError, one_line
from pipeline.base.settings import Model, Settings, Stem
from pipeline.data.module import line_of, module_file, register_networks
from pipeline.data.names import described
from pipeline.network.hub import fetch
from pipeline.network.small_maps import suit_small_maps
from wfn.stem import replace_stem

# Arguments of timm that settings of their own decide.
RESERVED = {
    **dict.fromkeys(("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"), "model.checkpoint"),
    **{"pretrained": "model.pretrained", "num_classes": "model.num_classes", "in_chans": "model.in_chans"},
}


def build(settings: Model, seed: int) -> nn.Module:
    """The network of `settings` with timm's initial weights, or those timm names if `pretrained`.

    Raises InputError for a model that timm does not have, that it cannot build so, or whose weights cannot be had.
    """
    register_networks(settings)
    known = described(settings)
    reserved = sorted(settings.options.keys() & RESERVED.keys())
    if reserved:
        raise InputError(f"model.options.{reserved[0]}: not here; allowed: {RESERVED[reserved[0]]}")
    weights, outputs = {}, settings.outputs
    if settings.pretrained and settings.checkpoint is None:
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
                num_classes=outputs,
                **settings.options,
            )
        except Exception as error:  # whatever a network makes of its options
            line = line_of(error, module_file(settings))
            raise InputError(f"model: timm cannot build {settings.name}: {line}{one_line(error)}") from error
        if not isinstance(model, nn.Module):
            raise InputError(
                f"model.name = {settings.name}: gives a {type(model).__name__}; a torch.nn.Module is needed"
            )
        if settings.stem is not None:
            _replace_stem(model, settings.stem)
    return suit_small_maps(model)


def check_head(settings: Settings) -> None:
    """Raise InputError for weights that timm names, taken as they are, with a head or a stem that they do not have.

    timm leaves out a head for another number of classes, and a stem of one's own takes the place of timm's: both would
    stay as they began.
    """
    given = settings.model
    if not given.pretrained or given.checkpoint is not None or settings.pretrain.from_weights:
        return
    register_networks(given)
    known = described(given)
    if known is not None and known.num_classes != given.outputs:
        raise InputError(
            f"model.pretrained = true: the head of {given.name} is for {known.num_classes} classes, "
            f"model.num_classes = {given.outputs}; allowed: as many, or pretrain.from_weights = true, which trains a "
            "new head"
        )
    if given.stem is not None:
        raise InputError(
            "model.stem: timm's weights are taken as they are, and have none for it; allowed: null, or "
            "pretrain.from_weights = true, which trains it"
        )


def _replace_stem(model: nn.Module, stem: Stem) -> None:
    try:
        first = replace_stem(model, **stem.model_dump())
    except ValueError as error:
        raise InputError(f"model.stem: {error}; allowed for ResNets, else null") from None
    nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")  # as timm does
