"""What a person can mend, in one line on the standard error, with exit code 2; anything else keeps its traceback."""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec

import typer

from wfn.files.pictures import PictureError
from wfn.packed.errors import PackedError

# What `pip install` is given for a package that is missing.
BRINGS = {
    **dict.fromkeys(("timm", "torchvision", "PIL", "safetensors"), "'weight-fixing[timm]'"),
    **dict.fromkeys(("onnx", "onnxscript", "onnxruntime"), "'weight-fixing[onnx]'"),
    "huggingface_hub": "'weight-fixing[hub]'",
    "coremltools": "coremltools",
}
P = ParamSpec("P")


class InputError(Exception):
    """What the person running has to change, in one line."""


def say(message: object) -> None:
    """One line of an error."""
    typer.echo(f"error: {' '.join(str(message).split())}", err=True)


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """A command whose errors that a person can mend are one line on standard error, with exit code 2."""

    @functools.wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # names of files may be no text
                stream.reconfigure(errors="backslashreplace")
        try:
            command(*arguments, **options)
            return
        except BrokenPipeError:  # whoever reads, as `head`, has enough
            raise
        except (InputError, PackedError, PictureError) as error:
            say(error)
        except OSError as error:
            say(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in BRINGS:
                raise
            say(f"{package} is not installed: pip install {BRINGS[package]}")
        raise typer.Exit(2)

    return run


@contextmanager
def refusing() -> Iterator[None]:
    """Within, a ValueError is one that the library documents: about what it was given."""
    try:
        yield
    except ValueError as error:
        raise InputError(error) from error
