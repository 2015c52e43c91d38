"""The package as a person installs it: what the wheel holds and needs, and the documented loop far from this clone."""

import importlib.metadata
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tomllib
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from clones import ROOT, clean_environment

MARK = "<!-- loop: run by tests/test_wheel.py -->"


def uv(*arguments: str) -> str:
    """What uv prints. `uv run` names itself in UV; the Makefile's own copy lies in .tools."""
    program = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".tools/bin/uv")
    done = subprocess.run(
        [program, *arguments], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--quiet", "--out-dir", str(folder))
    (built,) = folder.glob("*.whl")
    return built


def test_what_the_wheel_holds(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        said = message_from_bytes(archive.read(metadata))
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "wfn"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    sources = {name for name in tracked.stdout.split() if (ROOT / name).exists()}
    assert {name for name in names if ".dist-info/" not in name} == sources
    assert "wfn/py.typed" in sources
    assert said["Name"] == "weight-fixing"
    assert said["Version"] == re.search(r'^__version__ = "(.+)"$', (ROOT / "wfn/__init__.py").read_text(), re.M)[1]
    assert said["Requires-Python"] == ">=3.11"
    always = [needed for needed in said.get_all("Requires-Dist") if "extra ==" not in needed]
    assert {re.match(r"[\w-]+", needed)[0] for needed in always} == {"torch", "numpy", "numba"}
    assert set(said.get_all("Provides-Extra")) == {"timm", "cli", "onnx", "hub"}


def test_the_source_distribution_is_small(wheel):
    (archive,) = wheel.parent.glob("*.tar.gz")
    assert archive.stat().st_size < 200_000


def test_what_uv_lock_has_of_the_package():
    """What the wheel needs, and its extras: the pipeline's packages are a group."""
    locked = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    (package,) = (entry for entry in locked if entry["name"] == "weight-fixing")
    assert {entry["name"] for entry in package["dependencies"]} == {"torch", "numpy", "numba"}
    assert set(package["optional-dependencies"]) == {"timm", "cli", "onnx", "hub"}
    assert package["source"] == {"virtual": "."}


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """Python of a new environment that has the wheel, torch, NumPy, numba and what these need: nothing else.

    Those are links to this environment's own copies: uv finds them installed and has nothing to download.
    """
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    needed = uv("export", "--frozen", "--no-default-groups", "--no-hashes", "--no-annotate", "--no-header")
    for name in {line.partition("==")[0] for line in needed.splitlines()}:
        link_distribution(name, packages)
    uv("pip", "install", "--quiet", "--offline", "--python", str(folder), str(wheel))
    return folder / "bin" / "python"


def link_distribution(name: str, packages: Path) -> None:
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return  # what the lock file has for other systems
    for top in {path.parts[0] for path in distribution.files or ()} - {"..", "__pycache__"}:
        source, link = Path(distribution.locate_file(top)), packages / top
        if source.suffix == ".dist-info":  # uv does not look into a link
            shutil.copytree(source, link)
        elif not link.exists():  # several distributions share the folder nvidia
            link.symlink_to(source)


def run_far_away(python: Path, folder: Path, program: str) -> str:
    environment = {key: value for key, value in clean_environment().items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_installed_package(python, tmp_path):
    """It is the wheel's, it knows its version, and the pipeline did not come along."""
    program = (
        "import importlib.metadata, importlib.util, json, wfn\n"
        "found = [name for name in ('pipeline', 'stages', 'timm', 'pydantic') if importlib.util.find_spec(name)]\n"
        "print(json.dumps([wfn.__file__, wfn.__version__, importlib.metadata.version('weight-fixing'), found]))\n"
    )
    file, version, installed, others = json.loads(run_far_away(python, tmp_path, program))
    assert Path(file).is_relative_to(python.parent.parent)
    assert version == installed
    assert others == []


PREAMBLE = """
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 5))
loader = [(torch.randn(32, 20), torch.randint(5, (32,))) for _ in range(4)]
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10)
"""
EPILOGUE = """
values = torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).unique()
assert len(values) == len(fixer.codebook()), (len(values), len(fixer.codebook()))
print(len(values))
"""


@pytest.mark.parametrize("page", ["README.md", "docs/library.md"])
def test_the_documented_loop(python, tmp_path, page):
    """The loop, as it stands there, leaves the whole network with the codebook's values alone."""
    loop = re.search(rf"{re.escape(MARK)}\s*```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert loop, f"{page} has no python block after {MARK}"
    values = int(run_far_away(python, tmp_path, PREAMBLE + loop[1] + EPILOGUE))
    assert 1 < values < 1000  # of 5,829 weights


IMPORTED = """
import json, sys, time
start = time.perf_counter()
import torch
between = time.perf_counter()
import wfn
end = time.perf_counter()
print(json.dumps([between - start, end - between]))
"""


def test_importing_costs_a_second_at_most(python, tmp_path):
    """Over `import torch`; on a machine where that alone takes more than 3 s, a third of it."""
    seconds = [json.loads(run_far_away(python, tmp_path, IMPORTED)) for _ in range(3)]
    torch, package = (statistics.median(times) for times in zip(*seconds, strict=True))
    assert package <= max(1.0, torch / 3), f"import torch: {torch:.2f} s, import wfn: {package:.2f} s"


def test_importing_brings_in_nothing_else():
    """In this environment, where the pipeline's packages could be imported."""
    program = (
        "import sys, torch, numpy, numba\n"
        "before = set(sys.modules)\n"
        "import wfn\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(names - set(sys.stdlib_module_names)))\n"
        "print(*{'timm', 'pydantic', 'pandas', 'lightning_fabric', 'mlflow'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert set(done.stdout.split()) - {"numba", "numpy", "torch", "llvmlite"} == {"wfn"}
