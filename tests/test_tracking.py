"""Against a real MLflow with a real SQLite database."""

import errno
import os
import shutil
import subprocess
import sys
import time

import pytest
from clones import ROOT, clean_environment
from logged_runs import LABEL, finished_run
from mlflow import MlflowClient

from pipeline.base.errors import InputError
from pipeline.base.results import run_key
from pipeline.watching.completing import Result, complete
from pipeline.watching.labels import Label
from pipeline.watching.store import HEARD, KEY, NOTE, WRITER, Store
from pipeline.watching.tracking import LiveRun, live_run
from pipeline.watching.writer import is_gone, this_writer
from stages.ui import run_or_list


@pytest.fixture
def ready(bare, whole):
    """A clone with a database that has no runs."""
    (bare / "mlflow.db").write_bytes(whole)
    return bare


def log(run, label=LABEL):
    """How many runs were missing and are logged."""
    done = complete([Result(label, run)])
    assert not done.fault
    return done.logged


def start_logging(repository, *top1, before="", **environment):
    """Another process that logs runs, after other lines; MLflow keeps databases open within one process."""
    program = f"{before}\nimport runpy\nrunpy.run_path({str(ROOT / 'tests' / 'logged_runs.py')!r}, run_name='__main__')"
    command = [sys.executable, "-c", program, str(repository), *top1]
    environment |= {"DVC_ROOT": str(repository), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=repository.parent, env=clean_environment() | environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def client(repository):
    return MlflowClient(tracking_uri=f"sqlite:///{repository / 'mlflow.db'}")


def runs(repository, found=None):
    found = found or client(repository)
    ids = [experiment.experiment_id for experiment in found.search_experiments()]
    return found.search_runs(ids)


def keys():
    return {run.key for run in Store(10, in_all=False).runs(["experiment"])} - {""}


def test_logged_completely_and_once(ready):
    run = finished_run(ready / "run")
    assert log(run) == 1
    assert log(run) == 0
    (logged,) = runs(ready)
    assert logged.info.run_name == LABEL.name
    assert logged.info.status == "FINISHED"
    assert logged.info.end_time - logged.info.start_time == 90_500  # as long as the work itself took
    assert (logged.data.params["delta"], logged.data.params["method"]) == ("0.01", "wfn")
    numbers = {name: value for name, value in logged.data.metrics.items() if not name.startswith("work/")}
    assert numbers == {"top1": 98.5, "values": 140, "entropy": 2.5}
    assert logged.data.tags["dvc.stage"] == "fix"
    assert logged.data.tags["dvc.experiment"] == "brave-test"
    assert logged.data.tags[KEY] == run_key("fix", run)
    history = client(ready).get_metric_history(logged.info.run_id, "work/entropy")
    assert [(point.step, point.value) for point in history] == [(0, 2.0), (1, 3.5)]
    history = client(ready).get_metric_history(logged.info.run_id, "work/loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.25)]
    artifacts = {artifact.path for artifact in client(ready).list_artifacts(logged.info.run_id)}
    assert artifacts == {"centres.csv"}
    assert logged.info.artifact_uri.startswith((ready / "mlartifacts").as_uri())
    experiment = client(ready).get_experiment_by_name("experiment")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_equal_results_of_two_stages_are_two_runs(ready):
    run = finished_run(ready / "run")
    results = [Result(Label("experiment", stage, stage), run) for stage in ("repeats@1", "sweep@0.01-0.4-1")]
    assert complete(results).logged == 2
    assert complete(results).logged == 0
    assert len(runs(ready)) == 2


def test_a_live_run_is_known_afterwards(ready):
    run = finished_run(ready / "run")
    with live_run(LABEL, run.settings, after=0) as live:
        live.log_step(0, {"entropy": 2.0})
        assert keys() == set()
        live.finish(run)
    assert keys() == {run_key("fix", run)}
    assert log(run) == 0
    with live_run(LABEL, run.settings, after=0) as repeat:  # the same result again: no second run
        repeat.finish(run)
    assert len(runs(ready)) == 1


def test_short_work_is_left_to_the_last_stage(bare):
    run = finished_run(bare / "run")
    with live_run(LABEL, run.settings, after=60) as live:
        live.log_step(0, {"entropy": 2.0})
        live.finish(run)
    assert not (bare / "mlflow.db").exists()
    assert log(run) == 1  # in a database of its own making


def test_a_run_that_is_opened_later_has_all_its_steps(ready):
    run = finished_run(ready / "run")
    with live_run(LABEL, run.settings, after=0.5) as live:
        live.log_step(0, {"entropy": 2.0})
        assert not runs(ready)
        time.sleep(0.5)
        live.log_step(1, {"entropy": 3.0})
        live.finish(run)
    (logged,) = runs(ready)
    history = client(ready).get_metric_history(logged.info.run_id, "work/entropy")
    assert [(point.step, point.value) for point in history] == [(0, 2.0), (1, 3.0)]


def test_work_that_is_broken_off_is_not_a_result(ready):
    run = finished_run(ready / "run")
    with pytest.raises(KeyboardInterrupt), live_run(LABEL, run.settings, after=0):
        raise KeyboardInterrupt
    (broken,) = runs(ready)
    assert broken.info.status == "FAILED"
    assert log(run) == 1


def test_files_that_were_deleted_are_filled_again(ready):
    runs_ = [finished_run(ready / name, top1) for name, top1 in (("one", 97.0), ("two", 98.0))]
    results = [Result(LABEL, run) for run in runs_]
    assert complete(results).logged == 2
    assert complete(results).refilled == 0
    shutil.rmtree(ready / "mlartifacts")
    done = complete(results)
    assert (done.logged, done.refilled, done.fault) == (0, 2, "")
    assert "0 of 2 runs were missing in MLflow, 0 of 0 packed networks, files of 2 more" in str(done)
    assert len(list((ready / "mlartifacts").rglob("centres.csv"))) == 2


def test_an_upload_that_fails_leaves_nothing(ready, monkeypatch):
    monkeypatch.setattr("pipeline.watching.completing.AGAIN_AFTER", (0.1,))
    run = finished_run(ready / "run")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", full)
        said = str(complete([Result(LABEL, run)]))
    assert said.startswith("1 of 1 runs could not be logged to MLflow, 0 of 0 packed networks: ")
    assert "No space left on device" in said
    assert runs(ready) == []
    assert log(run) == 1


def test_a_run_whose_process_is_gone_is_not_open_for_ever(ready):
    run = finished_run(ready / "run")
    live = LiveRun(LABEL, run.settings, after=0)
    live.log_step(0, {"entropy": 2.0})
    (opened,) = runs(ready)
    assert log(run) == 1
    assert client(ready).get_run(opened.info.run_id).info.status == "RUNNING"  # this process lives
    assert not is_gone(opened.data.tags[WRITER], 0.0)
    assert abs(int(opened.data.tags[HEARD]) - time.time()) < 60
    now, week = int(time.time()), 7 * 24 * 3600
    with subprocess.Popen(["true"]) as ended:
        host = this_writer().partition(" ")[0]
    for writer, began, heard, expected in [
        (f"{host} {ended.pid} 1", now, now, "KILLED"),
        ("elsewhere 1 1", now - 2 * week, now - week + 600, "RUNNING"),
        ("elsewhere 1 1", now - 2 * week, now - week - 600, "KILLED"),
        ("elsewhere 1 1", now - week + 600, None, "RUNNING"),
        ("elsewhere 1 1", now - week - 600, None, "KILLED"),  # killed before its first word
        (None, now - 2 * week, None, "RUNNING"),  # a person's own
    ]:
        given = {WRITER: writer, HEARD: heard, NOTE: "of an experiment"}
        tags = {key: str(value) for key, value in given.items() if value is not None}
        number = client(ready).create_run(opened.info.experiment_id, began * 1000, tags).info.run_id
        assert log(run) == 0
        assert client(ready).get_run(number).info.status == expected, (writer, began, heard)


def test_nothing_stays_of_a_last_stage_that_was_killed(ready):
    dies = "import os, mlflow\nmlflow.MlflowClient.log_artifact = lambda *_: os.kill(os.getpid(), 9)"
    killed = start_logging(ready, "1", before=dies)
    assert (killed.communicate()[1], killed.returncode) == ("", -9)
    assert [run.info.status for run in runs(ready)] == ["RUNNING"]
    again = start_logging(ready, "1")
    assert (again.wait(), [run.info.status for run in runs(ready)]) == (0, ["FINISHED"])


def test_a_process_number_that_came_again_is_another_process():
    host, number, began = this_writer().split(" ")
    assert int(number) == os.getpid()
    assert is_gone(f"{host} {number} {began}1", time.time())


def test_doubles_of_another_day_are_cleaned_up(ready):
    run = finished_run(ready / "run")
    log(run)
    (first,) = runs(ready)
    for _ in range(2):
        found = client(ready)
        double = found.create_run(first.info.experiment_id, tags={KEY: run_key("fix", run)}).info.run_id
        found.set_terminated(double)
    assert log(run) == 0
    assert [each.info.run_id for each in runs(ready)] == [first.info.run_id]


def test_every_run_leads_to_the_page_of_results(ready):
    """In its description, once; and its key, which the page has, leads to it."""
    run, report = finished_run(ready / "run"), finished_run(ready / "reports", 99.0)
    results = [Result(LABEL, run), Result(Label("experiment-report", "report", "report"), report)]
    assert complete(results).logged == 2
    page, logged = sorted(runs(ready), key=lambda each: each.data.tags["dvc.stage"], reverse=True)
    key = run_key("fix", run)
    address = f"/#/experiments/{page.info.experiment_id}/runs/{page.info.run_id}/artifacts/index.html"
    note = f"Stage `fix`, on the [page of results]({address}) (`{ready}/reports/index.html`) under its key {key}."
    assert logged.data.tags["mlflow.note.content"] == note
    assert "mlflow.note.content" not in page.data.tags
    found = run_or_list(Store(10, in_all=False), "p", key)("http://127.0.0.1:5000")
    assert found == f"http://127.0.0.1:5000/#/experiments/{logged.info.experiment_id}/runs/{logged.info.run_id}"
    with pytest.raises(InputError, match="KEY = 123: no such run in MLflow"):
        run_or_list(Store(10, in_all=False), "p", "123")


def test_a_description_that_a_person_wrote_stays(ready):
    """Around our line, which follows the page; without it, nothing is added."""
    mine, theirs = finished_run(ready / "run"), finished_run(ready / "other", 97.0)
    other = Result(Label("experiment", "other", "repeats@1"), theirs)
    first, later = (
        Result(Label("experiment-report", "report", "report"), finished_run(ready / f"reports{top1:g}", top1))
        for top1 in (99.0, 98.0)
    )
    complete([Result(LABEL, mine), other, first])
    found = {run.data.tags["dvc.stage"]: run for run in runs(ready)}
    line = found["fix"].data.tags["mlflow.note.content"]
    client(ready).set_tag(found["fix"].info.run_id, "mlflow.note.content", f"# The good one\n\n{line}\n\nBatch 7.")
    client(ready).set_tag(found["repeats@1"].info.run_id, "mlflow.note.content", "mine alone")
    complete([Result(LABEL, mine), other, later])
    notes = {run.data.tags["dvc.stage"]: run.data.tags.get("mlflow.note.content") for run in runs(ready)}
    assert notes["repeats@1"] == "mine alone"
    before, renewed, after = notes["fix"].split("\n\n")
    assert (before, after) == ("# The good one", "Batch 7.")
    assert renewed != line
    assert "reports98/index.html" in renewed


def test_what_is_complete_is_not_opened_again(ready, monkeypatch):
    """Importing MLflow takes seconds: not where nothing is lacking."""
    run, report = finished_run(ready / "run"), finished_run(ready / "reports", 99.0)
    results = [Result(LABEL, run), Result(Label("experiment-report", "report", "report"), report)]
    complete(results)
    monkeypatch.setattr(Store, "_open", lambda _: pytest.fail("opened"))
    assert complete(results).logged == 0


def test_four_processes_log_every_run_once(bare):
    """At once, where there is no database yet."""
    patient = "import pipeline.watching.completing as completing; completing.COMPLETING = 600.0"
    writers = [start_logging(bare, "1", "2", "3", before=patient) for _ in range(4)]
    said = [(*writer.communicate(), writer.returncode) for writer in writers]
    assert [code for *_, code in said] == [0] * 4
    lines = [line for _, errors, _ in said for line in errors.splitlines()]
    assert all(line.startswith("MLflow: mlflow.db.lock is held by another process; waiting") for line in lines), lines
    assert not any("could not" in printed for printed, *_ in said), said
    assert sum(int(printed.split()[0]) for printed, *_ in said) == 3
    logged = runs(bare)
    assert sorted(run.data.metrics["top1"] for run in logged) == [1, 2, 3]
    assert {run.info.status for run in logged} == {"FINISHED"}
    found = client(bare)
    assert all({each.path for each in found.list_artifacts(run.info.run_id)} == {"centres.csv"} for run in logged)


def test_a_relative_address_is_relative_to_the_clone(bare, whole, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///shared/team.db")
    monkeypatch.chdir(tmp_path_factory.mktemp("queued"))
    (bare / "shared").mkdir()
    (bare / "shared" / "team.db").write_bytes(whole)
    run = finished_run(bare / "run")
    assert (log(run), log(run)) == (1, 0)
    found = MlflowClient(tracking_uri=f"sqlite:///{bare / 'shared' / 'team.db'}")
    (logged,) = runs(bare, found)
    assert logged.info.artifact_uri.startswith((bare / "shared" / "mlartifacts").as_uri())
    assert not (bare / "mlflow.db").exists()
