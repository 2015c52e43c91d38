"""MLflow in the browser, as `make ui` starts it."""

import json
import os
import signal
import sqlite3
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from conftest import browser_page, clean_environment


@pytest.fixture(scope="module")
def ui(clone):
    """MLflow as `make ui` starts it, on loopback; its address, once it answers."""
    address = "http://127.0.0.1:5000"
    with subprocess.Popen(
        ["make", "ui"], cwd=clone, env=clean_environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as server:  # fmt: skip
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    with urllib.request.urlopen(address, timeout=5) as answer:
                        assert b"MLflow" in answer.read()
                    break
                except (urllib.error.URLError, ConnectionError):
                    assert server.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.5)
            yield address
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def test_mlflow_compares_runs_without_any_setting_up(clone, ui, tmp_path):
    """Compare, as the list of runs opens it: parallel coordinates of what differs between the runs, and their top-1."""
    with sqlite3.connect(clone / "mlflow.db") as connection:
        found = connection.execute(
            "select run_uuid, runs.experiment_id from runs join experiments using (experiment_id) "
            "where experiments.name = 'weight-fixing-mnist5k-explore' "
            "and runs.name like 'WFN delta=% alpha=0.4 seed=1'"
        ).fetchall()
    assert len(found) == 2
    runs, experiments = (
        urllib.parse.quote(json.dumps(sorted(set(map(str, part))))) for part in zip(*found, strict=True)
    )
    with browser_page(tmp_path) as page:
        page.goto(f"{ui}/#/compare-runs?runs={runs}&experiments={experiments}")
        page.get_by_text("Parallel Coordinates Plot").wait_for()
        axes = page.locator(".axis-title")
        axes.first.wait_for()
        assert axes.all_text_contents() == ["delta", "top1"]
        assert "WFN delta=0.015 alpha=0.4 seed=1" in page.inner_text("body")
