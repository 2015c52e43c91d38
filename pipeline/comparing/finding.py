"""Which methods there are: read off the files of pipeline/methods, of which only the one asked for is imported."""

from __future__ import annotations

import ast
import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pipeline.base.errors import InputError
from pipeline.base.settings import Quantiser

if TYPE_CHECKING:  # it imports torch, and what looks ahead need not wait for that
    from pipeline.comparing.task import Method

FOLDER = Path(__file__).parents[1] / "methods"


def known_methods() -> list[str]:
    """Names of the methods."""
    return sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))


def check_method(name: str, quantiser: Quantiser) -> None:
    """Raise InputError for a quantiser, called `name` in params.yaml, that cannot be run here.

    That is an unknown method, one whose packages are missing, or a width that it does not know.
    """
    key = f"baselines.quantisers.{name}"
    if quantiser.method not in known_methods():
        raise InputError(f"{key}.method = {quantiser.method!r}: no such method; allowed: {', '.join(known_methods())}")
    tree = ast.parse((FOLDER / f"{quantiser.method}.py").read_text())
    for package in _imported(tree):
        if package not in sys.modules and find_spec(package) is None:
            raise needs(key, quantiser, package)
    for widths in _written_widths(tree):
        check_width(name, quantiser, widths)


def check_width(name: str, quantiser: Quantiser, widths: range | None) -> None:
    """Raise InputError for a width that a method does not know. widths: its `BITS`; None: it has no width."""
    key = f"baselines.quantisers.{name}.bits"
    if widths is None and quantiser.bits is not None:
        raise InputError(f"{key} = {quantiser.bits}: {quantiser.method} has no width; allowed: no bits at all")
    if widths is not None and quantiser.bits not in widths:
        allowed = f"{widths.start} to {widths.stop - 1}"
        raise InputError(f"{key} = {quantiser.bits}: allowed for {quantiser.method}: {allowed}")


def find_method(name: str, quantiser: Quantiser) -> Method:
    """The method that `quantiser`, called `name` in params.yaml, asks for.

    Raises InputError for an unknown method, a width that it does not know, or a package that it lacks.
    """
    key = f"baselines.quantisers.{name}"
    check_method(name, quantiser)
    try:
        method = cast("Method", importlib.import_module(f"pipeline.methods.{quantiser.method}"))
    except ModuleNotFoundError as error:
        raise needs(key, quantiser, str(error.name).partition(".")[0]) from error
    missing = [part for part in ("BITS", "quantise") if not hasattr(method, part)]
    if missing:
        raise InputError(f"{key}.method = {quantiser.method!r}: its module lacks {missing[0]}")
    check_width(name, quantiser, method.BITS)
    return method


def needs(key: str, quantiser: Quantiser, package: str) -> InputError:
    """What is said where a method's package is missing."""
    hint = "; `uv sync --group peers` installs it" if package == "coremltools" else ""
    return InputError(f"{key}.method = {quantiser.method!r}: needs the package {package}{hint}")


def _imported(tree: ast.Module) -> list[str]:
    """The packages that a module imports at its head."""
    names = [node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]
    names += [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    return [name.partition(".")[0] for name in names]


def _written_widths(tree: ast.Module) -> list[range | None]:
    """`BITS` of a module where it is written as a range of numbers or None; else nothing, the stage itself will see."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["BITS"]:
            match node.value:
                case ast.Constant(None):
                    return [None]
                case ast.Call(ast.Name("range"), [ast.Constant(int(first)), ast.Constant(int(end))]):
                    return [range(first, end)]
    return []
