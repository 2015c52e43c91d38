"""params.yaml and the profile that it names, read and checked once."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pipeline.base.errors import InputError
from pipeline.base.naming import together
from pipeline.base.settings.plain_yaml import read_yaml
from pipeline.base.settings.problems import LONGEST, checked
from pipeline.base.settings.stages import Settings

PARAMS_FILE = Path("params.yaml")
PROFILES = Path("profiles")
OF_PROFILE = ("data", "model", "pretrain", "finetune", "quantise")


def load_settings(params_file: Path = PARAMS_FILE, profiles: Path = PROFILES) -> Settings:
    """Settings from params.yaml and the profile that it names.

    Raises InputError that names the file, the keys, their values and what is allowed.
    """
    params = read_yaml(params_file)
    profile_file = _profile_file(params_file, params, profiles)
    values = read_yaml(profile_file)
    problems = [f"{params_file}: {key}: belongs into a profile" for key in OF_PROFILE if key in params]
    problems += [
        f"{profile_file}: {key}: belongs into {params_file} only"
        for key in sorted(values.keys() & Settings.model_fields.keys() - set(OF_PROFILE))
    ]
    if problems:
        raise InputError(together(problems))
    source = f"{params_file} with {profile_file}"
    settings = checked(Settings, params | values, source)
    idle = settings.idle_ablations()
    if idle:
        raise InputError(f"{source}: {together(idle)}")
    return settings


def _profile_file(params_file: Path, params: dict[str, Any], profiles: Path) -> Path:
    profile, known = params.get("profile"), sorted(path.stem for path in profiles.glob("*.yaml"))
    if profile in known:
        return profiles / f"{profile}.yaml"
    if profile is None:
        raise InputError(f"{params_file}: profile is missing; allowed: {', '.join(known)}")
    text = str(profile)[:LONGEST]
    near = difflib.get_close_matches(text, known, n=1)
    meant = f"; perhaps {near[0]} is meant" if near else ""
    raise InputError(f"{params_file}: profile = {text!r} is unknown; allowed: {', '.join(known) or 'none yet'}{meant}")
