"""Databases and servers that cannot be used: training goes on within five seconds, one line says why, `track` says so.

And where a damaged database is ours, it is set aside and made anew.
"""

import sqlite3
import time
from contextlib import closing

import pytest
from conftest import fixed_network
from filelock import FileLock
from logged_runs import LABEL, finished_run
from mlflow import MlflowClient
from mlflow_servers import answering
from test_tracking import log, runs

import wfn
from pipeline.watching import completing
from pipeline.watching.completing import Result, complete
from pipeline.watching.models import save_model
from pipeline.watching.tracking import LiveRun


def changed(path, *commands):
    with closing(sqlite3.connect(path)) as connection, connection:
        for command in commands:
            connection.execute(command)


def cannot_be_logged(root, capsys, *reasons):
    """A live run costs little and says one line; the last stage says that nothing was logged, and why."""
    run = finished_run(root / "run")
    start = time.monotonic()
    live = LiveRun(LABEL, run.settings, after=0)
    live.log_step(0, {"entropy": 2.0})
    live.finish(run)
    assert time.monotonic() - start < 5
    lines = [line for line in capsys.readouterr().err.splitlines() if "waiting" not in line]
    assert len(lines) == 1
    assert lines[0].startswith("warning: not logged to MLflow: ")
    assert lines[0].endswith("; fix goes on, stage `track` logs it later")
    said = str(complete([Result(LABEL, run), Result(LABEL, finished_run(root / "other", 1.0))]))
    assert said.startswith("2 of 2 runs could not be logged to MLflow, 0 of 0 packed networks: ")
    assert said.endswith("; the next `dvc repro` tries again")
    assert all(reason in text for text in (lines[0], said) for reason in reasons), (lines, said)
    return run


def test_what_is_not_ours_is_left_alone(bare, capsys, whole):
    path = bare / "mlflow.db"
    changed(path, "create table customers (name)")
    cases = [(path.read_bytes(), "mlflow.db is another program's database; move it away")]
    path.write_bytes(whole)
    changed(path, "update alembic_version set version_num = 'f00dfeed0001'")
    cases.append((path.read_bytes(), "mlflow.db is a newer MLflow's (revision f00dfeed0001); use that MLflow"))
    for content, reason in cases:
        path.write_bytes(content)
        cannot_be_logged(bare, capsys, reason)
        assert path.read_bytes() == content
    assert not list(bare.glob("mlflow.db.damaged*"))


def test_what_fails_after_a_network_was_logged_is_one_line_too(bare, capfd, monkeypatch):
    """MLflow's own log, with tracebacks, stays silent."""
    packed = bare / "network.wfn"
    wfn.pack(fixed_network(num_classes=4), packed, network="test_resnet")
    results = [
        Result(LABEL, finished_run(bare / str(top1), top1), packed if top1 == 1 else None) for top1 in (1.0, 2.0)
    ]

    def saved(*arguments):
        save_model(*arguments)
        changed(bare / "mlflow.db", "drop table latest_metrics")

    monkeypatch.setattr(completing, "save_model", saved)
    monkeypatch.setattr(completing, "AGAIN_AFTER", ())
    done = complete(results)
    assert (done.logged, done.networks_logged) == (1, 1)
    assert "no such table: latest_metrics" in done.fault
    assert capfd.readouterr().err == ""


def test_folders_and_files_in_each_others_place(bare, capsys):
    (bare / "mlflow.db").mkdir()
    cannot_be_logged(bare, capsys, "mlflow.db is a folder; move it away")
    (bare / "mlflow.db").rmdir()
    (bare / "mlartifacts").touch()
    run = cannot_be_logged(bare, capsys, "mlartifacts is a file and not a folder; move it away")
    (bare / "mlartifacts").unlink()
    assert log(run) == 1


def test_a_database_that_another_process_writes(bare, capsys, whole):
    (bare / "mlflow.db").write_bytes(whole)
    with closing(sqlite3.connect(bare / "mlflow.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        run = cannot_be_logged(bare, capsys, "mlflow.db is locked by another process")
    assert log(run) == 1


def test_a_database_that_is_locked_while_a_network_is_trained(bare, capsys, whole):
    """A call that waits for it is the last one."""
    (bare / "mlflow.db").write_bytes(whole)
    run = finished_run(bare / "run")
    live = LiveRun(LABEL, run.settings, after=0)
    live.log_step(0, {"entropy": 2.0})
    with closing(sqlite3.connect(bare / "mlflow.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        start = time.monotonic()
        live.log_step(1, {"entropy": 2.0})
        live.fail()
        assert time.monotonic() - start < 5
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: not logged to MLflow: ")
    assert log(run) == 1


def test_a_lock_that_another_process_holds(bare, capsys, monkeypatch, whole):
    monkeypatch.setattr("pipeline.watching.completing.COMPLETING", 4.0)
    (bare / "mlflow.db").write_bytes(whole)
    with FileLock(bare / "mlflow.db.lock", thread_local=False, is_singleton=False):
        run = cannot_be_logged(bare, capsys, "mlflow.db.lock has been held by another process for 3 s")
        assert "MLflow: mlflow.db.lock is held by another process; waiting for 3 s\n" in capsys.readouterr().err
    assert log(run) == 1


def half_set_up(path, whole):
    """As a full disk leaves it: tables of a step that is not written down as done."""
    path.write_bytes(whole)
    changed(path, "update alembic_version set version_num = '451aebb31d03'", "drop table spans")


def first_tables(path, whole):
    changed(path, "create table experiments (id)", "create table runs (id)")


def hole(path, whole):
    path.write_bytes(whole[:8192] + b"\xaa" * 65536 + whole[8192 + 65536 :])


def text(path, whole):
    path.write_text("not a database " * 100)


def cut(path, whole):
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (half_set_up, "mlflow.db is half set up"),
        (first_tables, "mlflow.db is half set up"),
        (hole, "mlflow.db is damaged ("),
        (text, "mlflow.db is damaged (file is not a database)"),
        (cut, "mlflow.db is damaged ("),
    ],
)
def test_a_damaged_database_is_set_aside(bare, capsys, whole, damage, reason):
    path = bare / "mlflow.db"
    damage(path, whole)
    assert log(finished_run(bare / "run")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"MLflow: {reason}")
    assert line.endswith("; it is set aside as mlflow.db.damaged-1, a new one is made")
    assert path.with_name("mlflow.db.damaged-1").exists()
    assert len(runs(bare)) == 1


def test_a_damaged_database_of_the_team_is_left_alone(bare, capsys, whole, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{bare / 'team.db'}")
    (bare / "team.db").write_text("not a database " * 100)
    cannot_be_logged(bare, capsys, "team.db is damaged (file is not a database); move it away")
    assert not list(bare.glob("team.db.damaged*"))
    assert (bare / "team.db").read_text().startswith("not a database")


@pytest.mark.parametrize(
    ("status", "content", "seconds", "reason"),
    [
        (200, b"", 30, "does not answer"),
        (500, b'{"error_code": "INTERNAL_ERROR"}', 0, "answers with status 500, and not as MLflow does"),
        (200, b"<html>Sign in</html>", 0, "answers with status 200, and not as MLflow does"),
        (200, b"[1, 2]", 0, "answers with status 200, and not as MLflow does"),
        (200, b"{}", 0, "does not answer as MLflow does"),
        (404, b"<html>Nothing here</html>", 0, "answers with status 404, and not as MLflow does"),
        (401, b"who are you?", 0, "http://127.0.0.1:"),
    ],
    ids=["slow", "500", "html", "list", "empty", "404", "401"],
)
def test_a_server_that_is_no_help(bare, capsys, monkeypatch, status, content, seconds, reason):
    with answering(status, content, seconds) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        cannot_be_logged(bare, capsys, reason)
    assert not (bare / "mlflow.db").exists()


def test_a_server_that_is_down(bare, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    cannot_be_logged(bare, capsys, "http://127.0.0.1:9 does not answer (")
    assert "secret" not in capsys.readouterr().err


def test_a_store_that_falls_silent_while_a_network_is_trained(bare, capsys, monkeypatch, whole):
    """A call that hangs costs five seconds, once."""
    (bare / "mlflow.db").write_bytes(whole)
    run = finished_run(bare / "run")
    live = LiveRun(LABEL, run.settings, after=0)
    live.log_step(0, {"entropy": 2.0})
    calls = []
    monkeypatch.setattr(MlflowClient, "log_batch", lambda *_, **__: (calls.append(1), time.sleep(30)))
    start = time.monotonic()
    for step in range(1, 4):
        live.log_step(step, {"entropy": 2.0})
    live.finish(run)
    assert len(calls) == 1
    assert time.monotonic() - start < 8  # two of them would be at least that
    (line,) = capsys.readouterr().err.splitlines()
    assert "does not answer in time; fix goes on" in line
