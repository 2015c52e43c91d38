"""Names of networks: those that timm has, and those that a file of the person's own has registered with it."""

from __future__ import annotations

from difflib import get_close_matches

import timm
from timm.models import PretrainedCfg

from pipeline.base.errors import InputError
from pipeline.base.settings import Model

NEAR = 5  # names in a message


def described(settings: Model) -> PretrainedCfg | None:
    """What timm says of a network by name; None where it says nothing, as of networks that are not its own.

    Raises InputError for a name, or what follows its first dot, that it does not know.
    """
    name = settings.name
    if not timm.is_model(name):
        own = f" and {settings.module} registers none" if settings.module else ""
        raise InputError(f"model.name = {name!r}: timm has no such model{own}; allowed: {', '.join(near(name))}, ...")
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError:
        plain = name.partition(".")[0]
        known = ", ".join([plain, *timm.list_pretrained(f"{plain}.*")[:NEAR]])
        raise InputError(f"model.name = {name!r}: timm has no such weights of it; allowed: {known}") from None


def near(name: str) -> list[str]:
    """Names of networks like this one."""
    known, plain = timm.list_models(), name.strip().lower().partition(".")[0]
    starting = [each for each in known if plain and each.startswith(plain.split("_")[0])]
    found = dict.fromkeys([*get_close_matches(plain, known, NEAR, 0.75), *starting])
    return list(found)[:NEAR] or ["any of timm.list_models()"]
