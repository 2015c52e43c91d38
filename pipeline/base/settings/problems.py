"""Checking values, and naming the first that is not allowed in one line."""

from __future__ import annotations

import json
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from pipeline.base.errors import InputError
from pipeline.base.settings.allowed import Section

Checked = TypeVar("Checked", bound=Section)


def checked(kind: type[Checked], values: dict[str, Any], source: str) -> Checked:
    """`values` as a group of settings. Raises InputError that begins with `source` and names the first problem."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{source}: {_first_problem(kind, error)}") from None


def _first_problem(kind: type[Section], error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        section: Any = kind
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
