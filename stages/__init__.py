"""The stages of dvc.yaml, each a thin command: `python -m stages.<name> --help`."""

import importlib.util
import sys

NEEDED = ("psutil", "pydantic", "torch", "timm", "typer")

missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
if missing:  # another Python than the clone's; said before anything is imported, or any result is touched
    print(f"error: {sys.executable} has no {missing[0]}; activate the clone's: . .venv/bin/activate", file=sys.stderr)
    sys.exit(2)

from stages.common.stopping import stop_while_importing, stop_with_dvc  # noqa: E402

# Before the imports of a stage, which take seconds in which its `dvc` may go, or a person may think better of it.
stop_while_importing()
stop_with_dvc()
