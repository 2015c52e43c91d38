"""YAML without surprises: what DVC and every other reader would take for the same value, each key once.

Versions of YAML differ in what `010`, `1_000` or a date is, which are refused; `yes` is a text here, as it is to DVC.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from pipeline.base.errors import InputError
from pipeline.base.settings.problems import shown

LARGEST = 250_000  # bytes of a file
DEEPEST = 20  # mappings and lists inside of each other
MOST = 100_000  # values, aliases counted as what they stand for
LONGEST_NUMBER = 40  # digits
# DVC forgets keys of these names, at any depth, when it asks whether a result is known already.
FORGOTTEN = ("size", "nfiles")
TAG = "tag:yaml.org,2002:"
UNCLEAR = "!unclear"
KINDS = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?(0|[1-9][0-9]*)",
    "float": r"[-+]?([0-9]+\.[0-9]*([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.[0-9]+|\.(inf|Inf|INF))|\.(nan|NaN|NAN)",
}
# Octal or not, other bases, underscores, base 60 and dates.
NOT_PLAIN = (
    r"[-+]?0[0-9]+|[-+]?0[box][0-9a-fA-F_]+|[-+]?[0-9._]*_[0-9._]*([eE][-+]?[0-9_]+)?|[-+]?\d+(:\d+)+(\.\d*)?"
    r"|\d{4}-\d\d?-\d\d?.*"
)


class _Plain(yaml.SafeLoader):
    """The loader: its own table of what is no text."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012


for _tag, _pattern in {**{f"{TAG}{kind}": text for kind, text in KINDS.items()}, UNCLEAR: NOT_PLAIN}.items():
    _Plain.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), None)


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings in a file. Raises InputError that names the file and, where it can, the line."""
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: not a file; a file of settings is needed")
        size = path.stat().st_size
        if size > LARGEST:
            raise InputError(f"{path}: {size:,} bytes; allowed for settings: at most {LARGEST:,}")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; a file of settings is needed") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text in UTF-8, from byte {error.start} on") from error
    values = parse_yaml(text, str(path))
    if values is None:
        raise InputError(f"{path}: is empty; a mapping of settings expected")
    if not isinstance(values, dict):
        raise InputError(f"{path}: a mapping of settings expected, not {type(values).__name__}")
    return values


def parse_yaml(text: str, source: str) -> Any:
    """The value that a text holds. Raises InputError that begins with `source`."""
    try:
        loader = _Plain(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _Check(source, "\n" in text).walk(node, 0)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f"line {mark.line + 1}: " if mark and "\n" in text else ""
        raise InputError(f"{source}: not valid YAML: {where}{problem or ' '.join(str(error).split())}") from error
    except RecursionError:
        raise InputError(f"{source}: values lie more than {DEEPEST} deep inside of each other") from None


class _Check:
    """A walk over everything that was written, before it becomes values."""

    def __init__(self, source: str, has_lines: bool) -> None:
        self.source, self.has_lines, self.count = source, has_lines, 0

    def walk(self, node: Node, depth: int) -> None:
        self.count += 1
        if depth > DEEPEST:  # an alias inside of what it stands for, too
            raise self._error(node, f"values lie more than {DEEPEST} deep inside of each other")
        if self.count > MOST:
            raise self._error(node, f"more than {MOST:,} values, with aliases (*name) as what they stand for")
        if isinstance(node, MappingNode):
            self._keys(node)
        elif isinstance(node, ScalarNode):
            self._scalar(node)
        self._tag(node)
        children = [each for pair in node.value for each in pair] if isinstance(node, MappingNode) else node.value
        for child in () if isinstance(node, ScalarNode) else children:
            self.walk(child, depth + 1)

    def _keys(self, node: MappingNode) -> None:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, ScalarNode) or key.tag != f"{TAG}str":
                raise self._error(key, "a key must be a name; one that looks like a number needs quotes")
            if key.value in lines:
                first = f", first in line {lines[key.value]}" if self.has_lines else ""
                raise self._error(key, f"{shown(key.value)} is given a second time{first}")
            if key.value in FORGOTTEN:
                raise self._error(key, f"no key can be called {key.value}, because DVC does not see its changes")
            lines[key.value] = key.start_mark.line + 1

    def _scalar(self, node: ScalarNode) -> None:
        if node.tag == UNCLEAR:
            unclear = f"{shown(node.value)[1:-1]} is one thing to some programs and another to others"
            raise self._error(node, f"{unclear}; write a decimal number, or a text in quotes")
        if node.tag == f"{TAG}int" and len(node.value) > LONGEST_NUMBER:
            raise self._error(node, f"a number of {len(node.value)} digits; allowed: at most {LONGEST_NUMBER}")

    def _tag(self, node: Node) -> None:
        """A tag that is written (!!int) says what is there anyway, or makes something that is no setting."""
        kind = node.tag.removeprefix(TAG)
        plain = kind in ("str", "map", "seq") or (kind in KINDS and re.fullmatch(KINDS[kind], str(node.value)))
        if not plain:
            raise self._error(node, f"the tag {node.tag.replace(TAG, '!!')} is not allowed here")

    def _error(self, node: Node, text: str) -> InputError:
        where = f"line {node.start_mark.line + 1}: " if self.has_lines else ""
        return InputError(f"{self.source}: {where}{text}")
