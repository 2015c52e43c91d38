"""A stage that is told to stop, or whose `dvc` is gone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from clones import ROOT, clean_environment

STAGE = """
import time
from stages.common.cli import run

def work() -> None:
    \"\"\"Work on.\"\"\"
    print("begun", flush=True)
    time.sleep(60)

run(work)
"""
# As Python has it of compiled code in which a signal's handler was run and which has not looked.
COMPILED = STAGE.replace(
    "    time.sleep(60)\n",
    """    try:
        time.sleep(60)
    except BaseException as error:
        raise SystemError("returned a result with an exception set") from error
""",
)
PRINTING = """
import sys
from pathlib import Path
from stages.common.cli import run

def work(folder: Path) -> None:
    for number in range(20_000):
        print(number)
        print(number, file=sys.stderr, flush=True)
    (folder / "done").touch()

run(work)
"""
# In place of Lightning: begins a further process of a stage, tells it to stop, and takes its time itself.
FIRST = f"""
import os, subprocess, sys, time

environment = os.environ | {{"LOCAL_RANK": "1", "PYTHONPATH": {str(ROOT)!r}}}
further = subprocess.Popen([sys.executable, sys.argv[1]], env=environment, cwd="/", stdout=subprocess.PIPE, text=True)
print(further.stdout.readline(), end="", flush=True)
further.terminate()
time.sleep(3)
print("it waits" if further.poll() is None else "it has ended", flush=True)
"""
IMPORTING = """
import time
import stages

print("begun", flush=True)
time.sleep(60)
"""


def heed_all():
    """In a process before its program begins: as in a terminal, whatever the tests were begun with."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def started(tmp_path):
    """Start a stage that works for a minute; under a program that is called dvc where `by_dvc`."""
    processes = []

    def start(program=STAGE, *, by_dvc=False):
        (tmp_path / "stage.py").write_text(program)
        command = [sys.executable, str(tmp_path / "stage.py")]
        environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
        if by_dvc:
            (tmp_path / "dvc").write_text(f"import subprocess\nsubprocess.run({command})")
            command = [sys.executable, str(tmp_path / "dvc")]
            environment["DVC_STAGE"] = "fix"
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_all,
        )  # fmt: skip
        processes.append(process)
        assert process.stdout.readline() == "begun\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("program", [STAGE, COMPILED], ids=["in Python", "in compiled code"])
def test_a_signal_ends_a_stage_in_one_line(started, number, program):
    process = started(program)
    process.send_signal(number)
    said = process.communicate(timeout=10)[1]
    assert said == f"stopped by {number.name}: the same command goes on from what is finished\n"
    assert process.returncode == 128 + number


def test_further_processes_of_a_stage_say_nothing(tmp_path):
    """One that the first process of a stage has begun waits for its end, in which it keeps what is finished."""
    for name, program in (("further/stage.py", STAGE), ("first/stages/first.py", FIRST)):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(program)
    first = subprocess.Popen(
        [sys.executable, "-m", "stages.first", str(tmp_path / "further/stage.py")], cwd=tmp_path / "first",
        env=clean_environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert first.stdout.readline() == "begun\n"
    said, errors = first.communicate(timeout=20)
    assert (said, errors) == ("it waits\n", "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_log_that_cannot_be_written_ends_no_work(tmp_path, unbuffered):
    """A disk that is full."""
    (tmp_path / "stage.py").write_text(PRINTING)
    environment = clean_environment() | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, str(tmp_path / "stage.py"), str(tmp_path)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, env=environment, stdout=full, stderr=full, check=False)
    assert done.returncode == 0
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_stage_that_imports_in_one_line(tmp_path, number, code):
    """`python -m stages.fix`, held where it imports torch."""
    (tmp_path / "torch.py").write_text('import time\nprint("imports", flush=True)\ntime.sleep(60)\n')
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.fix"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, preexec_fn=heed_all,
    )  # fmt: skip
    assert process.stdout.readline() == "imports\n"
    process.send_signal(number)
    said = process.communicate(timeout=10)[1]
    assert said == f"stopped by {signal.Signals(number).name}: the same command goes on from what is finished\n"
    assert process.returncode == code


@pytest.mark.slow
@pytest.mark.parametrize("program", [STAGE, IMPORTING], ids=["at work", "while it imports torch"])
def test_a_stage_ends_with_its_dvc(started, program):
    """Killed, `dvc` cannot stop it: it would work on beside the next one."""
    dvc = started(program, by_dvc=True)
    (stage,) = psutil.Process(dvc.pid).children(recursive=True)
    os.kill(dvc.pid, signal.SIGKILL)
    psutil.wait_procs([stage], timeout=10)
    assert not stage.is_running()
