"""Commands that make results in one clone, one at a time: who waits for whom, and that nobody waits for the dead."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil
import pytest
from clones import ROOT

from pipeline.ahead.turn import LOCK, check_lock
from pipeline.base.errors import InputError

# Takes its turn and then, as `make repro` becomes `dvc repro`, becomes another program.
MAKE = """
import os, sys
from pathlib import Path
from pipeline.ahead.turn import take_turn
take_turn(Path(), lambda line: print(line, flush=True))
print("works", flush=True)
os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)"])
"""


@contextmanager
def started(folder, *command):
    """A process in a folder, killed at the end."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def make(folder):
    return started(folder, sys.executable, "-c", MAKE)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_the_second_one_waits_and_says_for_whom(tmp_path, end):
    with make(tmp_path) as first, make(tmp_path) as second:
        lines = {process: process.stdout.readline() for process in (first, second)}
        other = first if lines[first] == "works\n" else second
        waits = second if other is first else first
        assert lines[other] == "works\n"
        assert lines[waits] in (
            f"process {other.pid} (make) is at work in this clone; waiting until it has ended\n",
            "another process is at work in this clone; waiting until it has ended\n",  # it has just begun
        )
        os.kill(other.pid, end)
        other.wait()
        assert waits.stdout.readline() == "works\n"
        assert (tmp_path / LOCK).read_text() == str(waits.pid)


@pytest.mark.parametrize(
    ("words", "where", "counts"),
    [
        ("repro fix", "", True),
        ("--wait-for-lock repro", "", True),
        ("exp run -S delta=0.02", "stages", True),
        ("exp run --run-all", "", False),
        ("exp run --temp", "", False),
        ("exp show", "", False),
        ("repro", ".dvc/tmp/exps/one", False),
        ("repro", "../elsewhere", False),
    ],
)
def test_dvc_by_hand(tmp_path, words, where, counts):
    """It is known by its command and its folder; a `dvc` that does nothing but sleep stands for it."""
    clone = tmp_path / "clone"
    folder = clone / where
    for each in (clone, folder):
        each.mkdir(parents=True, exist_ok=True)
    program = tmp_path / "dvc"
    program.write_text("import time; print('here', flush=True); time.sleep(60)")
    with started(folder, sys.executable, program, *words.split()) as dvc:
        assert dvc.stdout.readline() == "here\n"
        with make(clone) as process:
            line = process.stdout.readline()
            if not counts:
                assert line == "works\n"
                return
            assert line.startswith(f"process {dvc.pid} (dvc {words}) is at work in this clone")
            dvc.kill()
            dvc.wait()
            began = time.monotonic()
            assert process.stdout.readline() == "works\n"
            assert time.monotonic() - began < 5


def users(number):
    """DVC's list where a process reads a file and writes another."""
    user = {"pid": number, "cmd": "dvc repro"}
    return json.dumps({"read": {"a": [user]}, "write": {"b": user}})


def killed():
    """A process that has ended and whose end nobody has asked for yet."""
    process = subprocess.Popen(["true"])
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("content", ["", '{"a": ', '{"read": {}, "write": {}}', users(2**22 + 1), users(1)])
def test_what_a_killed_dvc_left_is_cleared_away(tmp_path, content):
    """DVC ends at an rwlock that it was killed while writing; process 1 has the number of a `dvc` that is no more."""
    cleared(tmp_path, content)


STAGE = "schema: '2.0'\nstages:\n  data:\n    cmd: python -m stages.data\n"
LISTED = f"{STAGE}    deps:\n    - path: a\n      hash: md5\n      md5: 0a0b\n      size: 3\n"


@pytest.mark.parametrize("content", [None, LISTED, STAGE])
def test_a_dvc_lock_that_dvc_can_read_stays(tmp_path, content):
    """One that is cut short between two stages is one of fewer: DVC has the rest in its cache."""
    if content is not None:
        (tmp_path / "dvc.lock").write_text(content)
    check_lock(tmp_path)


@pytest.mark.parametrize("content", ["", LISTED[:-6], STAGE[:-25], "\0" * 4096, "[]", "a: b"])
def test_a_dvc_lock_that_was_not_written_to_its_end_is_named(tmp_path, content):
    (tmp_path / "dvc.lock").write_text(content)
    with pytest.raises(InputError, match=r"dvc\.lock: damaged, .*; `git restore dvc\.lock`"):
        check_lock(tmp_path)


def test_a_killed_dvc_that_nobody_has_asked_for_is_at_work_no_more(tmp_path):
    with killed() as process:
        cleared(tmp_path, users(process.pid))


def cleared(clone, content):
    rwlock = clone / ".dvc/tmp/rwlock"
    rwlock.parent.mkdir(parents=True)
    rwlock.write_text(content)
    with make(clone) as process:
        assert process.stdout.readline() == "works\n"
        assert not rwlock.exists()


def test_the_list_of_a_dvc_at_work_stays(tmp_path):
    """Of one that this does not wait for, such as `dvc exp show`."""
    rwlock = tmp_path / ".dvc/tmp/rwlock"
    rwlock.parent.mkdir(parents=True)
    with subprocess.Popen(["bash", "-c", "exec -a dvc sleep 60"]) as dvc:
        time.sleep(0.2)
        rwlock.write_text(users(dvc.pid))
        with make(tmp_path) as process:
            assert process.stdout.readline() == "works\n"
            assert rwlock.exists()
        dvc.kill()
