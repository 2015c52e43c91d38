"""What all stages share on the command line: errors of one line, exit code 2."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.base.errors import InputError, lack_of_memory, lost_part
from pipeline.base.settings import parse_yaml
from stages.common.log import lenient
from stages.common.stopping import Stopped, stoppable, wait_for_first

Changes = Annotated[list[str], typer.Option("--set", help="key=value instead of the one in params.yaml; repeatable.")]
Stage = Annotated[
    str, typer.Option("--stage", envvar="DVC_STAGE", help="The stage of dvc.yaml that is run, as in variants@one-shot.")
]
Runs = Annotated[Path | None, typer.Option("--runs", help="Folder of the profile's runs; runs/PROFILE without it.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for what is made; the stage's own without it.")]
Packed = Annotated[Path | None, typer.Option("--packed", help="What stage pack wrote; packed/PROFILE without it.")]


def changes(given: Sequence[str], stage: str, reads: Sequence[str]) -> dict[str, Any]:
    """Values of `--set key=value`, read as YAML, by dotted key.

    reads: the settings, and sections of them, that act in this stage. Raises InputError for any other, because its
    value would be ignored or has made files that the stage is given, and for what is no key=value.
    """
    found: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise InputError(f"--set {text}: key=value is needed, as in --set fixing.fix_batch_norm=false")
        if key.partition(".")[0] not in reads:
            raise InputError(
                f"--set {text}: stage {stage} does not read it, or reads what was made with it; "
                f"allowed: {', '.join(reads)}, and their parts, as in hardware.devices"
            )
        if key in found:
            raise InputError(f"--set {text}: {key} is set a second time; allowed: once")
        found[key] = parse_yaml(value, f"--set {text}")
    return found


def run(stage: Callable[..., None]) -> None:
    """Run `stage` with arguments from the command line.

    What the person running can mend (InputError, or a file that cannot be read or written) ends in one line and
    exit code 2, a signal to stop in one line and 130 or 143; anything else is a bug and keeps its traceback.
    """

    @functools.wraps(stage)
    def guarded(*arguments: object, **options: object) -> None:
        try:
            with stoppable():
                stage(*arguments, **options)
        except Stopped as stopped:
            if not wait_for_first():
                typer.echo(str(stopped), err=True)
            raise typer.Exit(stopped.exit_code) from None
        except InputError as error:
            message = str(error)
        except OSError as error:
            message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        except (MemoryError, RuntimeError) as error:
            message = lack_of_memory(error) or lost_part(error)
            if not message:
                raise
        else:
            return
        typer.echo(f"error: {message}", err=True)
        raise typer.Exit(2)

    if sys.argv[1:] == ["--version"]:
        typer.echo(f"weight-fixing {importlib.import_module('wfn').__version__}")  # brings torch along
        return
    sys.stdout, sys.stderr = lenient(sys.stdout), lenient(sys.stderr)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(help=stage.__doc__)(guarded)
    app()
