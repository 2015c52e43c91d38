"""The README: its tables are those of the reports, its commands are all tried, and what it says of profiles and CI."""

import re
import shlex
import shutil
from itertools import pairwise

import pandas as pd
import pytest
import yaml
from clones import ROOT
from dvc.utils.cli_parse import to_path_overrides
from dvc.utils.hydra import apply_overrides
from readme import COMMANDS, ELSEWHERE, README

from pipeline.base.settings import load_settings
from pipeline.report.formats import to_markdown

CLAIMS = ["claim", "source", "measured", "measured_spread", "interval", "least", "unit", "verdict", "made_by"]
QUANTISED = [
    *("method", "bits", "delta", "alpha", "runs", "top1", "top1_spread", "drop", "drop_spread"),
    *("entropy", "entropy_spread", "unique", "unique_spread", "index_entropy", "index_entropy_spread"),
    *("megabytes", "megabytes_spread"),
]
BLOCKS = {
    "cifar10-claims": ("cifar10-resnet20/claims.csv", CLAIMS),
    "cifar10-quantisers": ("cifar10-resnet20/quantisers.csv", QUANTISED),
    "claims": ("mnist5k/claims.csv", CLAIMS),
    "quantisers": ("mnist5k/quantisers.csv", QUANTISED),
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


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_commands_of_a_profile_are_allowed(files, path):
    """Every setting that its head names is taken; FOLDER, where the images are, is looked for later."""
    head = path.read_text().partition("\n\n")[0].replace("\n# ", "\n").replace("\\\n", "")
    for source, target in re.findall(r"cp (\S+) (\S+)", head):
        shutil.copy(files / source, files / target)
    for command in re.findall(r"dvc exp run .*", head):
        given = [word for flag, word in pairwise(shlex.split(command)) if flag == "-S"]
        for name, overrides in to_path_overrides(given).items():
            apply_overrides(files / name, overrides)
        load_settings()


def test_ci_runs_all_tests():
    assert "\nmake test-all\n" in (ROOT / ".ci" / "run").read_text()
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert {"run": ".ci/run"} in workflow["jobs"]["test"]["steps"]


def test_the_readme_says_what_is_tried_elsewhere():
    """The rest of its commands: test_readme_settings.py and test_readme_pictures.py."""
    assert set(COMMANDS) >= ELSEWHERE
