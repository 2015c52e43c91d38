"""The pipeline as a person runs it, in a clone with a small profile: what comes out, wrong input, broken-off work."""

import importlib
import json
import os
import pty
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import pandas as pd
import pytest
import torch
from conftest import ROOT, browser_page, clean_environment, edited, files_of
from safetensors.torch import load_file, save_file

from stages.common.cli import run


def test_make_repro(clone, repro):
    folder = clone / "runs" / "mnist5k" / "fix"
    metrics = json.loads((folder / "metrics.json").read_text())
    weights = load_file(folder / "model.safetensors")
    assert metrics["unique"] == len(torch.cat([v.flatten() for k, v in weights.items() if is_parameter(k)]).unique())
    assert metrics["quantised_parameters"] == metrics["parameters"]
    iterations = pd.read_csv(folder / "iterations.csv")
    assert iterations["fraction"].tolist() == [0.6, 0.9, 1.0]
    assert iterations["delta_t"].tolist() == pytest.approx([0.03, 0.02, 0.01])
    for column in ("fixed", "centres", "entropy", "zeros", "order_1", "top1_before", "top1_after", "seconds"):
        assert iterations[column].notna().all()
    centres = pd.read_csv(folder / "centres.csv")
    assert centres["count"].sum() == metrics["quantised_parameters"]
    assert (clone / "reports" / "mnist5k" / "index.html").stat().st_size > 10_000
    assert "fix: round 3/3: 100.00% fixed" in repro


def is_parameter(name):
    return not name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def test_two_runs_of_one_setting_are_the_same(clone, repro):
    """The grid's only cell is the setting of `fix`, run by another process: all but the seconds must be equal."""
    fix, cell = clone / "runs/mnist5k/fix", clone / "runs/mnist5k/sweep/delta-0.01_alpha-0.4"
    one, other = files_of(fix), files_of(cell)
    rounds, again = (
        pd.read_csv(folder / "iterations.csv").drop(columns=["seconds", "train_seconds"]) for folder in (fix, cell)
    )
    pd.testing.assert_frame_equal(rounds, again)
    for name in ("iterations.csv", "timing.json"):
        del one[name], other[name]
    assert one == other
    assert (
        sorted(one) == [".gitignore", "centres.csv", "metrics.json", "model.safetensors", "settings.json"][-len(one) :]
    )


def test_a_second_run_does_nothing(clone, shell, repro):
    before = files_of(clone / "runs")
    start = time.perf_counter()
    done = shell("make repro")
    assert time.perf_counter() - start < 15  # 5 s on a quiet machine; see docs/budgets.md
    assert re.findall(r"Running stage '(.*)'", done.stdout) == ["track"]
    assert "track: 0 of 10 runs were missing" in done.stdout
    assert files_of(clone / "runs") == before


def test_mlflow_has_every_setting_once(clone, repro):
    with sqlite3.connect(clone / "mlflow.db") as connection:
        names = connection.execute("select name from runs where lifecycle_stage = 'active' order by name").fetchall()
        stages = connection.execute("select value from tags where key = 'dvc.stage'").fetchall()
    assert [name for (name,) in names] == [
        *("WFN delta=0.01 alpha=0.4 seed=0", "WFN delta=0.01 alpha=0.4 seed=1"),
        *("WFN delta=0.015 alpha=0.4 seed=0", "WFN delta=0.03 alpha=0.4 seed=0"),
        *("apot-4 seed=0", "apot-4-again seed=1", "baseline test_resnet", "report"),
    ]
    assert {"fix", "pretrain", "report"} <= {stage for (stage,) in stages}


def test_every_method_stands_beside_wfn(clone, repro):
    table = pd.read_csv(clone / "reports" / "mnist5k" / "quantisers.csv").set_index("method")
    assert table["runs"].to_dict() == {"Baseline": 1, "WFN": 2, "APoT": 2}
    assert table["epochs"].to_dict() == {"Baseline": pytest.approx(float("nan"), nan_ok=True), "WFN": 2, "APoT": 2}
    assert table.loc["APoT", "index_entropy"] < table.loc["APoT", "entropy"]
    assert table.loc["WFN", "index_entropy"] == pytest.approx(table.loc["WFN", "entropy"])
    assert (table["megabytes"] <= table["lzw_megabytes"]).all()


DUMMY = '''
"""Every weight to a multiple of a half."""
import torch
from pipeline.comparing.fake_quantisation import weight_layers
from pipeline.comparing.task import Outcome

BITS = None


def quantise(task):
    layers = weight_layers(task.model)
    with torch.no_grad():
        for layer in layers:
            layer.weight.copy_((layer.weight * 2).round() / 2)
    return Outcome([], [[layer.weight_name] for layer in layers])
'''


def test_a_new_method_is_one_module_and_one_line(clone, shell, repro):
    """Nothing else is run again for it, and the report has it."""
    (clone / "pipeline" / "quantisers" / "halves.py").write_text(DUMMY)
    text = edited(clone / "params.yaml", "  quantisers:\n", "  quantisers:\n    halves: {method: halves}\n")
    lock = (clone / "dvc.lock").read_text()
    try:
        done = shell("dvc repro")
        assert re.findall(r"Running stage '(.*)'", done.stdout) == ["quantise@halves", "report", "track"]
        table = pd.read_csv(clone / "reports" / "mnist5k" / "quantisers.csv").set_index("method")
        codebooks = pd.read_csv(clone / "runs" / "mnist5k" / "quantise" / "halves" / "codebooks.csv")
        assert table.loc["halves", "runs"] == 1
        assert ((codebooks["value"] * 2) % 1 == 0).all()
    finally:
        (clone / "pipeline" / "quantisers" / "halves.py").unlink()
        (clone / "params.yaml").write_text(text)
        (clone / "dvc.lock").write_text(lock)
        shell("dvc checkout --force && dvc repro")


def test_dvc_shows_metrics_and_plots(shell, repro):
    (shown,) = json.loads(shell("dvc metrics show --json").stdout).values()
    assert shown["data"].keys() == {"runs/mnist5k/baseline/metrics.json", "runs/mnist5k/fix/metrics.json"}
    plots = json.loads(shell("dvc plots show --json").stdout)
    assert "errors" not in plots
    assert sorted(plots["data"]) == ["Centres after each round", "Entropy after each round", "Top-1 after each round"]


def test_everything_stays_in_the_clone(clone, repro):
    status = subprocess.run(["git", "status", "--short"], cwd=clone, check=True, capture_output=True, text=True).stdout
    assert {path.split("/")[0] for _, path in (line.split() for line in status.splitlines())} == {"dvc.lock", "reports"}


@pytest.fixture(scope="module")
def ui(clone, repro):
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
            "where experiments.name = 'weight-fixing-mnist5k-explore' and runs.name like 'WFN%'"
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
        assert "WFN delta=0.015 alpha=0.4 seed=0" in page.inner_text("body")


OPTIONS = "--data runs/mnist5k/data --baseline runs/mnist5k/baseline"
FIX = f"fix {OPTIONS} --out runs/mnist5k/fix"
QUANTISE = f"quantise {OPTIONS} --out runs/mnist5k/x --name apot-4"
PRETRAIN = "pretrain --data runs/mnist5k/data --out runs/mnist5k/baseline"


@pytest.fixture
def refused(clone, repro, monkeypatch, capsys):
    """Run a stage in the clone, in this process: one line, exit code 2, and what was there before is as it was."""

    def refuse(command, message):
        stage, *options = shlex.split(command)
        monkeypatch.chdir(clone)
        monkeypatch.setattr(sys, "argv", [stage, *options])
        before = files_of(clone / "runs")
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(getattr(importlib.import_module(f"stages.{stage}"), stage))
        said = capsys.readouterr().err
        assert ended.value.code == 2
        assert re.fullmatch(rf"error: .*{message}.*\n", said), said
        assert files_of(clone / "runs") == before

    return refuse


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--set delta=1.5", "delta changed: delta = 1.5: input should be less than 1"),
        ("--set delta", "--set delta: key=value is needed"),
        ("--set 'delta=['", "--set delta=\\[: '\\[' is not valid YAML"),
        ("--set fixing.colour=1", "fixing.colour is not a setting; allowed here: fractions"),
        ("--data nowhere", "No such file or directory: nowhere/"),
    ],
)
def test_bad_options(refused, options, message):
    refused(f"{FIX} {options}", message)


@pytest.mark.parametrize(
    ("file", "old", "new", "command", "message"),
    [
        ("params.yaml", "profile: mnist5k", "profile: mnist6k", FIX, "profile = 'mnist6k' is unknown; allowed: c"),
        ("profiles/mnist5k.yaml", "test_resnet", "test_resnot", PRETRAIN, "model.name = 'test_resnot': timm has no"),
        ("profiles/mnist5k.yaml", "checkpoint: null", "checkpoint: bad.safetensors", PRETRAIN, "bad.* holds nan; only"),
        ("profiles/mnist5k.yaml", "checkpoint: null", "checkpoint: small.safetensors", PRETRAIN, "small.* allowed: "),
        ("profiles/mnist5k.yaml", "num_classes: 10", "num_classes: 3", PRETRAIN, "num_classes = 3: .* at least 10"),
        (
            "params.yaml",
            "apot-4: {method: apot, bits: 4}",
            "apot-4: {method: apot, bits: 6}",
            QUANTISE,
            "6: allowed for",
        ),
        (
            "profiles/mnist5k.yaml",
            "name: mnist5k",
            "name: own",
            "data --out x",
            "data.root = null: a f",
        ),
    ],
)
def test_bad_settings(clone, refused, file, old, new, command, message):
    weights = load_file(clone / "runs/mnist5k/baseline/model.safetensors")
    first = next(name for name, value in weights.items() if value.is_floating_point())
    save_file(weights | {first: torch.full_like(weights[first], float("nan"))}, clone / "bad.safetensors")
    save_file(weights | {first: torch.zeros(1)}, clone / "small.safetensors")
    text = edited(clone / file, old, new)
    try:
        refused(command, message)
    finally:
        (clone / file).write_text(text)


def test_make_repro_checks_the_settings_first(clone, shell, repro):
    """DVC would say of an unknown profile only that it lacks parameters."""
    text = edited(clone / "params.yaml", "profile: mnist5k", "profile: mnist6k")
    try:
        done = shell("make repro", check=False)
    finally:
        (clone / "params.yaml").write_text(text)
    assert done.returncode == 2
    assert "error: params.yaml: profile = 'mnist6k' is unknown; allowed: c" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_that_is_full(clone, shell, repro):
    """No file may grow beyond 200 KiB. (MLflow, which cannot write either, warns in another line.)"""
    before = files_of(clone / "runs")
    done = shell(f"trap '' XFSZ; ulimit -f 200; python -m stages.{PRETRAIN} 2> >(grep ^error >&2)", check=False)
    assert done.returncode == 2
    assert re.fullmatch("error: .*model.safetensors: File too.*\n", done.stderr), done.stderr
    assert files_of(clone / "runs") == before


RESUMABLE = (
    "import runpy, sys; from pipeline import checkpoint; checkpoint.SECONDS_BETWEEN = 0.0; "
    "sys.argv = ['fix', '--data', 'runs/mnist5k/data', '--baseline', 'runs/mnist5k/baseline', '--out', 'runs/killed']; "
    "runpy.run_module('stages.fix', run_name='__main__')"
)


def test_a_killed_fix_goes_on(clone, shell, repro):
    """Killed as an out-of-memory killer does it, and started again: the result of the run that nobody killed."""
    python = [str(clone / ".venv" / "bin" / "python"), "-c", RESUMABLE]
    with subprocess.Popen(python, cwd=clone, env=clean_environment(), stderr=subprocess.DEVNULL) as process:
        while not list((clone / ".ckpt").glob("*/state.pt")):
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
    assert not (clone / "runs" / "killed").exists()
    again = subprocess.run(python, cwd=clone, env=clean_environment(), capture_output=True, text=True, check=True)
    assert "fix: goes on after round" in again.stderr
    done, whole = files_of(clone / "runs" / "killed"), files_of(clone / "runs" / "mnist5k" / "fix")
    for name in ("metrics.json", "centres.csv", "model.safetensors", "settings.json"):
        assert done[name] == whole[name], name
    assert list((clone / ".ckpt").iterdir()) == []
    shutil.rmtree(clone / "runs" / "killed")


def test_a_stage_in_two_processes(clone, shell, repro):
    """Fabric starts the second one by the stage's own command line; one speaks and writes for both."""
    two = f"fix {OPTIONS} --out runs/two --set hardware.devices=2 --set hardware.accelerator=cpu"
    done = shell(f"python -m stages.{two}")
    assert done.stderr.count("fix: round 3/3: 100.00% fixed") == 1
    metrics = json.loads((clone / "runs" / "two" / "metrics.json").read_text())
    assert metrics["quantised_parameters"] == metrics["parameters"]
    shutil.rmtree(clone / "runs" / "two")


def run_on_terminal(program):
    parent, child = pty.openpty()
    environment = clean_environment() | {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=child, env=environment) as process:
        os.close(child)
        shown = b""
        while True:
            try:
                part = os.read(parent, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
        assert process.wait() == 0
    os.close(parent)
    return shown.decode()


STEPS = (
    "from pipeline.watching.progress import Steps\nimport time\n"
    "with Steps('fix', 4) as steps:\n"
    "    for i in range(4): steps.advance(); time.sleep(0.2)\n"
    "    steps.say('round 1 is done')\n"
)


def test_progress_on_a_terminal_and_in_a_log():
    shown = run_on_terminal(STEPS)
    assert "━" in shown
    assert "2/4" in shown
    assert "round 1 is done" in shown
    logged = subprocess.run([sys.executable, "-c", STEPS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert logged.stderr == "round 1 is done\n"
