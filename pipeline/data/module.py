"""A Python file of the person's own that registers networks with timm (model.module)."""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import timm

from pipeline.base.errors import InputError, one_line
from pipeline.base.results import in_clone
from pipeline.base.settings import Model


def module_file(settings: Model) -> Path | None:
    """The file that model.module names, a relative one in the clone; None where it names none."""
    return None if settings.module is None else in_clone(settings.module)


def register_networks(settings: Model) -> None:
    """Run the file that model.module names, if any, once in a process: it registers its networks with timm.

    Raises InputError that names the file, and the line where there is one, for a file that is not there or does not run
    to its end, and for one that registers nothing, or a network under a name that timm has.
    """
    path = module_file(settings)
    if path is None:
        return
    name = f"networks_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return
    key = f"model.module = {settings.module}"
    before = {each: timm.model_entrypoint(each) for each in timm.list_models()}
    source = _source(path, key)
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # where timm looks for it
    try:
        # Not imported: Python would write what it compiled beside the file, and could take that for a later one.
        exec(compile(source, str(path), "exec"), module.__dict__)
        _check_registered(key, before)
    except InputError:
        del sys.modules[name]
        raise
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(f"{key}: {line_of(error, path)}{type(error).__name__}: {one_line(error)}") from error


def _source(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path that can be none
        raise InputError(f"{key}: {(getattr(error, 'strerror', None) or str(error)).lower()}") from None


def _check_registered(key: str, before: Mapping[str, object]) -> None:
    after = {each: timm.model_entrypoint(each) for each in timm.list_models()}
    taken = [each for each, function in before.items() if after.get(each) is not function]
    if taken:
        raise InputError(f"{key}: registers {taken[0]}, a name that timm has already; allowed: another name")
    if after.keys() == before.keys():
        raise InputError(f"{key}: registers no network; a function with @timm.models.register_model is needed")


def line_of(error: BaseException, path: Path | None) -> str:
    """ "line 12: " for the last line of a file that an error came from; nothing where it came from elsewhere."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    return f"line {lines[-1]}: " if lines and lines[-1] is not None else ""
