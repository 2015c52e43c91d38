"""A sweep on a real Ray cluster and a real Slurm: the results of one machine, and what is left when something dies."""

import dataclasses
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, contextmanager
from importlib.metadata import version

import boto3
import pandas as pd
import psutil
import pytest
import slurm_cluster
import torch
from clones import ROOT, clean_environment, edited, files_of, heed_ctrl_c, make_clone, run_in
from moto.server import ThreadedMotoServer
from ray.cluster_utils import Cluster
from spread_clone import EACH_ONCE, WHOLE, make_held_clone, make_small_clone, noted, whole

from pipeline.base.errors import InputError
from pipeline.spreading import on_ray as on_ray_module
from pipeline.spreading import sweep
from pipeline.spreading.cell import Cell, News, Outcome, Source, differences, release, work
from pipeline.spreading.engine import Needs, needs_of
from pipeline.spreading.on_ray import OnRay
from pipeline.spreading.plan import source_of
from pipeline.spreading.progress import Progress

# Seconds that Ray waits for a head that is gone; else a minute.
PATIENCE = ("RAY_gcs_rpc_server_reconnect_timeout_s", "10")
TIMES = ("timing.json", "iterations.csv")  # files with seconds in them
SPREAD = "python -m stages.spread"


@pytest.fixture(scope="module")
def cluster():
    """A head that makes nothing and two nodes with a core each, as processes of their own."""
    with ray_cluster() as found:
        yield found


@contextmanager
def ray_cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        found.add_node(num_cpus=1)
    try:
        yield found
    finally:
        found.shutdown()


def test_a_remote_is_needed_where_results_are_to_travel_over_one(tmp_path, monkeypatch):
    make_small_clone(tmp_path / "clone")
    monkeypatch.chdir(tmp_path / "clone")
    with pytest.raises(InputError, match=r"^--remote: DVC has no default remote; dvc remote add --local --default "):
        source_of("0" * 40, True, None)


def on_ray(cluster):
    return f"{SPREAD} --engine ray --address {cluster.address}"


@contextmanager
def spreading(clone, command, environment=None):
    """The command at work, in a session of its own; whatever is left of it ends here."""
    with (clone.parent / f"{clone.name}.err").open("w") as said:
        process = subprocess.Popen(
            ["bash", "-c", f". .venv/bin/activate; exec {command}"], cwd=clone, stdin=subprocess.DEVNULL,
            env=clean_environment() | (environment or {}), stdout=said, stderr=said, start_new_session=True,
            preexec_fn=heed_ctrl_c,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def until(condition, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def at_work(clone):
    """The stages that are run for a clone, wherever."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DVC_ROOT") == str(clone) and "step.py" in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def kept(clone):
    """How many stages have a checkpoint."""
    return len([each for each in (clone / ".ckpt").glob("*") if each.suffix != ".new"])


def said(clone):
    return (clone.parent / f"{clone.name}.err").read_text()


def test_every_network_is_made_once_in_its_order(cluster, tmp_path):
    clone = tmp_path / "clone"
    log = make_small_clone(clone)
    done = run_in(clone, on_ray(cluster))
    assert done.returncode == 0, done.stderr
    assert whole(clone) == WHOLE
    assert noted(log, "begins") == noted(log, "ends") == EACH_ONCE
    assert "spread: 4 of 4 cells are done, 0 running, 0 waiting\n" in done.stderr
    assert "pretrain: 0.5 of 0.5 s, top-1 90.00\n" in done.stderr

    edited(clone / "step.py", "Stands", "It stands")
    refused = run_in(clone, on_ray(cluster))
    assert refused.returncode == 2
    assert refused.stderr == "error: step.py: not committed; workers have commits only\n"


def test_a_node_that_dies_has_its_cell_go_on_on_another(cluster, tmp_path):
    clone = tmp_path / "clone"
    log, hold = make_held_clone(clone)
    with spreading(clone, on_ray(cluster)) as process:
        until(lambda: kept(clone) == len(at_work(clone)) == 2)
        dies = min(cluster.worker_nodes, key=id)
        dies.kill_raylet()
        cluster.add_node(num_cpus=1)
        until(lambda: sum(noted(log, "stopped").values()) == 1)
        hold.unlink()
        assert process.wait(timeout=900) == 0, said(clone)
    assert sum(noted(log, "stopped").values()) == 1, "its stage did not outlive it"
    assert noted(log, "goes on") == noted(log, "stopped"), "and went on from its checkpoint"
    assert noted(log, "begins") == noted(log, "ends") == EACH_ONCE
    assert whole(clone) == WHOLE
    assert "begun again on" in said(clone)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_sweep_that_is_stopped_goes_on(cluster, tmp_path, number, code):
    clone = tmp_path / "clone"
    log, hold = make_held_clone(clone, stopping=4)  # after three seconds Ray itself would have ended it
    with spreading(clone, on_ray(cluster)) as process:
        until(lambda: kept(clone) == len(at_work(clone)) == 2)
        process.send_signal(number)
        assert process.wait(timeout=300) == code
        until(lambda: not at_work(clone))
    hold.unlink()
    if code > 0:
        last = said(clone).splitlines()[-1]
        assert last == f"stopped by {number.name}: the same command goes on from what is finished"
    assert sum(noted(log, "stopped").values()) == 2
    done = run_in(clone, on_ray(cluster))
    assert done.returncode == 0, done.stderr
    assert noted(log, "goes on") == noted(log, "stopped")
    assert noted(log, "begins") == noted(log, "ends") == EACH_ONCE
    assert whole(clone) == WHOLE


def test_after_the_end_of_the_head_the_next_one_finishes_the_rest(tmp_path, monkeypatch):
    monkeypatch.setenv(*PATIENCE)
    clone = tmp_path / "clone"
    log, hold = make_held_clone(clone)
    with ray_cluster() as own, spreading(clone, on_ray(own)) as process:
        until(lambda: kept(clone) == len(at_work(clone)) == 2)
        own.head_node.kill_gcs_server()
        assert process.wait(timeout=600) != 0
        until(lambda: not at_work(clone))
    hold.unlink()
    done = run_in(clone, SPREAD)
    assert done.returncode == 0, done.stderr
    assert noted(log, "begins") == noted(log, "ends") == EACH_ONCE
    assert whole(clone) == WHOLE


@pytest.fixture
def bucket():
    """The configuration of an S3 server on loopback, as DVC has it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys).create_bucket(Bucket="results")
    yield {"endpointurl": endpoint, "access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1"}
    server.stop()


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_without_a_shared_disk_results_travel_over_a_remote(cluster, tmp_path, kind, request):
    clone, workers = tmp_path / "clone", tmp_path / "workers"
    log = make_small_clone(clone)
    url, options = (
        (str(tmp_path / "remote"), {}) if kind == "folder" else ("s3://results/dvc", request.getfixturevalue("bucket"))
    )
    add = [f"dvc remote add --local --default results {url}"]
    add += [f"dvc remote modify --local results {key} {value}" for key, value in options.items()]
    done = run_in(clone, " && ".join([*add, f"{on_ray(cluster)} --remote --folder {workers}"]))
    assert done.returncode == 0, done.stderr
    assert whole(clone) == WHOLE
    assert noted(log, "begins") == noted(log, "ends") == EACH_ONCE
    assert not (clone / ".dvc" / "tmp" / "spread").exists()
    assert [*workers.glob("*/.dvc/cache/files")], "workers have a cache of their own"


def test_a_machine_with_other_packages_makes_nothing(tmp_path):
    source = Source("0" * 40, ROOT, None, tmp_path, "", {}, {"torch": "0.1", "numpy": version("numpy")})
    host = socket.gethostname()
    refusal = f"{host}: torch {release(version('torch'))} in place of 0.1"
    assert differences(source) == refusal
    outcome = work(source, Cell("fix", {}), pytest.fail, [])
    assert outcome == Outcome("fix", error=refusal, refused=True)
    elsewhere = dataclasses.replace(source, clone=tmp_path / "no", versions={"dvc-moon": "1.0"})
    assert differences(elsewhere).startswith(f"{host}: dvc-moon missing in place of 1.0, no folder {tmp_path / 'no'}")


class Fake:
    """An engine that is asked for nothing but its machines."""

    def refusals(self, source):
        return ["far: torch 1.0 in place of 2.0"]


def test_one_machine_that_refuses_stops_all(monkeypatch):
    monkeypatch.setattr(sweep, "cells_of", pytest.fail)
    with pytest.raises(InputError, match=r"^far: torch 1.0 in place of 2.0; all machines need this one's versions$"):
        sweep.make_cells(Fake(), None, {"fix": set()}, {})


def test_a_cell_takes_what_the_settings_say(settings):
    hardware = settings.hardware
    assert needs_of(settings, gpus=False) == Needs(1, 0)
    assert needs_of(settings, gpus=True) == Needs(1, hardware.devices)
    two = settings.model_copy(update={"hardware": hardware.model_copy(update={"devices": 2, "threads": 3})})
    assert needs_of(two, gpus=False) == Needs(6, 0)
    assert needs_of(two, gpus=True) == Needs(1, 2)
    alone = settings.model_copy(update={"hardware": hardware.model_copy(update={"accelerator": "cpu"})})
    assert needs_of(alone, gpus=True) == Needs(1, 0)
    nodes = settings.model_copy(update={"hardware": hardware.model_copy(update={"nodes": 2})})
    with pytest.raises(InputError, match=r"^hardware.nodes = 2: .* allowed here: 1"):
        needs_of(nodes, gpus=True)


def test_progress_says_what_is_done_and_how_long_the_rest_takes(capsys):
    with Progress(["pretrain", "fix", "repeats@1"], {"pretrain": 60, "fix": 600, "repeats@1": 600}) as progress:
        progress.take(News("pretrain", True, "near"))
        progress.take(News("pretrain", False, "Running stage 'pretrain':\n"))
        progress.take(News("pretrain", False, "pretrain: epoch 1/2\n"))
        progress.take(News("pretrain", True, "far"))
        progress.take(Outcome("pretrain", entry={}))
        progress.take(News("fix", True, "far"))
        progress.take(Outcome("fix", error="no disk"))
        progress.take(Outcome("fix", error="told twice"))
        assert not progress.ended
        progress.take(Outcome("repeats@1", error="needs fix"))
        assert progress.ended
    assert capsys.readouterr().err.splitlines() == [
        "spread: 0 of 3 cells are done, 0 running, 3 waiting, about 21 min left",
        "pretrain: begun on near",
        "spread: 0 of 3 cells are done, 1 running, 2 waiting, about 21 min left",
        "pretrain: epoch 1/2",
        "pretrain: lost on near, begun again on far",
        "spread: 0 of 3 cells are done, 1 running, 2 waiting, about 21 min left",
        "pretrain: done",
        "spread: 1 of 3 cells are done, 0 running, 2 waiting, about 20 min left",
        "fix: begun on far",
        "spread: 1 of 3 cells are done, 1 running, 1 waiting, about 20 min left",
        "fix: no disk",
        "spread: 1 of 3 cells are done, 0 running, 1 waiting, 1 failed, about 10 min left",
        "repeats@1: needs fix",
        "spread: 1 of 3 cells are done, 0 running, 0 waiting, 2 failed",
    ]


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("nonsense", "allowed: host:port of Ray's head, or auto"),
        ("127.0.0.1:1", "nothing answers there (.*refused); is it Ray's head?"),
        ("127.0.0.1:66000", "nothing answers there (.*); is it Ray's head?"),
    ],
)
def test_an_address_without_ray_is_named(settings, address, reason):
    with pytest.raises(InputError, match=f"^--address {address}: {reason.replace('(', '[(]').replace(')', '[)]')}"):
        OnRay(settings, address)


def test_what_no_machine_has_is_said(settings, monkeypatch):
    monkeypatch.setattr(on_ray_module.ray, "init", lambda **_: None)
    monkeypatch.setattr(on_ray_module.ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4.0}}])
    wanted = settings.hardware.model_copy(update={"threads": 5})
    with pytest.raises(InputError, match=r"^hardware: a network takes 5 cores and 0 GPUs; no machine has as many$"):
        OnRay(settings.model_copy(update={"hardware": wanted}), None)


def test_a_terminal_has_a_table_of_what_is_at_work(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "34")
    cells = [f"sweep@{number}" for number in range(32)]
    with Progress(cells, {}) as progress:
        for cell in cells[:-1]:
            progress.take(News(cell, True, "far"))
        progress.take(News("sweep@1", False, "fix: round 3/10: 80.00% fixed, top-1 98.50 -> 98.25\n"))
        capsys.readouterr()
        progress.show()
        shown = capsys.readouterr().err
    assert re.search(r"sweep@1 +far +fix: round 3/10: 80.00% fixed, top-1 98.50 -> 98.25", shown)
    assert "sweep@29" in shown
    assert "sweep@30" not in shown
    assert "... and 1 more" in shown
    assert "0 of 32 cells are done, 31 running, 1 waiting" in shown


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    missing = slurm_cluster.missing()
    if missing:
        pytest.skip(f"Slurm's {', '.join(missing)} missing: as root, apt install slurmctld slurmd slurm-client munge")
    with slurm_cluster.running(tmp_path_factory.mktemp("slurm") / "cluster") as found:
        yield found


def test_slurm_goes_on_where_a_node_has_died(slurm, tmp_path):
    clone = tmp_path / "clone"
    log, hold = make_held_clone(clone)
    with spreading(clone, f"{SPREAD} --engine slurm --slurm time=5", slurm.environment) as process:
        until(lambda: kept(clone) == len(at_work(clone)) == 2)
        slurm.kill_node("two")
        until(lambda: sum(noted(log, "stopped").values()) == 1)
        hold.unlink()
        slurm.start_node("two")
        until(slurm.delayed)  # for two minutes
        job = slurm.delayed()[0]
        slurm.asked("scontrol", "update", f"JobId={job}", "StartTime=now")
        assert process.wait(timeout=900) == 0, said(clone)
    assert noted(log, "ends") == EACH_ONCE
    assert sum(noted(log, "goes on").values()) == 1
    assert whole(clone) == WHOLE


def test_slurm_goes_on_once_its_head_is_back(slurm, tmp_path):
    clone = tmp_path / "clone"
    log, hold = make_held_clone(clone)
    with spreading(clone, f"{SPREAD} --engine slurm", slurm.environment) as process:
        until(lambda: kept(clone) == len(at_work(clone)) == 2)
        now = time.time()
        until(lambda: slurm.saved_at() > now)  # it writes its jobs down every few seconds
        slurm.kill_controller()
        hold.unlink()
        until(lambda: not at_work(clone))  # who is at work needs no head to end
        assert process.poll() is None
        slurm.start_controller()
        assert process.wait(timeout=900) == 0, said(clone)
    assert noted(log, "begins") == noted(log, "ends") == EACH_ONCE
    assert whole(clone) == WHOLE


def test_slurms_jobs_end_with_the_sweep_or_with_the_next_one(slurm, tmp_path):
    clone = tmp_path / "clone"
    log, hold = make_held_clone(clone)
    command = f"{SPREAD} --engine slurm"
    wrong = run_in(clone, f"{command} --slurm partitoin=tests", slurm.environment)
    assert wrong.returncode == 2
    error = wrong.stderr.splitlines()[-1]
    assert error.startswith("error: --slurm: Unavailable parameter(s): ['partitoin'] Valid parameters are:")

    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        with spreading(clone, command, slurm.environment) as process:
            until(lambda: kept(clone) == len(at_work(clone)) == 2)
            process.send_signal(number)
            assert process.wait(timeout=300) == code
        if code > 0:
            until(lambda: not at_work(clone))
            assert said(clone).endswith("the same command goes on from what is finished\n")
    assert len(at_work(clone)) == 2, "jobs do not end with who has submitted them"
    with spreading(clone, command, slurm.environment) as process:
        until(lambda: not at_work(clone))  # those, held still, are cancelled
        hold.unlink()
        assert process.wait(timeout=900) == 0, said(clone)
    assert noted(log, "ends") == noted(log, "begins") == EACH_ONCE
    assert whole(clone) == WHOLE


@pytest.mark.parametrize("engine", ["ray", "slurm"])
def test_the_networks_of_one_machine_each_once_in_mlflow(finished, tmp_path, engine, request):
    """The whole small pipeline against `make repro` of the same commit."""
    if engine == "ray":
        command, environment = on_ray(request.getfixturevalue("cluster")), {}
    else:
        command, environment = f"{SPREAD} --engine slurm", request.getfixturevalue("slurm").environment
    clone = tmp_path / "clone"
    make_clone(clone)
    done = run_in(clone, command, environment)
    assert done.returncode == 0, done.stderr
    for folder in ("runs", "packed"):
        alone, spread = (
            {name: sum for name, sum in files_of(project / folder).items() if not name.endswith(TIMES)}
            for project in (finished[0], clone)
        )
        assert spread == alone
    statuses = [project_runs(project) for project in (finished[0], clone)]
    assert statuses[0] == statuses[1]
    assert set(Counter(key for key, _ in statuses[1]).values()) == {1}
    provenance = pd.read_csv(clone / "reports" / "mnist5k" / "provenance.csv")
    assert set(provenance["host"]) == {socket.gethostname()}
    assert set(provenance["torch"]) == {torch.__version__}


def project_runs(project):
    """The runs that MLflow has of a clone: the key of each and its status, in order."""
    query = "select tags.value, runs.status from runs join tags using (run_uuid) where tags.key = 'wfn.key'"
    with closing(sqlite3.connect(project / "mlflow.db")) as store:
        return sorted(store.execute(query).fetchall())
