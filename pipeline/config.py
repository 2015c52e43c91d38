"""Settings: params.yaml and one profile, checked once and frozen.

The comments in params.yaml and profiles/*.yaml say what each setting is for; this module says what is allowed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

PARAMS_FILE = Path("params.yaml")
PROFILES = Path("profiles")

Budget = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class InputError(Exception):
    """Something that the person running can mend; the message is one line that says what."""


class Section(BaseModel):
    """A frozen group of settings; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Fixing(Section):
    """How weights are fixed (method, sections 3 to 7)."""

    fractions: tuple[Share, ...] = Field(min_length=1)
    clustering: Literal["recluster", "incremental"]
    distance: Literal["relative", "euclidean"]
    zero_threshold: Annotated[float, Field(gt=0, lt=1)]
    temperature: Positive
    fix_batch_norm: bool

    @model_validator(mode="after")
    def _fractions_rise_to_one(self) -> Self:
        rising = all(a < b for a, b in zip(self.fractions, self.fractions[1:], strict=False))
        if not rising or self.fractions[-1] != 1:
            raise ValueError(f"fractions = {list(self.fractions)}: must increase and end at 1")
        return self


class Grid(Section):
    """The settings that `sweep` covers: every delta with every alpha."""

    delta: tuple[Budget, ...]
    alpha: tuple[NotNegative, ...]


class Hardware(Section):
    """Where and in which precision training runs."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["32-true", "bf16-mixed"]


class Data(Section):
    """A data set and how its training images are varied."""

    name: Literal["mnist5k", "folder"]
    root: Path | None
    size: Annotated[int, Field(ge=8)]
    channels: Literal[1, 3]
    test_share: Annotated[float, Field(gt=0, lt=1)]
    shift: Annotated[int, Field(ge=0)]
    flip: bool


class Model(Section):
    """A timm image classifier and where its weights come from."""

    name: str
    in_chans: Count
    num_classes: Annotated[int, Field(ge=2)]
    checkpoint: Path | None
    pretrained: bool
    options: dict[str, Any]

    def without_weights(self) -> Model:
        """The same network, to be given its weights by the caller."""
        return self.model_copy(update={"pretrained": False, "checkpoint": None})


class Pretrain(Section):
    """Training of a baseline from scratch."""

    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    lr: Positive
    weight_decay: NotNegative


class Finetune(Section):
    """Training in a round of fixing (method, section 8)."""

    epochs: Annotated[int, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=2)]
    optimizer: Literal["adam", "sgd"]
    lr: Positive
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: NotNegative
    clip_norm: Positive


class Settings(Section):
    """Everything that decides a result."""

    profile: str
    seed: Annotated[int, Field(ge=0)]
    delta: Budget
    alpha: NotNegative
    fixing: Fixing
    grid: Grid
    hardware: Hardware
    data: Data
    model: Model
    pretrain: Pretrain
    finetune: Finetune

    @model_validator(mode="after")
    def _model_takes_the_images(self) -> Self:
        if self.model.in_chans != self.data.channels:
            raise ValueError(f"model.in_chans = {self.model.in_chans}: must equal data.channels = {self.data.channels}")
        return self

    @model_validator(mode="after")
    def _first_budget_below_one(self) -> Self:
        rounds = len(self.fixing.fractions)
        for key, deltas in (("delta", [self.delta]), ("grid.delta", self.grid.delta)):
            for delta in deltas:
                if delta * rounds >= 1:
                    raise ValueError(
                        f"{key} = {delta}: with {rounds} rounds the first budget is {delta * rounds:g}; "
                        f"allowed: below {1 / rounds:g}"
                    )
        return self

    def of_baseline(self) -> dict[str, Any]:
        """The settings that decide the baseline, for its settings.json."""
        return self.model_dump(mode="json", exclude={"delta", "alpha", "fixing", "grid", "finetune"})

    def of_fixing(self) -> dict[str, Any]:
        """The settings that decide a fixed network, for its settings.json."""
        return self.model_dump(mode="json", exclude={"grid"})

    def with_setting(self, *, delta: float | None, alpha: float | None) -> Settings:
        """The same settings with another delta or alpha, checked again.

        Raises InputError for a value that is not allowed.
        """
        changes = {"delta": delta, "alpha": alpha}
        values = self.model_dump() | {key: value for key, value in changes.items() if value is not None}
        return _checked(values, "--delta, --alpha")


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
    return _checked(params | values, f"{params_file} with {profile_file}")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: a mapping of settings expected, not {type(values).__name__}")
    return values


def _checked(values: dict[str, Any], source: str) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{source}: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        section: Any = Settings
        for part in problem["loc"][:-1]:
            section = section.model_fields[part].annotation
        return f"{key} is not a setting; allowed here: {', '.join(section.model_fields)}"
    if problem["type"] == "missing":
        return f"{key} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}.{message}" if key else message
    return f"{key} = {json.dumps(problem['input'], default=str)}: {message[0].lower() + message[1:]}"
