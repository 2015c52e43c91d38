"""How far the work is, on a terminal and in a log."""

import os
import pty
import subprocess
import sys

from conftest import ROOT, clean_environment

from pipeline.watching.progress import Steps


def run_on_terminal(program):
    parent, child = pty.openpty()
    environment = clean_environment() | {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=child, env=environment) as process:
        os.close(child)
        shown = b""
        while True:
            try:
                part = os.read(parent, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
        assert process.wait() == 0
    os.close(parent)
    return shown.decode()


STEPS = (
    "from pipeline.watching.progress import Steps\nimport time\n"
    "with Steps('fix', 4) as steps:\n"
    "    for i in range(4): steps.advance(); time.sleep(0.2)\n"
    "    steps.say('round 1 is done')\n"
)


def test_progress_on_a_terminal_and_in_a_log():
    shown = run_on_terminal(STEPS)
    assert "━" in shown
    assert "2/4" in shown
    assert "round 1 is done" in shown
    logged = subprocess.run([sys.executable, "-c", STEPS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert logged.stderr == "round 1 is done\n"


def test_further_processes_say_nothing(capsys):
    with Steps("fix", 4, quiet=True) as steps:
        steps.advance()
        steps.say("round 1 is done")
    assert capsys.readouterr().err == ""
