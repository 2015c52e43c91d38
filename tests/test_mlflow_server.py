"""A real server of MLflow on loopback that serves artifacts: four machines at once, and what its screen shows."""

import time

import pytest
from conftest import browser_page, changed
from logged_runs import LABEL, finished_run
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow_servers import DATABASE, Server
from test_tracking import start_logging

from pipeline.base.results import Run
from pipeline.watching.completing import Result, complete
from pipeline.watching.labels import label_of
from pipeline.watching.shown import address
from pipeline.watching.tracking import LiveRun


@pytest.fixture(scope="module")
def server(tmp_path_factory, whole):
    """Its address, once it answers."""
    folder = tmp_path_factory.mktemp("server")
    (folder / DATABASE).write_bytes(whole)
    found = Server(folder)
    yield found.address
    found.end()


@pytest.fixture
def team(server, bare, monkeypatch):
    """A client of the server that MLFLOW_TRACKING_URI names."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    return MlflowClient(tracking_uri=server)


def logged(team, name):
    return team.search_runs([team.get_experiment_by_name(name).experiment_id])


def test_four_machines_log_every_run_once(server, team, tmp_path):
    """Each with a clone of its own, so with a lock of its own."""
    folders = [tmp_path / f"machine-{number}" for number in range(4)]
    writers = [start_logging(folder, "1", "2", MLFLOW_TRACKING_URI=server) for folder in folders]
    said = [(*writer.communicate(), writer.returncode) for writer in writers]
    assert [(errors, code) for _, errors, code in said] == [("", 0)] * 4
    assert not any("could not" in printed for printed, *_ in said), said
    runs = logged(team, LABEL.experiment)
    assert sorted((run.data.metrics["top1"], run.info.status) for run in runs) == [(1, "FINISHED"), (2, "FINISHED")]
    for run in runs:
        assert {each.path for each in team.list_artifacts(run.info.run_id)} == {"centres.csv"}
        assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert not any((folder / "mlflow.db").exists() for folder in folders)


def test_what_was_lost_comes_with_the_next_track(server, team, bare, monkeypatch, capsys):
    run = finished_run(bare / "run", top1=50.0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    live = LiveRun(LABEL, run.settings, after=0)
    live.finish(run)
    assert len(capsys.readouterr().err.splitlines()) == 1
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    assert [complete([Result(LABEL, run)]).logged for _ in range(2)] == [1, 0]
    live = LiveRun(LABEL, run.settings, after=0)
    live.log_step(0, {"entropy": 2.0})
    live.finish(run)  # known already
    assert [each.data.metrics["top1"] for each in logged(team, LABEL.experiment)].count(50.0) == 1
    assert capsys.readouterr().err == ""


def test_a_server_whose_database_is_busy_is_asked_again(team, bare, monkeypatch):
    """As under four writers on a slow disk: MLflow answers 500 until SQLite gives it the database."""
    log_batch, calls = MlflowClient.log_batch, []

    def busy(*arguments, **options):
        calls.append(time.monotonic())
        if len(calls) < 4:
            raise MlflowException("(sqlite3.OperationalError) database is locked")
        return log_batch(*arguments, **options)

    monkeypatch.setattr(MlflowClient, "log_batch", busy)
    monkeypatch.setattr("pipeline.watching.completing.AGAIN_AFTER", (0.1, 0.1, 0.1))
    done = complete([Result(LABEL, finished_run(bare / "run", top1)) for top1 in (61.0, 62.0)])
    assert (done.logged, done.missing, done.fault) == (2, 2, "")
    runs = [run for run in logged(team, LABEL.experiment) if run.data.metrics.get("top1") in (61, 62)]
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * 2
    assert all(run.info.status != "RUNNING" for run in logged(team, LABEL.experiment))


def test_pages_of_runs(team, bare):
    """All keys are asked for, not only those of the first page."""
    results = [Result(LABEL, finished_run(bare / str(top1), top1)) for top1 in (71.0, 72.0)]
    assert complete(results).logged == 2
    one, found = MlflowClient.search_runs, []

    def small(self, ids, query="", max_results=1000, page_token=None, **_):
        found.append(max_results)
        return one(self, ids, query, max_results=1, page_token=page_token)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, "search_runs", small)
        assert complete(results).logged == 0
    assert len(found) > 2


def test_the_screen_shows_what_tells_runs_apart(server, team, settings, bare, tmp_path):
    """The list has the numbers, and Compare has them for any choice: a baseline, a fixed network, another method."""
    own, quantiser = settings.for_quantiser("apot-3")
    coarse = changed(settings, delta=0.015)
    made = {
        "pretrain": (settings.of_baseline(), {"top1": 98.75, "unique": 10352113, "entropy": 23.26}),
        "fix": (settings.of_fixing(), {"top1": 98.38, "unique": 184, "entropy": 2.32}),
        "sweep@0.015-0.4-0": (coarse.of_fixing(), {"top1": 92.17, "unique": 123, "entropy": 2.14}),
        "quantise@apot-3": (own.of_quantiser(quantiser), {"top1": 97.47, "unique": 9277, "entropy": 4.56}),
        "report": (settings.model_dump(mode="json"), {"best_top1": 98.38}),
    }
    bare.joinpath("run").mkdir()
    results = [
        Result(label_of(stage, decides), Run(bare / "run", metrics, decides, None, None, 100.0))
        for stage, (decides, metrics) in made.items()
    ]
    assert str(complete(results)).startswith("5 of 5 runs were missing")
    experiment = team.get_experiment_by_name("weight-fixing-mnist5k").experiment_id
    with browser_page(tmp_path / "browser", viewport={"width": 1600, "height": 900}) as page:
        page.goto(address(server, experiment))
        page.get_by_text("WFN 0.015/0.4 s0 sweep").wait_for()
        page.locator("[role=columnheader]").get_by_text("alpha", exact=True).wait_for()
        wanted = ["top1", "values", "entropy", "bits", "delta", "alpha"]
        heads = [page.locator("[role=columnheader]").get_by_text(name, exact=True).first for name in wanted]
        places = [head.bounding_box()["x"] for head in heads]
        assert places == sorted(places)
        assert places[-1] < 1600
        text = page.inner_text("body")
        assert all(shown in text for shown in ("98.38", "184", "2.32", "0.015", "0.4", "9277", "97.47"))
        assert not page.get_by_text("report", exact=True).count()
        assert page.get_by_text("Model registry").count()  # of training; the other mode has prompts and judges
        assert not page.get_by_text("Judges").count()
        for box in page.locator(".ag-row .ag-selection-checkbox input").all():
            box.click()
        page.get_by_role("button", name="Compare").or_(page.get_by_role("link", name="Compare")).first.click()
        page.locator(".axis-title").first.wait_for()
        assert page.locator(".axis-title").all_text_contents() == ["alpha", "bits", "delta", "top1"]
        text = page.inner_text("body")
        assert all(f"\n{name}\n" in text for name in ("top1", "values", "entropy"))
        assert all(shown in text for shown in ("98.38", "92.17", "97.47", "9277", "123", "2.14", "1.7min"))
