"""Clones of this repository with a small profile, and commands in them as a person would run them.

For the tests and for `python -m benchmarks.faults`.
"""

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType

import yaml

ROOT = Path(__file__).parent.parent
TINY = {
    "model": {"name": "test_resnet"},
    "pretrain": {"epochs": 1, "batch_size": 64},
    "finetune": {"epochs": 1, "batch_size": 64},
    "quantise": {"batch_size": 64},
}


def write_tiny_profile(clone: Path) -> None:
    """Make the default profile of a clone small, and that for a person's own pictures.

    100 images of each digit, three rounds, one repeat, a grid of one cell, which is the repeat's setting, a run of each
    kind of variant, two runs of one baseline method, eight networks to explore, and one rate to choose from.
    """
    default = {"data": {"mini": 100}, **TINY}
    own = {"data": {"pixels": 64}, "pretrain": {"epochs": 2}, "finetune": {"epochs": 1}}
    for name, sections in (("mnist5k", default), ("custom", own)):
        profile = clone / "profiles" / f"{name}.yaml"
        values = yaml.safe_load(profile.read_text())
        for section, changes in sections.items():
            values[section] |= changes
        profile.write_text(yaml.safe_dump(values, sort_keys=False))
    params = clone / "params.yaml"
    lines = params.read_text().splitlines(keepends=True)
    kept_numbers = {"0.6", "0.9", "1.0", "0.01", "0.015", "0.03", "0.4", "0.001", "1"}
    kept_names = {"apot-3", "apot-3-again", "no-pull", "one-shot"}

    def kept(line: str) -> bool:
        words = line.split()
        if words[:1] == ["-"]:
            return words[1] in kept_numbers
        return not any(key in line for key in ("{method:", "{delta:")) or words[0].rstrip(":") in kept_names

    small = "".join(line for line in lines if kept(line))
    params.write_text(small.replace("    - 0.015\n", "    - 0.01\n"))


def make_clone(folder: Path, small: bool = True) -> None:
    """A clone of the working tree with this environment as its own, committed; small: with the small profile."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    changed = subprocess.run(
        ["git", "ls-files", "--modified", "--others", "--exclude-standard", "--deduplicate"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    for name in changed:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    if small:
        write_tiny_profile(folder)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    subprocess.run(["git", "config", "user.name", "test"], cwd=folder, check=True)
    subprocess.run(["git", "config", "user.email", "test@example.invalid"], cwd=folder, check=True)
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    subprocess.run(["git", "commit", "--quiet", "--allow-empty", "--message", "as it is here"], cwd=folder, check=True)


def copy_clone(source: Path, folder: Path) -> None:
    """A copy with everything that has been made there."""
    shutil.copytree(source, folder, symlinks=True)
    move_artifacts(source, folder)


def move_artifacts(was: Path, clone: Path) -> None:
    """Tell MLflow's database, which holds absolute paths of its artifacts, where its clone is now."""
    with closing(sqlite3.connect(clone / "mlflow.db")) as connection, connection:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            change = f"update {table} set {column} = replace({column}, ?, ?)"
            connection.execute(change, (was.as_uri(), clone.as_uri()))


def run_in(
    clone: Path, command: str, environment: Mapping[str, str] = MappingProxyType({}), timeout: float = 3000
) -> subprocess.CompletedProcess[str]:
    """Run a command line in a clone as a person would, with the environment activated.

    One that takes longer (seconds) is killed with all that it has started: exit code 124, as `timeout` has it.
    """
    with subprocess.Popen(
        ["bash", "-c", f"set -e; . .venv/bin/activate; {command}"],
        cwd=clone, env=clean_environment() | dict(environment), start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            printed, said = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            printed, said = process.communicate()
            return subprocess.CompletedProcess(command, 124, printed, f"{said}\nkilled after {timeout:.0f} s\n")
    return subprocess.CompletedProcess(command, process.returncode, printed, said)


def files_of(folder: Path) -> dict[str, str]:
    """Checksums of all files, by their paths in the folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def clean_environment() -> dict[str, str]:
    """The environment without what the test runner, an outer make or DVC run or a wish for slow imports put there."""
    dropped = ("DVC_", "HF_", "MAKE", "MFLAGS", "MLFLOW_", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
    return {key: value for key, value in os.environ.items() if not key.startswith(dropped)}


def heed_ctrl_c() -> None:
    """In a process before its program begins: Ctrl-C is ignored in a shell's background, where tests may run."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def edited(path: Path, old: str, new: str) -> str:
    """Replace a text in a file, once; returns what the file was."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return text
