"""Kills, signals, disks, MLflow's store, the same seed: as the bench of faults tries them, once and for a short stage.

And that the bench finds what it looks for.
"""

import json
import signal
from contextlib import contextmanager, nullcontext

import pytest
from clones import edited

from benchmarks.faults import damaged, determinism, disks, kills, signals, stores
from benchmarks.faults.finding import Bench
from benchmarks.faults.project import STAGES, dvc_at_work, fresh, fresh_and_live
from pipeline.base.results import TIMING

# The first line of stage `data`.
BEGINS = "    settings = load_settings()\n"


@pytest.fixture(scope="module")
def bench(finished, tmp_path_factory) -> Bench:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "finished").symlink_to(finished[0])
    return Bench(folder, seed=0, tries=1)


@pytest.fixture
def faulty(bench, request):
    """Makes a clone with a stage `data` that does something else as well."""

    def make(line):
        clone = fresh(bench, request.node.name)
        edited(clone / "stages/data.py", BEGINS, f"{BEGINS}    {line}\n")
        return clone

    return make


def test_kills(bench):
    stage, dvc = kills.of_stage(bench, "data")
    assert stage.faults + dvc.faults == []
    assert (stage.tried, dvc.tried) == (1, 1)


def test_signals(bench):
    findings = signals.of_stage(bench, "data")
    assert [fault for finding in findings for fault in finding.faults] == []
    assert [finding.tried for finding in findings] == [1, 1, 1]


def test_a_server_that_is_down_and_a_damaged_database(bench):
    clone = fresh_and_live(bench, "stores")
    expected, lasts = stores.runs_in(clone), 60.0  # the bench has the machine to itself, a test has not
    assert sum("metrics.json" in files for name, files in expected.items() if name.startswith("files of ")) > 5
    down, text = "a server that is down", "a database that is a text"
    findings = [
        stores.in_state(clone, down, stores.NO_HELP[down], expected, lasts),
        stores.in_state(clone, text, stores.MENDED[text], expected, lasts, mended=True),
    ]
    assert [fault for finding in findings for fault in finding.faults] == []


def test_damaged_files(bench):
    """A checkpoint, a network that `explore` has kept, and a file of the fixed network."""
    clone = fresh(bench, "damaged")
    edited(clone / "pipeline/training/checkpoint.py", "SECONDS_BETWEEN = 30.0", "SECONDS_BETWEEN = 0.0")
    twice = Bench(bench.folder, seed=0, tries=2)
    findings = [damaged.kept(clone, bench, "pretrain"), damaged.kept(clone, twice, "explore")]
    findings.append(damaged.results(clone, bench))
    assert [fault for finding in findings for fault in finding.faults] == []


def test_disks(bench):
    findings = list(disks.of_stage(fresh(bench, "disks"), "data", bench.tries))
    assert [fault for finding in findings for fault in finding.faults] == []
    assert all(finding.tried for finding in findings)


def test_the_same_seed(bench):
    """The row of two threads is one of two threads, and the settings are put back."""
    clone, other = fresh(bench, "determinism"), fresh(bench, "another folder")
    finding = determinism.of_stage(clone, other, "pretrain")
    assert finding.faults == []
    assert "with 2 threads in place of 1" in finding.note
    threads = {
        folder: json.loads((folder / "made" / TIMING).read_text())["machine"]["threads"] for folder in (clone, other)
    }
    assert threads == {clone: 1, other: 2}
    assert (clone / "params.yaml").read_text() == (other / "params.yaml").read_text()


def test_the_same_seed_by_dvc(bench):
    """By `dvc repro`, as of the default profile; what the third one has made with two threads is said."""
    clones = [fresh(bench, name) for name in ("here", "elsewhere", "two threads")]
    finding = determinism.of_profile(*clones)
    assert (finding.tried, finding.faults) == (1, [])
    files = {str(path.relative_to(clones[0])) for place in determinism.MADE for path in (clones[0] / place).rglob("*")}
    assert {"runs/mnist5k/fix/model.safetensors", "home/mnist5k/network.wfn"} <= files
    assert "files; with 2 threads in place of 1" in finding.note
    threads = [json.loads((each / "runs/mnist5k/fix" / TIMING).read_text())["machine"]["threads"] for each in clones]
    assert threads == [1, 1, 2]


def test_every_stage_that_trains_is_tried():
    assert set(determinism.TRAINING) == set(disks.KEEPING) <= set(STAGES)


def test_another_result_is_found(faulty):
    """Files that are other ones each time are found in every row."""
    random = faulty("settings = settings.model_copy(update={'seed': __import__('os').getpid()})")
    finding = determinism.of_stage(random, random, "data")
    assert len(finding.faults) == finding.tried
    assert "differ" in finding.note


def test_what_works_on_after_a_signal_is_found(faulty, monkeypatch):
    monkeypatch.setattr(signals, "ENDS", 1.0)
    deaf = faulty("__import__('signal').signal(15, __import__('signal').SIG_IGN); __import__('time').sleep(60)")
    # It is at work by then, also on a slow machine.
    assert "works on 1 s after it" in signals.signalled(deaf, "data", 30.0, signal.SIGTERM)[0]


def test_a_run_that_is_logged_after_all_is_found(bench):
    """In a state that is said to be of no help, and is nothing at all."""
    clone = fresh_and_live(bench, "nothing wrong")
    finding = stores.in_state(clone, "nothing", lambda _: nullcontext({}), stores.runs_in(clone), lasts=60.0)
    assert "`fix` says nothing; `track` ends with 0 and says track: " in finding.faults[0]


def test_half_an_output_is_found(faulty):
    half = faulty("if out.exists(): (out / 'half').touch()")
    *refused, again = disks.limited(half, "data").faults
    assert refused
    assert all("what was there is not the same any more" in fault for fault in refused)
    assert "other results: half" in again


def test_what_works_on_beside_the_next_run_is_found(faulty):
    """A stage that does not look for its `dvc`, which is killed while it works."""
    clone = faulty("__import__('time').sleep(12)")
    edited(clone / "stages/common/stopping.py", "    if above:\n", "    if not os.environ:\n")
    end = kills.killed(clone, "data", kills.durations(clone, "data")["dvc"] / 2, "dvc")
    assert "two processes at `data`" in end.fault


def test_a_list_that_dvc_has_not_written_to_its_end_is_counted(bench, monkeypatch):
    """Plain `dvc repro` ends at it, and goes on once it is gone."""

    @contextmanager
    def cut_short(clone, stage):
        with dvc_at_work(clone, stage) as dvc:
            yield dvc
        (clone / ".dvc/tmp/rwlock").write_text("")

    monkeypatch.setattr(kills, "dvc_at_work", cut_short)
    end = kills.killed(fresh(bench, "rwlock"), "data", 0.0, "dvc")
    assert end == kills.Killed(fault="", broke_rwlock=True)
