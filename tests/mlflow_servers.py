"""Servers of MLflow on loopback, for the tests and the bench of faults: a real one, and such as are no help."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.clones import clean_environment
from tests.ports import free_port

DATABASE, FILES = "team.db", "files"
WITHOUT_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # as stages/ui.py: seven processes less
STARTS = 180.0  # seconds at most


class Server:
    """A real one that serves artifacts, on a database in a folder; it can be ended and started again at its address."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._port = folder, free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Start it, and return once it answers."""
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)),
            *("--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder / DATABASE}"),
            *("--artifacts-destination", str(self.folder / FILES)),
        ]
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=clean_environment() | WITHOUT_JOBS, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + STARTS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.end()
                raise RuntimeError(f"mlflow server: {(self.folder / 'log').read_text()[-1000:]}")
            time.sleep(0.5)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, and all that it has started, with a signal."""
        with suppress(ProcessLookupError):  # all of them have ended
            os.killpg(self._process.pid, number)
        self._process.wait()

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.address}/health", timeout=5).close()
        except OSError:
            return False
        return True


class _Answers(BaseHTTPRequestHandler):
    """Gives the same answer to everything, after a while."""

    def __init__(self, status: int, content: bytes, seconds: float, *arguments: Any) -> None:
        self._status, self._content, self._seconds = status, content, seconds
        super().__init__(*arguments)

    def do_GET(self) -> None:
        time.sleep(self._seconds)
        self.send_response(self._status)
        self.send_header("Content-Length", str(len(self._content)))
        self.end_headers()
        self.wfile.write(self._content)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Who asked has gone."""


@contextmanager
def answering(status: int, content: bytes, seconds: float) -> Iterator[str]:
    """The address of a server that is none of MLflow's."""
    with _Quiet(("127.0.0.1", 0), partial(_Answers, status, content, seconds)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
