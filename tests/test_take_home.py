"""README's way to take a network home, as a user goes it: in a folder with nothing but the file and a picture."""

import re
import shutil
import subprocess
import sys

import numpy as np
from conftest import ROOT, clean_environment
from PIL import Image
from readme import block


def test_readmes_lines_say_what_is_in_a_picture(clone, dataset, tmp_path):
    folder = tmp_path / "packed" / "mnist5k"
    folder.mkdir(parents=True)
    shutil.copy(clone / "packed" / "mnist5k" / "fix.wfn", folder)
    hits = 0
    for i in (0, 60, 120):
        Image.fromarray(np.asarray(dataset.train.pixels[i][0])).save(tmp_path / "digit.png")
        done = subprocess.run(
            [sys.executable, "-c", block("take home")],
            cwd=tmp_path, env=clean_environment() | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        said = re.fullmatch(r"(\d) (\d+\.\d)%\n", done.stdout)
        assert said
        assert 10 <= float(said[2]) <= 100
        hits += int(said[1]) == int(dataset.train.labels[i])
    assert hits >= 1  # the small profile's network is right about half of the time
