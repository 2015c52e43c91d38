"""`make ui` as a process: the port that it has, and what is left when it ends."""

import signal
import socket
import subprocess
import sys
import time
import urllib.request

import psutil
import pytest
from clones import ROOT, clean_environment
from ports import free_port


@pytest.fixture
def command(bare, whole, files):
    (bare / "mlflow.db").write_bytes(whole)

    def make(port):
        environment = clean_environment() | {"DVC_ROOT": str(bare), "PYTHONPATH": str(ROOT)}
        words = [sys.executable, "-m", "stages.ui", "--port", str(port)]
        return subprocess.Popen(
            words, cwd=files, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return make


def test_a_port_that_another_server_has_is_named(command):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = command(port)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert errors.splitlines()[-1].startswith(f"error: --port {port}: ")
    assert "allowed: a free one" in errors


def test_nothing_is_left_of_a_server_that_is_stopped(command):
    """Also where the signal reaches the command alone, as a supervisor's does."""
    port = free_port()
    process = command(port)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            break
        except OSError:
            time.sleep(0.5)
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    _, left = psutil.wait_procs(family, timeout=30)
    assert not left, left
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
