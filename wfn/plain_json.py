"""JSON that others have written, whose nesting is looked at before it is parsed."""

from __future__ import annotations

import json
import re
from typing import Any

DEEPEST = 100  # objects and lists inside of each other
# A text, whose brackets are none, also one without an end; or a bracket. Each character is looked at once.
_TEXT_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def parse_json(text: str, **options: Any) -> Any:
    """What a JSON text holds. options: those of `json.loads`. Raises ValueError for what is no JSON, or is too deep.

    Python parses nested values by recursion in C and only stops at its recursion limit. A process that has compiled a
    network has raised that limit, and there a few kilobytes of brackets would end it without a word.
    """
    depth = 0
    for found in _TEXT_OR_BRACKET.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > DEEPEST:
            raise ValueError(f"objects and lists lie more than {DEEPEST} deep inside of each other")
    return json.loads(text, **options)
