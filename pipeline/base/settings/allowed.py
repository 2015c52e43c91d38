"""What a value of a setting may be: kinds of numbers, names, lists and lines, and a group of settings.

Nothing is converted: `true` is no number, "0.01" in quotes is none either, and 1.0 is no count.
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

# Values of a list, lines of a mapping, and networks of a grid.
MOST = 1000
LONGEST_NAME = 100
LONGEST_TEXT = 4096
# Names that are no files on Windows.
DEVICES = re.compile(r"(?i)con|prn|aux|nul|(com|lpt)\d")

Value = TypeVar("Value")


def _with_a_point(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"write {value}.0, because folders are named after it as it is written")
    return value


def _threads(value: Any) -> Any:
    if value != "auto" and not (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1024):
        raise ValueError("allowed: auto, or a whole number from 1 to 1024")
    return value


def _integer(value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("an integer is needed")
    return value


def _no_sign(value: float) -> float:
    if math.copysign(1, value) < 0:
        raise ValueError("write 0.0")
    return value


def _rising_to_one(fractions: tuple[float, ...]) -> tuple[float, ...]:
    rising = all(a < b for a, b in itertools.pairwise(fractions))
    if not rising or fractions[-1] != 1:
        raise ValueError("must increase and end at 1")
    return fractions


def _few(values: Value) -> Value:
    count = len(values)  # type: ignore[arg-type]
    if count > MOST:
        raise ValueError(f"{count} values; allowed: at most {MOST}")
    return values


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Numbers that differ by less than six digits have the same folder."""
    found = [f"{value:g}" if isinstance(value, float) else value for value in values]
    for place, name in enumerate(found):
        if name in found[:place]:
            raise ValueError(f"{name} is given twice; allowed: once")
    return values


def _distinct_lines(lines: dict[str, Any]) -> dict[str, Any]:
    for one, other in itertools.combinations(lines, 2):
        if one.lower() == other.lower():
            raise ValueError(f"{one} and {other} differ in capitals only, and may be one folder; allowed: other names")
        if lines[one] == lines[other]:
            raise ValueError(f"{one} and {other} are the same; allowed: each setting once")
    return lines


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", text) or len(text) > LONGEST_NAME:
        raise ValueError(
            f"a name has letters, digits, - and _ only, not - or _ at its beginning, at most {LONGEST_NAME} of them"
        )
    return _no_device(text)


def _name_with_points(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", text) or len(text) > LONGEST_NAME:
        raise ValueError(f"letters, digits, -, _ and . only, not - or . at its beginning, at most {LONGEST_NAME}")
    return _no_device(text)


def _no_device(text: str) -> str:
    if DEVICES.fullmatch(text.partition(".")[0]):
        raise ValueError("cannot be a folder on Windows; allowed: another name")
    return text


def _text(value: Any) -> Any:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise ValueError("a text is needed")
    if not value.strip() or len(value) > LONGEST_TEXT:
        raise ValueError(f"a text of 1 to {LONGEST_TEXT} characters is needed")
    if any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in value):
        raise ValueError("control characters are not allowed")
    return value


# Numbers.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True)]
Switch = Annotated[bool, Field(strict=True)]
Budget = Annotated[Number, Field(gt=0, lt=1)]
Share = Annotated[Number, Field(gt=0, le=1)]
Part = Annotated[Number, Field(gt=0, lt=1)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0), AfterValidator(_no_sign)]
Decay = Annotated[Number, Field(ge=0, lt=1), AfterValidator(_no_sign)]
Count = Annotated[Whole, Field(ge=1)]
Epochs = Annotated[Whole, Field(ge=1, le=100_000)]
BatchSize = Annotated[Whole, Field(ge=2, le=1_000_000)]
Processes = Annotated[Whole, Field(ge=1, le=1024)]
Threads = Annotated[Literal["auto"] | int, BeforeValidator(_threads)]
# Seed and repeat; one repeat is added to the other, and the sum has to stay below 2**32, for k-means.
Seed = Annotated[Whole, Field(ge=0, lt=2**31)]
Repeat = Annotated[Whole, Field(ge=0, le=10**9)]
OtherSeed = Annotated[Whole, Field(ge=1, le=10**9)]
# One of some integers: 1.0 and true are none.
Integer = BeforeValidator(_integer)
# A number of a grid: DVC puts it into names of folders.
AsWritten = BeforeValidator(_with_a_point)

# Texts.
# A key of a mapping: DVC puts it into names of stages and folders.
Name = Annotated[str, AfterValidator(_name)]
PointedName = Annotated[str, AfterValidator(_name_with_points)]  # of a network or a data set
Text = Annotated[str, BeforeValidator(_text)]
Place = Annotated[Path, BeforeValidator(_text)]

# Lists and lines: each run once.
Few = AfterValidator(_few)
Distinct = AfterValidator(_distinct)
DistinctLines = AfterValidator(_distinct_lines)
# Share of all weights fixed after each round.
Fractions = Annotated[tuple[Share, ...], Field(min_length=1), Few, AfterValidator(_rising_to_one)]


class Section(BaseModel):
    """A frozen group of settings; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
