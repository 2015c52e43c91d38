"""Checking values, and naming all that is not allowed in one line."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.base.errors import InputError
from pipeline.base.naming import together
from pipeline.base.settings.allowed import Section

Checked = TypeVar("Checked", bound=Section)
LONGEST = 80  # characters of a value


def checked(kind: type[Checked], values: dict[str, Any], source: str) -> Checked:
    """`values` as a group of settings. Raises InputError that begins with `source` and names the problems."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{source}: {together(problems(kind, error))}") from None


def problems(kind: type[Section], error: ValidationError) -> list[str]:
    """Each problem as "key = value: what is allowed"."""
    return [text for details in error.errors(include_url=False) for text in _named(kind, details)]


def shown(value: Any) -> str:
    """A value as it is written, in one line that is not too long."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    text = text if text.isprintable() else json.dumps(value, default=str)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def not_a_setting(key: str, allowed: Iterable[str]) -> str:
    """What is said of an unknown key."""
    known = list(allowed)
    near = difflib.get_close_matches(key.rpartition(".")[2], known, n=1)
    meant = f", perhaps {near[0]} is meant" if near else ""
    return f"{key} is not a setting{meant}; allowed here: {', '.join(known)}"


def _named(kind: type[Section], details: ErrorDetails) -> Iterator[str]:
    where, message, value = details["loc"], details["msg"], details["input"]
    key = ".".join(_part(part) for part in where if part != "[key]")
    if details["type"] == "extra_forbidden":
        yield not_a_setting(key, _section(kind, where).model_fields)
    elif details["type"] == "missing":
        yield f"{key} is missing"
    elif where[-1:] == ("[key]",):
        yield f"{key}: {message.removeprefix('Value error, ')}"
    elif details["type"] == "value_error":
        if not isinstance(value, dict):
            begin = f"{key} = {shown(value)}: "
        elif _section(kind, (*where, "")):  # whose problems begin with their key
            begin = f"{key}." if key else ""
        else:
            begin = f"{key}: "
        yield from (f"{begin}{text}" for text in details["ctx"]["error"].args)
    else:
        message = message[0].lower() + message[1:]
        message = message.replace("tuple", "list").replace("valid boolean", "valid boolean, true or false")
        yield f"{key} = {shown(value)}: {message}"


def _part(part: str | int) -> str:
    return str(part) if re.fullmatch(r"[\w-]+", str(part)) else shown(part)


def _section(kind: Any, where: Sequence[str | int]) -> Any:
    """The group of settings that the last part of a key is in; None where it is in none."""
    for part in where[:-1]:
        kind = get_args(kind)[1] if get_origin(kind) is dict else kind.model_fields[part].annotation
        if type(None) in get_args(kind):
            kind = get_args(kind)[0]
    return kind if hasattr(kind, "model_fields") else None
