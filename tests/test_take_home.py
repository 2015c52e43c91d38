"""README's way to take a network home, as a user goes it: in a folder with nothing but the file and a picture."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
from clones import ROOT, clean_environment
from PIL import Image
from readme import HOME, block

import wfn
from pipeline.data.images import normalise


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, env=clean_environment() | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


@pytest.mark.long
def test_readmes_lines_say_what_is_in_a_picture(clone, dataset, tmp_path):
    folder = tmp_path / "home" / "mnist5k"
    folder.mkdir(parents=True)
    shutil.copy(clone / "home" / "mnist5k" / "network.wfn", folder)
    card = json.loads((clone / "runs" / "mnist5k" / "data" / "card.json").read_text())
    network = wfn.load(folder / "network.wfn")
    for i in (0, 60, 120):
        image = dataset.train.pixels[i]
        Image.fromarray(image[0].numpy()).save(tmp_path / "digit.png")
        printed = run(tmp_path, "-c", block("take home"))
        said = re.fullmatch(r"(\d) (\d+\.\d)%\n", printed)
        with torch.inference_mode():
            probabilities = network(normalise(image[None], card["mean"], card["std"])).softmax(-1)[0]
        assert int(said[1]) == int(probabilities.argmax())
        assert float(said[2]) / 100 == pytest.approx(float(probabilities.max()), abs=0.001)
    assert [command.split()[1] for command in HOME] == ["inspect", "predict"]
    inspected, predicted = (run(tmp_path, "-m", "wfn.cli", *command.split()[1:]) for command in HOME)
    assert "conv1.weight" in inspected
    assert predicted.startswith("digit.png")
    assert f"{said[1]} " in predicted
