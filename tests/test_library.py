"""What docs/library.md promises, run as it stands there."""

import re

import pytest
from conftest import ROOT

TEXT = (ROOT / "docs" / "library.md").read_text()


def test_the_small_gpt(capsys):
    """All 242,304 parameters, embeddings tied to the head, end as the few values that the page says."""
    code = re.search(r"<!-- gpt: run by tests/test_library.py -->\n```python\n(.*?)```", TEXT, re.DOTALL)
    promised = re.search(
        r"ends with (\d+) values .* at ([\d.]+) bits .* loss of ([\d.]+) where it was ([\d.]+\d)", TEXT
    )
    names = {}
    exec(code[1], names)
    fixer, values = names["fixer"], promised.groups()
    weights = {value for parameter in names["model"].parameters() for value in parameter.flatten().tolist()}
    assert weights == set(fixer.codebook().tolist())
    assert int(fixer.usage().sum()) == 242_304
    assert len(weights) == pytest.approx(float(values[0]), abs=10)
    assert fixer.outcomes[-1].entropy == pytest.approx(float(values[1]), abs=0.2)
    after, before = float(re.search(r"-> ([\d.]+)", capsys.readouterr().out)[1]), names["before"]
    assert (after, before) == pytest.approx((float(values[2]), float(values[3])), abs=0.1)
    assert after < before + 0.05
