"""`make repro` in a clone with a small profile: what came out, and that nothing is done twice."""

import json
import re
import resource
import shutil
import sqlite3
import subprocess

import pandas as pd
import pytest
import torch
from clones import files_of
from safetensors.torch import load_file


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


def test_two_runs_of_one_setting_are_the_same(clone):
    """The grid's only cell is the setting of the repeat, run by another process: all but the seconds must be equal."""
    fix = clone / "runs/mnist5k/repeats/repeat-1"
    cell = clone / "runs/mnist5k/sweep/delta-0.01_alpha-0.4_repeat-1"
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


def children_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_second_run_does_nothing(clone, shell):
    before = files_of(clone / "runs")
    start = children_seconds()
    shell("dvc status --quiet", check=False)
    once = children_seconds() - start  # one look of DVC's, on this machine
    start = children_seconds()
    done = shell("make repro")
    assert children_seconds() - start < max(15, 6 * once)  # of the processor, whatever else runs; see docs/budgets.md
    assert re.findall(r"Running stage '(.*)'", done.stdout) == ["track"]
    assert "track: 0 of 19 runs were missing in MLflow, 0 of 5 packed networks" in done.stdout
    assert files_of(clone / "runs") == before


def test_mlflow_has_every_setting_once(clone):
    with sqlite3.connect(clone / "mlflow.db") as connection:
        names = connection.execute(
            "select runs.name from runs join experiments using (experiment_id) where runs.lifecycle_stage = 'active' "
            "and experiments.name = 'weight-fixing-mnist5k' order by runs.name"
        ).fetchall()
        stages = connection.execute("select value from tags where key = 'dvc.stage'").fetchall()
    assert [name for (name,) in names] == [
        *("WFN 0.01/0.4 s0", "WFN 0.01/0.4 s1", "WFN 0.01/0.4 s1 sweep"),
        *("apot-3", "apot-3-again", "baseline s0 test_resnet", "baseline s1 test_resnet", "no-pull", "one-shot"),
    ]
    assert {"fix", "pretrain", "variants@one-shot", "report"} <= {stage for (stage,) in stages}


def test_every_method_stands_beside_wfn(clone):
    table = pd.read_csv(clone / "reports" / "mnist5k" / "quantisers.csv")
    table = table[table["alpha"].isna() | (table["alpha"] == 0.4) | (table["epochs"] == 0)].set_index("method")
    assert table["runs"].to_dict() == {"Baseline": 2, "WFN": 2, "WFN, one shot": 1, "APoT": 2}
    assert table.drop("Baseline")["epochs"].to_dict() == {"WFN": 2, "WFN, one shot": 0, "APoT": 2}
    assert pd.isna(table.loc["Baseline", "epochs"])
    assert table.loc["APoT", "index_entropy"] < table.loc["APoT", "entropy"]
    assert table.loc["WFN", "index_entropy"] == pytest.approx(table.loc["WFN", "entropy"])
    assert (table["megabytes"] <= table["lzw_megabytes"]).all()


def test_every_claim_has_a_verdict(clone):
    table = pd.read_csv(clone / "reports" / "mnist5k" / "claims.csv")
    unmeasured = table[table["verdict"] == "not measured here"]
    assert unmeasured["claim"].str.startswith("δ").all()  # the small profile has one delta
    assert len(unmeasured) == 3
    assert set(table["verdict"]) <= {"holds", "does not hold", "not decided", "not measured here"}
    assert table.drop(unmeasured.index)["made_by"].notna().all()


def test_exploring_is_one_stage(clone, repro):
    folders = sorted(path.name for path in (clone / "runs/mnist5k/explore").iterdir())
    cells = [f"delta-{delta}_alpha-{alpha}_repeat-1" for delta in ("0.01", "0.03") for alpha in ("0.4", "1")]
    cells += [
        f"{name}_delta-{delta}_alpha-0.4_repeat-1"
        for name in ("batch-norm-float", "euclidean") for delta in ("0.01", "0.03")
    ]  # fmt: skip
    assert folders == sorted(["baseline_repeat-1", *cells])
    assert "explore: 8 of 8 networks" in repro
    assert list((clone / ".ckpt").iterdir()) == []


@pytest.mark.long
def test_rates_are_chosen_on_images_kept_from_training(clone, shell):
    shell("python -m stages.rates --out runs/rates --table rates")
    table = pd.read_csv(clone / "rates" / "mnist5k.csv")
    assert table["method"].tolist() == ["wfn", "apot"]
    assert table["chosen"].tolist() == [True, True]
    settings = json.loads((clone / "runs/rates/wfn_lr-0.001/settings.json").read_text())
    assert (settings["finetune"]["lr"], settings["seed"]) == (0.001, 1000)
    with sqlite3.connect(clone / "mlflow.db") as connection:
        experiments = connection.execute("select name from experiments").fetchall()
    assert ("weight-fixing-mnist5k-rates",) not in experiments  # short work is left to `track`, which leaves it alone
    shutil.rmtree(clone / "rates")


def test_experiments_are_legible_at_120_columns(shell):
    """What one looks for comes first; a terminal that is narrower cuts the last columns."""
    shown = shell("dvc exp show --only-changed --no-pager", COLUMNS="120").stdout
    assert max(map(len, shown.splitlines())) <= 120
    columns = shell("dvc exp show --no-pager --csv").stdout.splitlines()[0].split(",")
    first = ["top1", "change", "values", "bits", "MB", "profile", "seed", "delta", "alpha"]
    assert columns[columns.index("top1") :][: len(first)] == first


def test_dvc_shows_metrics_and_plots(shell):
    (shown,) = json.loads(shell("dvc metrics show --json").stdout).values()
    ((path, found),) = shown["data"].items()
    assert path == "home/mnist5k/metrics.json"
    assert list(found["data"]) == ["top1", "change", "values", "bits", "MB"]
    plots = json.loads(shell("dvc plots show --json").stdout)
    assert "errors" not in plots
    assert sorted(plots["data"]) == ["Centres after each round", "Entropy after each round", "Top-1 after each round"]


def test_everything_stays_in_the_clone(clone):
    status = subprocess.run(["git", "status", "--short"], cwd=clone, check=True, capture_output=True, text=True).stdout
    assert {path.split("/")[0] for _, path in (line.split() for line in status.splitlines())} == {"dvc.lock", "reports"}
