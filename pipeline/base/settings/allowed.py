"""What a value of a setting may be: kinds of numbers, names and lists, and a group of settings."""

from __future__ import annotations

import itertools
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

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
