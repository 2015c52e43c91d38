"""What docs/library.md promises, run as it stands there."""

import re
import subprocess
import sys

import pytest
from clones import ROOT
from readme import block

TEXT = (ROOT / "docs" / "library.md").read_text()


def test_a_packed_file(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(block("pack", TEXT), names)
    said = capsys.readouterr().out.splitlines()
    size = (tmp_path / "network.wfn").stat().st_size
    assert said[:2] == [f"{size} bytes", "True"]
    assert f"{size} bytes for {names['contents'].unpacked_bytes}" in said[2]
    assert names["state"].keys() == names["model"].state_dict().keys()


def test_the_small_gpt(capsys):
    """All 242,304 parameters, embeddings tied to the head, end as the few values that the page says."""
    promised = re.search(
        r"ends with (\d+) values .* at ([\d.]+) bits .* loss of ([\d.]+) where it was ([\d.]+\d)", TEXT
    )
    names = {}
    exec(block("gpt", TEXT), names)
    fixer, values = names["fixer"], promised.groups()
    weights = {value for parameter in names["model"].parameters() for value in parameter.flatten().tolist()}
    assert weights == set(fixer.codebook().tolist())
    assert int(fixer.usage().sum()) == 242_304
    assert len(weights) == pytest.approx(float(values[0]), abs=10)
    assert fixer.outcomes[-1].entropy == pytest.approx(float(values[1]), abs=0.2)
    after, before = float(re.search(r"-> ([\d.]+)", capsys.readouterr().out)[1]), names["before"]
    assert (after, before) == pytest.approx((float(values[2]), float(values[3])), abs=0.1)
    assert after < before + 0.05


WITHOUT_A_PLACE = """
import torch
from numba.core import caching

caching.CacheImpl._locator_classes = []
import wfn

print(wfn.fix([torch.nn.Parameter(torch.tensor([0.5, 0.25, -1.0]))], delta=0.1).codebook().tolist())
"""


def test_where_no_compiled_code_can_be_kept():
    """In a container whose folders are read-only, numba finds no place; functions are compiled in each process then."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_PLACE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "[-1.0, 0.25, 0.5]\n", done.stderr
