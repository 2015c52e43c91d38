"""The README's commands that try other settings, one after the other in a clone with a small profile."""

import json
import re
import sqlite3

import pandas as pd
import pytest
from readme import SETTINGS


@pytest.mark.timeout(4000)
@pytest.mark.parametrize("command", SETTINGS)
def test_command(clone, shell, command):
    shell("git add --all && git commit --quiet --allow-empty --message result")
    done = shell(command, check="--run-all" not in command, timeout=1800)
    if "--run-all" in command and done.returncode == 124:
        # DVC's queue may wait for ever for a worker that has gone; README says to run it again.
        done = shell(f"dvc queue status; {command}", timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    if "-S delta=" in command and "--queue" not in command:
        (delta,) = re.findall(r"delta=([\d.]+)", command)
        assert json.loads((clone / "runs/mnist5k/fix/settings.json").read_text())["delta"] == float(delta)
    elif "--run-all" in command:
        with sqlite3.connect(clone / "mlflow.db") as connection:
            values = connection.execute("select distinct value from params where key = 'delta'").fetchall()
        assert {"0.005", "0.02"} <= {value for (value,) in values}


def test_plots_of_two_experiments_side_by_side(shell):
    """The curves over the rounds, of the experiments that the README's commands have left."""
    others = shell("dvc exp list --name-only").stdout.split()
    names = [name for name in shell("dvc exp list --all-commits --name-only").stdout.split() if name not in others]
    shown = json.loads(shell(f"dvc plots diff {' '.join(names)} --json").stdout)
    (plot,) = shown["data"]["Centres after each round"]
    assert len(names) >= 2
    assert set(names) <= set(plot["revisions"])
    points = pd.DataFrame(plot["content"]["data"]["values"])
    assert points.groupby("rev")["centres"].count().min() == 3  # one per round
