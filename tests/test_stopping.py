"""A stage that is told to stop, or whose `dvc` is gone."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
from clones import ROOT, clean_environment, heed_ctrl_c

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
IMPORTING = """
import time
import stages

print("begun", flush=True)
time.sleep(60)
"""


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
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=heed_ctrl_c,
        )  # fmt: skip
        processes.append(process)
        assert process.stdout.readline() == "begun\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("program", [STAGE, COMPILED], ids=["in Python", "in compiled code"])
def test_a_signal_ends_a_stage_in_one_line(started, number, code, program):
    process = started(program)
    process.send_signal(number)
    said = process.communicate(timeout=10)[1]
    assert said == f"stopped by {number.name}: the same command goes on from what is finished\n"
    assert process.returncode == code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_stage_that_imports_in_one_line(tmp_path, number, code):
    """`python -m stages.fix`, held where it imports torch."""
    (tmp_path / "torch.py").write_text('import time\nprint("imports", flush=True)\ntime.sleep(60)\n')
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.fix"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c,
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
