"""The command `wfn`: packed files from the command line (docs/command-line.md)."""

import sys


def main() -> None:
    """Run the command, whose extra `cli` may not be installed."""
    try:
        from wfn.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        print(f"error: {error.name} is not installed: pip install 'weight-fixing[cli]'", file=sys.stderr)
        sys.exit(2)
    app(prog_name="wfn")
