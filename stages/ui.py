"""Not a stage: MLflow in the browser, on this machine only, at the runs of the profile (`make ui`)."""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from collections.abc import Callable
from functools import partial
from typing import Annotated

from typer import Option

from pipeline.base.errors import InputError
from pipeline.base.settings import load_settings
from pipeline.watching.database import StoreError
from pipeline.watching.labels import experiments
from pipeline.watching.shown import address, run_address
from pipeline.watching.store import COMPLETING, Store
from stages.common.cli import run

WAIT = 120  # seconds for the server to answer


def ui(
    port: Annotated[int, Option(envvar="PORT", help="On 127.0.0.1.")] = 5000,
    key: Annotated[str, Option(envvar="KEY", help="Of the one run to be shown, as the page of results has it.")] = "",
) -> None:
    """Serve the runs, and open the list of the profile's networks, or one run; of a server of others open it only."""
    settings = load_settings()
    try:
        store = Store(COMPLETING, in_all=False)
        found = run_or_list(store, settings.profile, key)
    except StoreError as error:
        raise InputError(f"MLflow: {error}") from None
    if store.place.is_server:
        _open(found(store.place.name))
        return
    _check_free(port)
    server = f"http://127.0.0.1:{port}"
    threading.Thread(target=_open_later, args=(server, found(server)), daemon=True).start()
    options = ["--backend-store-uri", store.place.uri, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    # What judges language models would be seven more processes, and a minute of two cores.
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | os.environ
    command = [sys.executable, "-m", "mlflow", "ui", *options]
    with subprocess.Popen(command, env=environment) as process:
        try:
            sys.exit(process.wait())
        finally:
            process.terminate()  # which it hands on to the processes that it has begun


def _check_free(port: int) -> None:
    """Raise InputError for a port that another server has, which would be shown in place of this one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise InputError(f"--port {port}: {error}; allowed: a free one") from None


def run_or_list(store: Store, profile: str, key: str) -> Callable[[str], str]:
    """Where a server shows the networks of a profile, or the run with a key."""
    if not key:
        return partial(address, experiment_id=store.experiment(experiments(profile)[0]))
    found = [run for run in store.runs(experiments(profile)) if run.key == key]
    if not found:
        raise InputError(
            f"KEY = {key}: no such run in MLflow; allowed: one of the page of results; `dvc repro` logs them"
        )
    info = store.call("get_run", found[0].run_id).info
    return partial(run_address, experiment_id=info.experiment_id, run_id=info.run_id)


def _open_later(server: str, page: str) -> None:
    here = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy leads to this machine
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        try:
            with here.open(f"{server}/health", timeout=5):
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
