"""Not a stage: MLflow in the browser, on this machine only, at the runs of the profile (`make ui`)."""

import os
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from typing import Annotated

from typer import Option

from pipeline.base.errors import InputError
from pipeline.base.settings import load_settings
from pipeline.watching.database import StoreError
from pipeline.watching.shown import address
from pipeline.watching.store import COMPLETING, Store
from stages.common.cli import run

WAIT = 120  # seconds for the server to answer


def ui(port: Annotated[int, Option(help="On 127.0.0.1.")] = 5000) -> None:
    """Serve the runs, and open the list of the profile's networks; of a server of MLFLOW_TRACKING_URI only the list."""
    settings = load_settings()
    try:
        store = Store(COMPLETING, in_all=False)
        experiment = store.experiment(f"weight-fixing-{settings.profile}")
    except StoreError as error:
        raise InputError(f"MLflow: {error}") from None
    if store.place.is_server:
        _open(address(store.place.name, experiment))
        return
    server = f"http://127.0.0.1:{port}"
    threading.Thread(target=_open_later, args=(server, address(server, experiment)), daemon=True).start()
    options = ["--backend-store-uri", store.place.uri, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    # What judges language models would be seven more processes, and a minute of two cores.
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | os.environ
    command = [sys.executable, "-m", "mlflow", "ui", *options]
    sys.exit(subprocess.run(command, env=environment, check=False).returncode)


def _open_later(server: str, page: str) -> None:
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{server}/health", timeout=5):
                break
        except OSError:
            time.sleep(0.5)
    _open(page)


def _open(page: str) -> None:
    print(f"Runs, their numbers, and Compare: {page}", flush=True)
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(page)


if __name__ == "__main__":
    run(ui)
