"""Settings: params.yaml and one profile, checked once and frozen.

The comments in params.yaml and profiles/*.yaml say what each setting is for; this module says what is allowed.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pipeline.base.errors import InputError

PARAMS_FILE = Path("params.yaml")
PROFILES = Path("profiles")
# Data sets that a package of ours carries.
PACKAGED = ("mnist5k",)

Budget = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
# Added to the seed: repeats of one setting differ in nothing else.
Repeat = Annotated[int, Field(ge=0)]
# A key of a mapping: DVC puts it into names of stages and folders.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]

# Settings of `fixing` that the baselines share: what is quantised.
FIXING_OF_BASELINES = {"parameters", "fix_batch_norm"}


def _with_a_point(value: Any) -> Any:
    if isinstance(value, int):
        raise ValueError(f"write {value}.0, because folders are named after it as it is written")
    return value


def _rising_to_one(fractions: tuple[float, ...]) -> tuple[float, ...]:
    rising = all(a < b for a, b in itertools.pairwise(fractions))
    if not rising or fractions[-1] != 1:
        raise ValueError("must increase and end at 1")
    return fractions


# A number of a grid: DVC puts it into names of folders.
AsWritten = BeforeValidator(_with_a_point)
# Share of all weights fixed after each round.
Fractions = Annotated[tuple[Share, ...], Field(min_length=1), AfterValidator(_rising_to_one)]


class Section(BaseModel):
    """A frozen group of settings; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Fixing(Section):
    """How weights are fixed (method, sections 3 to 7)."""

    fractions: Fractions
    clustering: Literal["recluster", "incremental"]
    distance: Literal["relative", "euclidean"]
    zero_threshold: Annotated[float, Field(gt=0, lt=1)]
    temperature: Positive
    parameters: Literal["layers", "all"]
    fix_batch_norm: bool


class Variant(Section):
    """What makes one more fixed network; everything else is as for `fix`."""

    delta: Budget
    alpha: NotNegative
    # None: those of `fixing`.
    fractions: Fractions | None = None
    repeat: Repeat = 0


class Grid(Section):
    """The settings that `sweep` covers: every delta with every alpha, each with every repeat."""

    delta: tuple[Annotated[Budget, AsWritten], ...]
    alpha: tuple[Annotated[NotNegative, AsWritten], ...]
    repeats: tuple[Repeat, ...]


class Explore(Section):
    """What `explore` covers, on a network of its own in rounds of its own: every delta with every alpha and repeat.

    ablations: changes to `fixing`, by name, each with every delta and repeat at the alpha of `fix`.
    """

    model: str
    fractions: Fractions
    epochs: Count
    delta: tuple[Budget, ...]
    alpha: tuple[NotNegative, ...]
    repeats: tuple[Repeat, ...]
    ablations: dict[Name, dict[str, Any]]


class Quantiser(Section):
    """One network of the comparison: a module of pipeline/methods and what it is asked for."""

    method: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    # Width of a weight; for the methods that have one.
    bits: Count | None = None
    repeat: Repeat = 0


class Apot(Section):
    """Choices of the APoT baseline (docs/baselines.md)."""

    activations: bool
    recipe: Literal["imagenet", "cifar"]


class Baselines(Section):
    """What WFN is compared with."""

    quantisers: dict[Name, Quantiser]
    apot: Apot


class Hardware(Section):
    """Where and in which precision training runs."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["32-true", "bf16-mixed"]
    devices: Count
    nodes: Count
    accumulate: Count
    channels_last: bool
    compile: bool
    workers: Annotated[int, Field(ge=0)]

    @property
    def processes(self) -> int:
        """Processes that share every batch."""
        return self.devices * self.nodes


class Data(Section):
    """A data set and how its training images are varied."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    root: Path | None
    hub: str | None
    mini: Count | None
    storage: Literal["memory", "files"]
    recipe: Literal["timm", "authors"]
    statistics: Literal["images", "model"]
    pixels: Annotated[int, Field(ge=8)]
    channels: Literal[1, 3]
    max_megapixels: Annotated[float, Field(gt=0, le=10_000)]
    test_share: Annotated[float, Field(gt=0, lt=1)]
    shift: Annotated[int, Field(ge=0)]
    flip: bool

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if self.root is None and self.hub is None and self.name not in PACKAGED:
            raise ValueError(
                f"root = null: a folder of images is needed, or hub: a Hugging Face data set; without both, name can "
                f"be {', '.join(PACKAGED)} only, not {self.name!r}"
            )
        return self

    @model_validator(mode="after")
    def _recipe_is_for_files(self) -> Self:
        if self.recipe == "authors" and self.storage == "memory":
            raise ValueError("recipe = authors: is for storage: files; allowed with storage: memory: timm")
        return self


class Stem(Section):
    """A first convolution in place of the model's own, and whether the max-pool behind it stays."""

    kernel: Literal[1, 3, 5, 7]
    stride: Count
    pool: bool


class Model(Section):
    """A timm image classifier and where its weights come from.

    num_classes: None for as many as the images have.
    """

    name: str
    module: Path | None
    in_chans: Count
    num_classes: Annotated[int, Field(ge=2)] | None
    stem: Stem | None
    checkpoint: str | None
    pretrained: bool
    options: dict[str, Any]

    @property
    def outputs(self) -> int:
        """How many classes the network tells apart, known once `Settings.for_classes` has been told."""
        if self.num_classes is None:
            raise ValueError("model.num_classes is null: Settings.for_classes says how many there are")
        return self.num_classes

    def without_weights(self) -> Model:
        """The same network, to be given its weights by the caller."""
        return self.model_copy(update={"pretrained": False, "checkpoint": None})


class Pretrain(Section):
    """Training of a baseline from scratch."""

    from_weights: bool
    if_unreachable: Literal["stop", "train"]
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    lr: Positive
    weight_decay: NotNegative
    ema: Decay


class Finetune(Section):
    """Training in a round of fixing (method, section 8)."""

    epochs: Annotated[int, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=2)]
    optimizer: Literal["adam", "sgd"]
    lr: Positive
    momentum: Decay
    weight_decay: NotNegative
    clip_norm: Positive
    ema: Decay


class Quantise(Section):
    """Training of the networks that WFN is compared with: images per batch, rates, the SGD of APoT and LSQ.

    rates: learning rates by method; those that it does not name have `lr` if they train by SGD, else `finetune.lr`.
    """

    batch_size: Annotated[int, Field(ge=2)]
    lr: Positive
    rates: dict[str, Positive]
    momentum: Decay
    weight_decay: NotNegative


class Rates(Section):
    """How learning rates are chosen (`stages/rates.py`): on images kept from the training images, with another seed."""

    validation_share: Annotated[float, Field(gt=0, lt=1)]
    repeat: Count
    grid: Annotated[tuple[Positive, ...], Field(min_length=1)]


class Settings(Section):
    """Everything that decides a result."""

    profile: str
    seed: Annotated[int, Field(ge=0)]
    delta: Budget
    alpha: NotNegative
    fixing: Fixing
    grid: Grid
    explore: Explore
    repeats: tuple[Count, ...]
    variants: dict[Name, Variant]
    baselines: Baselines
    rates: Rates
    hardware: Hardware
    data: Data
    model: Model
    pretrain: Pretrain
    finetune: Finetune
    quantise: Quantise

    @model_validator(mode="after")
    def _model_takes_the_images(self) -> Self:
        if self.model.in_chans != self.data.channels:
            raise ValueError(f"model.in_chans = {self.model.in_chans}: must equal data.channels = {self.data.channels}")
        return self

    @model_validator(mode="after")
    def _first_budget_below_one(self) -> Self:
        grids = ("delta", (self.delta,)), ("grid.delta", self.grid.delta)
        budgets = [(key, delta, self.fixing.fractions) for key, deltas in grids for delta in deltas]
        budgets += [("explore.delta", delta, self.explore.fractions) for delta in self.explore.delta]
        budgets += [
            (f"variants.{name}.delta", each.delta, each.fractions or self.fixing.fractions)
            for name, each in self.variants.items()
        ]
        for key, delta, fractions in budgets:
            rounds = len(fractions)
            if delta * rounds >= 1:
                raise ValueError(
                    f"{key} = {delta}: with {rounds} rounds the first budget is {delta * rounds:g}; "
                    f"allowed: below {1 / rounds:g}"
                )
        return self

    @model_validator(mode="after")
    def _batches_can_be_shared(self) -> Self:
        for key in ("pretrain", "finetune", "quantise"):
            size, shares = getattr(self, key).batch_size, self.hardware.processes * self.hardware.accumulate
            if size % shares:
                raise ValueError(
                    f"{key}.batch_size = {size}: hardware asks for {shares} equal parts "
                    "(devices x nodes x accumulate); allowed: multiples of that"
                )
        return self

    @property
    def trains_the_baseline(self) -> bool:
        """Whether the baseline is trained here; otherwise its given weights are taken as they are."""
        given = self.model.pretrained or self.model.checkpoint is not None
        return self.pretrain.from_weights or not given

    @property
    def training_epochs(self) -> int:
        """Epochs that fixing trains in all rounds together; every baseline gets as many."""
        return (len(self.fixing.fractions) - 1) * self.finetune.epochs

    def for_classes(self, count: int) -> Settings:
        """The settings for images of so many classes, which model.num_classes is where it says null.

        Raises InputError where a null would be one class only.
        """
        if self.model.num_classes is not None:
            return self
        if count < 2:
            raise InputError(f"model.num_classes = null: the images have {count} class; at least 2 are needed")
        return self.model_copy(update={"model": self.model.model_copy(update={"num_classes": count})})

    def repeated(self, repeat: int) -> Settings:
        """The same settings with the seed of a repeat."""
        return self.model_copy(update={"seed": self.seed + repeat})

    def for_stage(self, stage: str) -> Settings:
        """The settings of a stage of dvc.yaml that fixes: "fix", "repeats@1", "sweep@0.015-0.4-2", "variants@one-shot".

        Raises InputError for a repeat, a cell or a variant that params.yaml does not have.
        """
        kind, _, cell = stage.partition("@")
        if kind == "variants":
            return self.for_variant(cell)
        cells = {"repeats": self._repeats(), "sweep": self._sweep()}.get(kind)
        if cells is None:
            return self
        if cell not in cells:
            raise InputError(f"{kind} has no {cell!r}; allowed: {', '.join(cells) or 'none are set'}")
        return self.changed(cells[cell])

    def _repeats(self) -> dict[str, dict[str, Any]]:
        return {str(repeat): {"seed": self.seed + repeat} for repeat in self.repeats}

    def _sweep(self) -> dict[str, dict[str, Any]]:
        grid = self.grid
        return {
            f"{delta!r}-{alpha!r}-{repeat}": {"delta": delta, "alpha": alpha, "seed": self.seed + repeat}
            for delta, alpha, repeat in itertools.product(grid.delta, grid.alpha, grid.repeats)
        }

    def for_quantiser(self, name: str) -> tuple[Settings, Quantiser]:
        """What `baselines.quantisers` has under this name, and the settings with its seed.

        Raises InputError for a name that it does not have.
        """
        known = self.baselines.quantisers
        if name not in known:
            raise InputError(f"baselines.quantisers has no {name!r}; allowed: {', '.join(known) or 'none are set'}")
        return self.repeated(known[name].repeat), known[name]

    def for_variant(self, name: str) -> Settings:
        """The settings with what `variants` has under this name.

        Raises InputError for a name that it does not have.
        """
        if name not in self.variants:
            raise InputError(f"variants has no {name!r}; allowed: {', '.join(self.variants) or 'none are set'}")
        chosen = self.variants[name]
        fixing = self.fixing.model_copy(update={"fractions": chosen.fractions or self.fixing.fractions})
        update = {"delta": chosen.delta, "alpha": chosen.alpha, "fixing": fixing}
        return self.repeated(chosen.repeat).model_copy(update=update)

    def for_explore(self) -> Settings:
        """The settings with the network, the rounds and the epochs of `explore`."""
        model: dict[str, Any] = {
            "name": self.explore.model,
            "checkpoint": None,
            "pretrained": False,
            "stem": None,
            "options": {},
        }
        update = {
            "model": self.model.model_copy(update=model),
            "fixing": self.fixing.model_copy(update={"fractions": self.explore.fractions}),
            "finetune": self.finetune.model_copy(update={"epochs": self.explore.epochs}),
        }
        return self.model_copy(update=update)

    def explored(self) -> dict[str, Settings]:
        """The settings of every network that `explore` fixes, by the name of its folder.

        Raises InputError for an ablation that changes what `fixing` does not have.
        """
        grid, small = self.explore, self.for_explore()
        cells: list[tuple[str, dict[str, Any]]] = [
            ("", {"delta": delta, "alpha": alpha}) for delta in grid.delta for alpha in grid.alpha
        ]
        for name, changes in grid.ablations.items():
            fixing = {f"fixing.{key}": value for key, value in changes.items()}
            cells += [(f"{name}_", {"delta": delta, "alpha": self.alpha, **fixing}) for delta in grid.delta]
        return {
            f"{prefix}delta-{cell['delta']:g}_alpha-{cell['alpha']:g}_repeat-{repeat}": small.repeated(repeat).changed(
                cell
            )
            for prefix, cell in cells
            for repeat in grid.repeats
        }

    def of_baseline(self) -> dict[str, Any]:
        """The settings that decide the baseline, for its settings.json."""
        return self.model_dump(mode="json", include={"profile", "seed", "hardware", "data", "model", "pretrain"})

    def of_fixing(self) -> dict[str, Any]:
        """The settings that decide a fixed network, for its settings.json."""
        return self.of_baseline() | self.model_dump(mode="json", include={"delta", "alpha", "fixing", "finetune"})

    def of_quantiser(self, quantiser: Quantiser) -> dict[str, Any]:
        """The settings that decide one network of the comparison, for its settings.json."""
        fixing = self.fixing.model_dump(mode="json", include=FIXING_OF_BASELINES)
        return {
            **self.of_baseline(),
            **quantiser.model_dump(mode="json", exclude={"repeat"}),
            **self.model_dump(mode="json", include={"finetune", "quantise"}),
            "apot": self.baselines.apot.model_dump(mode="json"),
            "fixing": fixing,
            "epochs": self.training_epochs,
        }

    def changed(self, changes: Mapping[str, Any]) -> Settings:
        """The same settings with other values, by dotted key ("fixing.fix_batch_norm"), checked again.

        Raises InputError for a key or a value that is not allowed.
        """
        values = self.model_dump()
        for key, value in changes.items():
            section = values
            *parents, last = key.split(".")
            for parent in parents:
                section = section.setdefault(parent, {})
                if not isinstance(section, dict):
                    raise InputError(f"{key} is not a setting; {parent} has no parts")
            section[last] = value
        return _checked(values, ", ".join(f"{key} changed" for key in changes))


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
        for part in problem["loc"][:-1]:  # a mapping's keys are free, its values are sections
            section = (
                section.model_fields[part].annotation if hasattr(section, "model_fields") else get_args(section)[1]
            )
        return f"{key} is not a setting; allowed here: {', '.join(section.model_fields)}"
    if problem["type"] == "missing":
        return f"{key} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):  # of a section: it names the key
        return f"{key}.{message}" if key else message
    return f"{key} = {json.dumps(problem['input'], default=str)}: {message[0].lower() + message[1:]}"
