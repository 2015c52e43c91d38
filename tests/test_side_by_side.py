"""Stages at the same time: their order, their lines, their end. A `dvc` that only starts stages stands for it."""

import ast
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import psutil
import pytest
import yaml
from clones import ROOT, clean_environment, edited, files_of, heed_ctrl_c

from pipeline.ahead.side_by_side import Stages, at_once, make_all, named, width
from pipeline.ahead.turn import LOCK

DIAMOND = {"data": set(), "pretrain": {"data"}, "explore": {"data"}, "fix": {"pretrain"}, "pack": {"explore", "fix"}}
DVC = f"""#!{sys.executable}
import os, subprocess, sys
if "--single-item" not in sys.argv:
    sys.exit(print("all:", *sys.argv[1:]))
print("Running stage '" + sys.argv[-1] + "':")
stage = [sys.executable, "stage.py", sys.argv[-1]]
sys.exit(255 if subprocess.run(stage, env=os.environ | {{"DVC_STAGE": sys.argv[-1]}}).returncode else 0)
"""
STAGE = """
import sys, time
from pipeline.base.errors import InputError
from stages.common.cli import run

def work(stage: str) -> None:
    if stage == "fails":
        raise InputError("no such thing")
    print("begun")
    if stage.startswith("sleeps"):
        time.sleep(60)

run(work)
"""
# The command itself, but for what DVC would have told it; named as psutil shows it.
REPRO = """
import json, sys
from stages import repro
from stages.common.cli import run

needs = json.loads(sys.argv.pop())
repro.check = lambda home: None
repro.out_of_date = lambda: {stage: set(before) for stage, before in needs.items()}
repro.at_once = lambda settings: 2
run(repro.repro)
"""


class Fake:
    """Makes stages in no time; remembers in which order, and how many were at work at the same time."""

    def __init__(self, *failing):
        self.failing, self.made, self.working, self.most = failing, [], 0, 0
        self.lock, self.all_in = threading.Lock(), threading.Barrier(2)

    def __call__(self, stage):
        with self.lock:
            self.working += 1
            self.most = max(self.most, self.working)
        if stage in ("pretrain", "explore"):
            self.all_in.wait(timeout=10)  # each is at work until the other one is
        with self.lock:
            self.working -= 1
            self.made.append(stage)
        return int(stage in self.failing)


def never():
    raise AssertionError


def test_stages_are_made_after_those_that_they_need():
    fake = Fake()
    assert make_all(DIAMOND, 2, fake, never) == []
    assert sorted(fake.made) == sorted(DIAMOND)
    assert fake.most == 2
    place = fake.made.index
    assert all(place(before) < place(stage) for stage, needs in DIAMOND.items() for before in needs)


def test_after_a_failure_none_begins():
    fake = Fake("explore")
    assert make_all(DIAMOND | {"more": {"explore"}}, 2, fake, never) == ["explore"]
    assert {"data", "explore", "pretrain"} <= set(fake.made) <= {"data", "explore", "pretrain", "fix"}


def test_one_at_a_time_is_the_order_itself():
    made = []
    assert make_all(DIAMOND, 1, lambda stage: made.append(stage) or 0, never) == []
    assert made == ["data", "pretrain", "explore", "fix", "pack"]


def test_broken_off_it_waits_for_those_at_work():
    ended, begun = threading.Event(), []

    def make(stage):
        begun.append(stage)
        if stage == "b":
            raise KeyboardInterrupt
        assert ended.wait(timeout=10)
        return 0

    with pytest.raises(KeyboardInterrupt):
        make_all({"a": set(), "b": set(), "c": set()}, 2, make, ended.set)
    assert ended.is_set()
    assert sorted(begun) == ["a", "b"]


@pytest.mark.parametrize(
    ("needs", "most"),
    [({}, 0), ({"pack": set(), "report": {"pack"}}, 1), (DIAMOND, 2), ({"a": set(), "b": set(), "c": {"a"}}, 2)],
)
def test_width(needs, most):
    assert width(needs) == most


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({}, 4),
        ({"hardware.threads": 2}, 2),
        ({"hardware.threads": 3}, 1),
        ({"hardware.threads": 64}, 1),
        ({"data.pixels": 33}, 1),
        ({"data.pixels": 33, "hardware.threads": 1}, 4),
        ({"hardware.devices": 2}, 1),
        ({"hardware.accelerator": "cuda"}, 1),
    ],
    ids=str,
)
def test_as_many_at_once_as_there_are_cores(monkeypatch, tmp_path, settings, change, count):
    monkeypatch.setattr("pipeline.ahead.side_by_side.free_memory", lambda: 64 << 30)
    monkeypatch.setattr("pipeline.base.limits.GROUPS", tmp_path)  # no container's share
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4), raising=False)
    assert at_once(settings.changed(change)) == count


def test_as_many_as_memory_holds(monkeypatch, settings):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16), raising=False)
    for available, count in ((10e9, 6), (1e9, 1)):
        memory = psutil.virtual_memory()._replace(available=available)
        monkeypatch.setattr(psutil, "virtual_memory", lambda memory=memory: memory)
        assert at_once(settings) == count


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("fix: round 1/3\n", "sweep@0.015-0.4-1: fix: round 1/3\n"),
        ("sweep@0.015-0.4-1: epoch\n", "sweep@0.015-0.4-1: epoch\n"),
        ("error: no space\n", "sweep@0.015-0.4-1: error: no space\n"),
        ("ERROR: unable to read\n", "sweep@0.015-0.4-1: ERROR: unable to read\n"),
        ("Running stage 'fix':\n", ""),
        ("> python -m stages.fix\n", ""),
        ("ERROR: failed to reproduce 'fix': failed to run: python -m stages.fix, exited with 2\n", ""),
        ("\n", ""),
    ],
)
def test_every_line_says_which_stage_it_is_from(line, shown):
    assert named(line, "sweep@0.015-0.4-1") == shown


def test_how_many_are_done_and_the_time_left(capsys, monkeypatch):
    monkeypatch.setattr(Stages, "_make_one", lambda self, stage: self._done.add(stage) or self._say("one more") or 0)
    Stages({"fix": set(), "variants@x": {"fix"}, "pack": {"variants@x"}}, 2, {"fix": 240.0, "variants@x": 60.0}).make()
    assert capsys.readouterr().err.splitlines() == [
        "repro: 3 stages are out of date, 2 at a time, about 2 min left",
        "repro: one more, about 30 s left",
        *["repro: one more"] * 2,
    ]


@contextmanager
def started(folder, needs):
    """The command in a folder with settings, where these stages are out of date; all of it is killed at the end."""
    edited(folder / "params.yaml", "accelerator: auto", "accelerator: cpu")
    for name, text in (("dvc", DVC), ("stage.py", STAGE), ("stages.repro", REPRO)):
        (folder / name).write_text(text)
    (folder / "dvc").chmod(0o755)
    environment = clean_environment()
    environment |= {"PYTHONPATH": str(ROOT), "PATH": f"{folder}{os.pathsep}{environment['PATH']}"}
    with subprocess.Popen(
        [sys.executable, str(folder / "stages.repro"), json.dumps(needs)], cwd=folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=heed_ctrl_c,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            for each in (
                [*psutil.Process(process.pid).children(recursive=True), process] if process.poll() is None else ()
            ):
                each.kill()


def test_what_is_out_of_date_and_then_all(files):
    with started(files, {"one": [], "two": [], "pack": ["one", "two"]}) as process:
        printed, said = process.communicate(timeout=30)
    assert process.returncode == 0
    lines = printed.splitlines()
    assert sorted(lines[:4]) == ["Running stage 'one':", "Running stage 'two':", "one: begun", "two: begun"]
    assert lines[4:] == ["Running stage 'pack':", "pack: begun", "all: --wait-for-lock repro"]
    assert said.splitlines() == [
        "repro: 3 stages are out of date, 2 at a time",
        *(f"repro: {done} of 3 stages are done" for done in (1, 2, 3)),
    ]


def test_a_chain_is_left_to_dvc(files):
    with started(files, {"pack": [], "report": ["pack"]}) as process:
        assert process.communicate(timeout=30) == ("all: --wait-for-lock repro\n", "")


def test_a_stage_that_fails(files):
    with started(files, {"fails": [], "other": [], "later": ["other"], "pack": ["fails"]}) as process:
        printed, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "other: begun" in printed
    assert "pack" not in printed
    assert "fails: error: no such thing" in said.splitlines()
    last = "error: failed, as said above: fails; the same command goes on from what is finished"
    assert said.splitlines()[-1] == last


TWO_BEGUN = {
    line for stage in ("sleeps", "sleeps too") for line in (f"Running stage '{stage}':\n", f"{stage}: begun\n")
}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_stages_in_one_line_each(files, number, code):
    with started(files, {"sleeps": [], "sleeps too": [], "pack": ["sleeps"]}) as process:
        assert {process.stdout.readline() for _ in range(4)} == TWO_BEGUN
        process.send_signal(number)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == code
    line = "the same command goes on from what is finished"
    *_, one, other, last = said.splitlines()
    assert {one, other} == {f"{stage}: stopped by SIGTERM: {line}" for stage in ("sleeps", "sleeps too")}
    assert last == f"stopped by {number.name}: {line}"


def test_killed_its_stages_end_and_until_then_hold_the_lock(files):
    with started(files, {"sleeps": [], "sleeps too": []}) as process:
        assert {process.stdout.readline() for _ in range(4)} == TWO_BEGUN
        children = psutil.Process(process.pid).children()
        below = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 2
        for dvc in children:
            assert str(files / LOCK) in {each.path for each in dvc.open_files()}
        process.kill()
        _, alive = psutil.wait_procs(below, timeout=15)
        assert alive == []


def test_what_dvc_finds_out_of_date(clone, shell):
    ask = "python -c 'from pipeline.ahead.side_by_side import out_of_date; print(out_of_date())'"
    assert shell(ask).stdout == "{}\n"
    before = edited(clone / "params.yaml", "delta: 0.01\n", "delta: 0.012\n")
    assert ast.literal_eval(shell(ask).stdout) == {
        "fix": set(),
        "repeats@1": set(),
        "home": {"fix"},
        "pack": {"fix", "repeats@1"},
        "report": {"fix", "repeats@1", "pack"},
    }
    edited(clone / "params.yaml", "delta: 0.012\n", "delta: [\n")
    assert shell(ask).stdout == "{}\n"
    (clone / "params.yaml").write_text(before)


def test_the_same_results_as_alone(clone, repro, shell):
    """The clone's were made side by side; alone, a stage could have all cores."""
    assert "repro: 14 of 14 stages are done" in repro
    fix = clone / "runs" / "mnist5k" / "fix"
    before = files_of(fix)
    lock = yaml.safe_load((clone / "dvc.lock").read_text())["stages"]
    assert {"data", "pretrain", "sweep@0.01-0.4-1", "quantise@apot-3-again", "explore", "report"} <= lock.keys()
    shell("dvc repro --single-item --force fix", OMP_NUM_THREADS="2")
    after = files_of(fix)
    for name in ("timing.json", "iterations.csv"):  # with seconds in them
        before.pop(name), after.pop(name)
    assert before == after
