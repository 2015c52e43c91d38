"""Several commands at once in one clone, as the bench of faults tries them, each once."""

import pytest

from benchmarks.faults import together
from benchmarks.faults.finding import Bench


@pytest.fixture(scope="module")
def bench(finished, tmp_path_factory) -> Bench:
    folder = tmp_path_factory.mktemp("together")
    (folder / "finished").symlink_to(finished[0])
    return Bench(folder, seed=10, tries=1)  # pauses of 5 and 0 seconds


def test_two_makes(bench):
    assert together.two_makes(bench, "home").faults == []


def test_one_stage_twice(bench):
    assert together.one_stage_twice(bench).faults == []
