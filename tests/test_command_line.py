"""What all stages share on the command line."""

import runpy
import sys

import pytest
from clones import ROOT

import wfn

STAGES = sorted(path.stem for path in (ROOT / "stages").glob("[a-z]*.py"))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_every_stage_says_its_version(stage, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [stage, "--version"])
    runpy.run_module(f"stages.{stage}", run_name="__main__")
    assert capsys.readouterr() == (f"weight-fixing {wfn.__version__}\n", "")
    assert wfn.__version__[0].isdigit()
