"""MLflow in the browser, as `make ui` starts it."""

import os
import re
import signal
import sqlite3
import subprocess

import pytest
from clones import clean_environment
from conftest import browser_page
from ports import free_port


@pytest.fixture(scope="module")
def ui(clone):
    """MLflow as `make ui` starts it, on loopback; the address that it prints, once it answers."""
    environment = clean_environment() | {"PORT": str(free_port())}
    environment.pop("DISPLAY", None)  # no browser of a desktop opens
    with subprocess.Popen(
        ["make", "ui"], cwd=clone, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as server:  # fmt: skip
        try:
            printed = ""
            for line in server.stdout:
                printed += line
                if found := re.search(r"Compare: (http://127\.0\.0\.1:\d+/\S+)", line):
                    break
            assert found, printed
            yield found[1]
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def test_make_ui_opens_on_the_runs_of_the_profile(ui, tmp_path):
    """In the view for training, with the numbers of every network and without the report."""
    with browser_page(tmp_path, viewport={"width": 1600, "height": 900}) as page:
        page.goto(ui)
        page.get_by_text("WFN 0.01/0.4 s0").wait_for()
        page.get_by_text("9 matching runs").wait_for()
        page.locator("[role=columnheader]").get_by_text("alpha", exact=True).wait_for()
        heads = page.locator("[role=columnheader]").all_inner_texts()
        assert {"top1", "values", "entropy", "bits", "delta", "alpha"} <= set(heads)
        assert not page.get_by_text("Judges").count()
        boxes = page.locator(".ag-row .ag-selection-checkbox input")
        boxes.nth(8).wait_for(state="attached")
        boxes = boxes.all()
        boxes[1].click()
        boxes[-1].click()
        page.get_by_role("button", name="Compare").or_(page.get_by_role("link", name="Compare")).first.click()
        page.get_by_text("Parallel Coordinates Plot").wait_for()
        axes = page.locator(".axis-title")
        axes.first.wait_for()
        assert axes.all_text_contents()[-1] == "top1"


def test_a_run_leads_to_the_page_of_results(ui, clone, tmp_path):
    """From its description, to the page among the files of the report's run."""
    database = sqlite3.connect(f"file:{clone / 'mlflow.db'}?mode=ro", uri=True)
    query = (
        "select run_uuid, experiment_id from runs join tags using (run_uuid) where key = 'dvc.stage' and value = 'fix'"
    )
    (run, experiment), *_ = database.execute(query)
    with browser_page(tmp_path, viewport={"width": 1600, "height": 900}) as page:
        page.goto(f"{ui.partition('#')[0]}#/experiments/{experiment}/runs/{run}")
        with page.context.expect_page() as opened:
            page.get_by_role("link", name="page of results").click()
        opened.value.frame_locator("iframe").get_by_text("What did it save?").wait_for()
