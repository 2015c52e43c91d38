"""Against a real MLflow with a real SQLite database."""

import subprocess
import sys
import time

import pandas as pd
import pytest
from conftest import ROOT, clean_environment
from mlflow import MlflowClient

from pipeline.base.results import Run
from pipeline.watching import tracking
from pipeline.watching.labels import Label
from pipeline.watching.tracking import LiveRun, complete, flatten, live_run, logged_keys, run_key

LABEL = Label("experiment", "WFN delta=0.01", "fix")


@pytest.fixture
def repository(repository, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "brave-test")
    return repository


def finished_run(folder, top1=98.5):
    folder.mkdir(exist_ok=True)
    (folder / "centres.csv").write_text("value\n0\n")
    (folder / "model.safetensors").write_bytes(b"not for MLflow")
    iterations = pd.DataFrame({"round": [0, 1], "entropy": [2.0, 3.5], "loss": [None, 0.25]})
    return Run(
        folder, {"top1": top1, "unique": 140}, {"delta": 0.01, "fixing": {"fractions": [0.5, 1]}}, iterations, None
    )


def start_logging(repository, top1):
    """Another process that logs a run; MLflow keeps databases open within one process."""
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'tests')\n"
        "from test_tracking import LABEL, finished_run; from pipeline.watching.tracking import complete\n"
        "complete([(LABEL, finished_run(Path(sys.argv[1]), float(sys.argv[2])))])\n"
    )
    environment = clean_environment() | {"DVC_ROOT": str(repository)}
    command = [sys.executable, "-c", program, str(repository / top1), top1]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def client(repository):
    return MlflowClient(tracking_uri=f"sqlite:///{repository / 'mlflow.db'}")


def runs(repository):
    found = client(repository)
    ids = [experiment.experiment_id for experiment in found.search_experiments()]
    return found.search_runs(ids)


def test_logged_completely_and_once(repository):
    run = finished_run(repository / "run")
    assert complete([(LABEL, run)]) == 1
    assert complete([(LABEL, run)]) == 0
    (logged,) = runs(repository)
    assert logged.info.run_name == "WFN delta=0.01"
    assert logged.info.status == "FINISHED"
    assert logged.data.params == {"delta": "0.01", "fixing.fractions": "[0.5, 1]"}
    assert logged.data.metrics["top1"] == 98.5
    assert logged.data.metrics["unique"] == 140
    assert logged.data.tags["dvc.stage"] == "fix"
    assert logged.data.tags["dvc.experiment"] == "brave-test"
    assert logged.data.tags[tracking.KEY] == run_key(run)
    history = client(repository).get_metric_history(logged.info.run_id, "rounds/entropy")
    assert [(point.step, point.value) for point in history] == [(0, 2.0), (1, 3.5)]
    history = client(repository).get_metric_history(logged.info.run_id, "rounds/loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.25)]
    artifacts = {artifact.path for artifact in client(repository).list_artifacts(logged.info.run_id)}
    assert artifacts == {"centres.csv"}
    assert logged.info.artifact_uri.startswith((repository / "mlartifacts").as_uri())


def test_a_live_run_is_known_afterwards(repository):
    run = finished_run(repository / "run")
    with live_run(LABEL, run.settings, after=0) as live:
        live.log_step(0, {"entropy": 2.0})
        assert logged_keys(repository / "mlflow.db") == set()
        live.finish(run)
    assert logged_keys(repository / "mlflow.db") == {run_key(run)}
    assert complete([(LABEL, run)]) == 0
    with live_run(LABEL, run.settings, after=0) as repeat:  # the same result again: no second run
        repeat.finish(run)
    assert len(runs(repository)) == 1


def test_short_work_is_left_to_the_last_stage(repository):
    run = finished_run(repository / "run")
    with live_run(LABEL, run.settings, after=60) as live:
        live.log_step(0, {"entropy": 2.0})
        live.finish(run)
    assert not (repository / "mlflow.db").exists()
    assert complete([(LABEL, run)]) == 1


def test_a_run_that_is_opened_later_has_all_its_steps(repository):
    run = finished_run(repository / "run")
    with live_run(LABEL, run.settings, after=0.5) as live:
        live.log_step(0, {"entropy": 2.0})
        assert not (repository / "mlflow.db").exists()
        time.sleep(0.5)
        live.log_step(1, {"entropy": 3.0})
        live.finish(run)
    (logged,) = runs(repository)
    history = client(repository).get_metric_history(logged.info.run_id, "rounds/entropy")
    assert [(point.step, point.value) for point in history] == [(0, 2.0), (1, 3.0)]


def test_a_lost_database_is_completed(repository):
    run = finished_run(repository / "run")
    start_logging(repository, "98.5").communicate()
    (repository / "mlflow.db").unlink()
    assert complete([(LABEL, run), (LABEL, finished_run(repository / "other", top1=97.0))]) == 2
    assert len(runs(repository)) == 2


def test_work_that_is_broken_off_is_not_a_result(repository):
    run = finished_run(repository / "run")
    with pytest.raises(KeyboardInterrupt), live_run(LABEL, run.settings, after=0):
        raise KeyboardInterrupt
    (broken,) = runs(repository)
    assert broken.info.status == "FAILED"
    assert complete([(LABEL, run)]) == 1


def test_a_failure_is_one_warning(repository, capsys):
    (repository / "mlflow.db").mkdir()  # no database can be made here
    run = finished_run(repository / "run")
    live = LiveRun(LABEL, run.settings, after=0)
    live.log_step(0, {"entropy": 2.0})
    live.finish(run)
    assert capsys.readouterr().err.count("warning: MLflow tracking stopped: ") == 1


def test_a_foreign_database_has_no_keys(tmp_path):
    (tmp_path / "mlflow.db").touch()
    assert logged_keys(tmp_path / "mlflow.db") == set()


def test_two_processes_may_start_a_database_together(repository):
    both = [start_logging(repository, top1) for top1 in ("1", "2")]
    assert [(process.communicate()[1], process.returncode) for process in both] == [("", 0)] * 2
    assert len(runs(repository)) == 2


def test_flattened_settings():
    assert dict(flatten({"a": 1, "b": {"c": [1, 2], "d": {}}})) == {"a": 1, "b.c": [1, 2], "b.d": {}}
