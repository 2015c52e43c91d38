"""What surrounds a run: containers with less than the machine, other repositories, addresses, too little memory."""

import getpass
import os
import subprocess
from pathlib import Path

import psutil
import pytest
import torch
import typer
from clones import ROOT

from pipeline.base import limits
from pipeline.base.errors import lack_of_memory
from pipeline.base.git import head
from pipeline.watching.place import Place, place
from stages.common.cli import run
from wfn.compiling import compiled


@pytest.fixture
def group(tmp_path, monkeypatch):
    """Writes files of this process' control groups."""
    monkeypatch.setattr(limits, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(limits, "OWN", tmp_path / "own")
    (tmp_path / "cgroup").mkdir()

    def write(own, **files):
        (tmp_path / "own").write_text(own)
        for name, content in files.items():
            path = tmp_path / "cgroup" / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    return write


def test_without_groups_the_machine_counts(group):
    group("")
    assert limits.cores() == len(os.sched_getaffinity(0))
    assert limits.free_memory() == pytest.approx(psutil.virtual_memory().available, rel=0.5)


def test_a_group_within_a_group(group):
    group(
        "0::/pod/container\n",
        pod__cpu_dot_max="50000 100000\n",
        pod__container__cpu_dot_max="max 100000\n",
        pod__memory_dot_max="1000000\n",
        pod__memory_dot_current="600000\n",
        pod__memory_dot_stat="anon 100\ninactive_file 60000\nactive_file 40000\n",
        pod__container__memory_dot_max="max\n",
        pod__container__memory_dot_current="5\n",
    )
    assert limits.cores() == 0.5
    assert limits.free_memory() == 500_000


def test_a_group_of_the_older_kind(group):
    group(
        "4:memory:/job\n3:cpu,cpuacct:/job\n",
        cpu__job__cpu_dot_cfs_quota_us="-1",
        cpu__job__cpu_dot_cfs_period_us="100000",
        memory__memory_dot_limit_in_bytes=str(2**63 - 4096),
        memory__memory_dot_usage_in_bytes="10",
        memory__job__memory_dot_limit_in_bytes="3000",
        memory__job__memory_dot_usage_in_bytes="4000",
    )
    assert limits.cores() == len(os.sched_getaffinity(0))
    assert limits.free_memory() == 0


def test_the_commit_is_that_of_the_clone(tmp_path, monkeypatch):
    """Not of a repository around it, nor of one that a variable names."""

    def git(*words):
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
        done = subprocess.run(
            ["git", *words], cwd=tmp_path, check=True, capture_output=True, text=True, env=environment
        )
        return done.stdout.strip()

    git("init", "-q")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x")
    (tmp_path / "inner").mkdir()
    assert head(tmp_path) == git("rev-parse", "HEAD")
    assert head(tmp_path / "inner") == ""
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    assert head(Path("/")) == ""


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("http://me:secret@host:5000/x", "http://host:5000/x"),
        ("HTTP://me:secret@host", "HTTP://host"),
        ("postgresql://me:se@cret@db/mlflow", "postgresql://db/mlflow"),
        ("databricks", "databricks"),
    ],
)
def test_no_password_is_printed(monkeypatch, given, name):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    found = place()
    assert found.name == name
    assert found.without_password(f"{given}: refused") == f"{name}: refused"
    assert found.is_server == given.lower().startswith("http")


def test_addresses_of_databases(monkeypatch, tmp_path):
    """The database is the file that MLflow writes to; where it would write to another one, it is not used."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///my%20runs.db?timeout=30")
    assert place().database == tmp_path / "my runs.db"
    assert place().uri == f"sqlite:///{tmp_path}/my runs.db?timeout=30"
    assert place().unusable == ""
    for folder in ("a?b", "feature%2Fx"):
        assert "a path with % or ?" in Place("sqlite:///x", tmp_path / folder / "mlflow.db").unusable


class TestLackOfMemory:
    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (MemoryError(), "smaller batches"),
            (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "smaller batches"),
            (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "hardware.accumulate"),
            (RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left"), "--shm-size"),
        ],
    )
    def test_is_one_line_at_the_command(self, error, said, capsys, monkeypatch):
        def stage():
            raise error

        monkeypatch.setattr("sys.argv", ["stage"])
        with pytest.raises(SystemExit) as ended:
            run(stage)
        assert ended.value.code == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert said in line

    def test_other_errors_stay_what_they_are(self, monkeypatch):
        assert lack_of_memory(RuntimeError("shape mismatch")) == ""
        monkeypatch.setattr("sys.argv", ["stage"])

        def stage():
            raise RuntimeError("shape mismatch")

        with pytest.raises(RuntimeError, match="shape mismatch"):
            run(stage)


def test_names_that_are_no_text_are_printed(monkeypatch, capfdbinary):
    def stage():
        typer.echo("picture \udce9.png")

    monkeypatch.setattr("sys.argv", ["stage"])
    with open(1, "w", encoding="utf-8", closefd=False) as stream:
        monkeypatch.setattr("sys.stdout", stream)
        with pytest.raises(SystemExit) as ended:
            run(stage)
        stream.flush()
    assert ended.value.code == 0
    assert capfdbinary.readouterr().out == b"picture \\udce9.png\n"


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"", b"rubbish"])
def test_damaged_files_of_compiled_code(tmp_path, damage):
    """As after a power cut: compiled once more, and kept anew."""
    script = tmp_path / "script.py"
    script.write_text(
        "from wfn.compiling import compiled\n\n@compiled()\ndef double(x):\n    return x * 2\n\nprint(double(21))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}

    def once():
        command = [os.sys.executable, str(script)]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout

    assert once() == "42\n"
    kept = [path for ending in ("nbi", "nbc") for path in (tmp_path / "__pycache__").glob(f"*.{ending}")]
    assert len(kept) == 2
    for path in kept:
        path.write_bytes(damage)
    assert once() == "42\n"
    assert all(path.read_bytes() != damage for path in kept)


def test_a_serial_twin(monkeypatch):
    @compiled(parallel=True)
    def doubled(x):
        return x * 2

    monkeypatch.setattr("wfn.compiling._Process.copied", True)
    assert doubled(21) == 42


@pytest.mark.parametrize("home", [{}, {"HOME": "/nowhere"}])
def test_a_user_without_name_and_home(tmp_path, home):
    """As in a container that is run with another user's number: what make starts has both.

    Only root can become a user without a name; everybody else has their own.
    """
    user = {"user": 4242} if os.geteuid() == 0 else {}
    rules = 'include Makefile\nshow:\n\t@echo "$$LOGNAME $$HOME"\n'
    done = subprocess.run(
        ["make", "--no-print-directory", "-f", "-", "show"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **home},
        input=rules,
        **user,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["4242" if user else getpass.getuser(), str(ROOT / ".cache" / "home")]
