"""Work that is killed goes on where it was; work in two processes is one run."""

import json
import subprocess
import time

from clones import clean_environment, files_of

RESUMABLE = (
    "import runpy, sys; from pipeline.training import checkpoint; checkpoint.SECONDS_BETWEEN = 0.0; "
    "sys.argv = ['fix', '--out', 'runs/killed']; "
    "runpy.run_module('stages.fix', run_name='__main__')"
)


def test_a_killed_fix_goes_on(clone, shell):
    """Killed as an out-of-memory killer does it, and started again: the result of the run that nobody killed."""
    python = [str(clone / ".venv" / "bin" / "python"), "-c", RESUMABLE]
    with subprocess.Popen(python, cwd=clone, env=clean_environment(), stderr=subprocess.DEVNULL) as process:
        while not list((clone / ".ckpt").glob("*/state.pt")):
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
    assert not (clone / "runs" / "killed").exists()
    again = subprocess.run(python, cwd=clone, env=clean_environment(), capture_output=True, text=True, check=True)
    assert "fix: goes on after round" in again.stderr
    done, whole = files_of(clone / "runs" / "killed"), files_of(clone / "runs" / "mnist5k" / "fix")
    for name in ("metrics.json", "centres.csv", "model.safetensors", "settings.json"):
        assert done[name] == whole[name], name
    assert list((clone / ".ckpt").iterdir()) == []


def test_a_stage_in_two_processes(clone, shell):
    """Fabric starts the second one by the stage's own command line; one speaks and writes for both."""
    two = "--out runs/two --set hardware.devices=2 --set hardware.accelerator=cpu"
    done = shell(f"python -m stages.fix {two}")
    assert done.stderr.count("fix: round 3/3: 100.00% fixed") == 1
    metrics = json.loads((clone / "runs" / "two" / "metrics.json").read_text())
    assert metrics["quantised_parameters"] == metrics["parameters"]
