"""params.yaml and the profile that it names, read and checked once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pipeline.base.errors import InputError
from pipeline.base.settings.problems import checked
from pipeline.base.settings.stages import Settings

PARAMS_FILE = Path("params.yaml")
PROFILES = Path("profiles")


def load_settings(params_file: Path = PARAMS_FILE, profiles: Path = PROFILES) -> Settings:
    """Settings from params.yaml and the profile that it names.

    Raises InputError that names the file, the key, the value and what is allowed.
    """
    params = _read_yaml(params_file)
    profile = params.get("profile")
    known = sorted(path.stem for path in profiles.glob("*.yaml"))
    if profile not in known:
        raise InputError(f"{params_file}: profile = {profile!r} is unknown; allowed: {', '.join(known)}")
    profile_file = profiles / f"{profile}.yaml"
    values = _read_yaml(profile_file)
    twice = params.keys() & values.keys()
    if twice:
        raise InputError(f"{profile_file}: {', '.join(sorted(twice))}: belongs into {params_file} only")
    return checked(Settings, params | values, f"{params_file} with {profile_file}")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: a mapping of settings expected, not {type(values).__name__}")
    return values
