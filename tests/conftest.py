"""What several tests need: a small data set, a small network, and clones of this repository with a small profile."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import timm
import torch
from clones import ROOT, TINY, copy_clone, make_clone, run_in
from filelock import FileLock
from playwright.sync_api import Page, sync_playwright

import wfn
from pipeline.base.settings import Fixing, Quantiser, Settings, load_settings
from pipeline.comparing.task import Task
from pipeline.data.dataset import Dataset
from pipeline.data.memory import InMemory, prepare
from pipeline.network.build import build
from pipeline.network.parameters import fixable_parameters
from pipeline.training.device import launch
from pipeline.training.work import Job, Work, at_work

# The same examples in every run of CI; new ones on every other, and fewer in `make check`.
# Beside other work an example may take seconds: how long it takes is no fault.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.register_profile("quick", max_examples=20)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("repeatable")

# Two processes take the files in this order, then the others. The first one begins with the `make repro` that all tests
# of the marker `pipeline` share; the next ones do without it and fill that time for the other process.
FIRST = (
    *("test_repro.py", "test_wheel.py", "test_library.py", "test_tracking.py", "test_numbers.py", "test_packed.py"),
    *("test_load.py", "test_quantisers.py", "test_report.py"),
)
# A quarter of a minute and more each: `make test` leaves them to `make test-all`, which takes them in this order. Of
# the other files it leaves out the tests that are marked `long` there.
LONG = (
    *("test_readme_settings.py", "test_spread.py", "test_paper.py", "test_scale.py", "test_export.py"),
    *("test_resume.py", "test_readme_pictures.py", "test_new_method.py", "test_benchmarks.py", "test_long_run.py"),
    *("test_mlflow_faults.py", "test_together.py", "test_broken_off.py", "test_faults.py"),
)
# Processes, compilers, browsers, installations, many networks: `make check` leaves them out, as it does those of the
# two other markers. Of other files it leaves out the tests of seconds, which are marked `slow` there.
SLOW = (
    *("test_families.py", "test_page.py", "test_numbers.py", "test_hostile.py", "test_side_by_side.py"),
    *("test_wheel.py", "test_library.py", "test_tracking.py", "test_format.py", "test_hub_packed.py"),
    *("test_packed_page.py", "test_served.py", "test_mlflow_server.py", "test_ui.py", "test_quantisers.py"),
)
ORDER = [*LONG, *FIRST]


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "finished" in getattr(item, "fixturenames", ()):
            item.add_marker("pipeline")
        if item.path.name in LONG:
            item.add_marker("long")
        if item.path.name in SLOW:
            item.add_marker("slow")
    items.sort(key=lambda item: ORDER.index(item.path.name) if item.path.name in ORDER else len(ORDER))


@pytest.fixture(scope="session")
def settings() -> Settings:
    """The default settings with timm's smallest ResNet and one epoch per round."""
    values = load_settings(ROOT / "params.yaml", ROOT / "profiles").model_dump()
    for section, changes in TINY.items():
        values[section] |= changes
    return Settings.model_validate(values)


@pytest.fixture(scope="session")
def dataset(settings) -> InMemory:
    """200 real MNIST images, 160 for training."""
    return prepare(settings.data.model_copy(update={"mini": 20, "test_share": 0.2}), seed=0)


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    """A folder with the settings of a clone, to be changed, as the current one."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def repository(tmp_path, monkeypatch) -> Path:
    """The folder that stands for the clone in this process: no test finds the checkpoints of another, or leaves any."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> bytes:
    """The content of a database that MLflow has set up, which takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("whole") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path.read_bytes()


@pytest.fixture
def bare(repository, monkeypatch) -> Path:
    """A clone without a database of MLflow's."""
    monkeypatch.setenv("DVC_EXP_NAME", "brave-test")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return repository


@contextmanager
def working(settings: Settings, dataset: Dataset, stage: str = "fix") -> Iterator[Work]:
    """Work on a network with its initial weights, opened as a stage opens it."""
    fabric = launch(settings.hardware, settings.seed)
    decides = settings.model_dump(mode="json")
    job = Job(stage, decides, [], settings.training_epochs, settings.finetune.batch_size)
    with at_work(fabric, build(settings.model, settings.seed), dataset, settings, job) as work:
        yield work


def fixable_weights(model: torch.nn.Module, fixing: Fixing) -> torch.Tensor:
    """A network's weights that are fixed, as one vector."""
    return torch.cat([each.detach().flatten() for each in fixable_parameters(model, fixing).values()])


@pytest.fixture
def fabric(settings):
    return launch(settings.hardware, seed=0)


@pytest.fixture
def model(settings):
    return build(settings.model, seed=0)


def fixed_network(**options: object) -> torch.nn.Module:
    """timm's smallest ResNet with initial weights, always the same, fixed in one shot."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", **options)
    wfn.fix(network, delta=0.03)
    return network


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def task(settings, dataset):
    """Makes a task for a method of the comparison, on a network with its initial weights, one at a time."""
    with ExitStack() as opened:

        def make(chosen: Settings = settings, /, **quantiser: object) -> Task:
            opened.close()
            work = opened.enter_context(working(chosen, dataset))
            return Task(work, Quantiser.model_validate({"repeat": 0, **quantiser}))

        yield make


def changed(settings: Settings, **changes: object) -> Settings:
    """The settings with other values: alpha=0.0, fixing__distance="euclidean"."""
    values = settings.model_dump()
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (values[section] if section else values)[name] = value
    return Settings.model_validate(values)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[Path, str]:
    """A clone in which `make repro` has run, once for all processes of this test run, and what it printed.

    For copying: nothing may change in it.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    project, log = folder / "finished", folder / "finished.log"
    with FileLock(folder / "finished.lock"):
        if not project.exists():
            make_clone(project)
            done = run_in(project, "make repro")
            log.write_text(done.stdout + done.stderr)
    printed = log.read_text()
    assert "Results: open" in printed, printed
    return project, printed


@pytest.fixture(scope="module")
def clone(finished, tmp_path_factory) -> Path:
    """A clone in which `make repro` has run, for the tests of one file. Tests that use it are marked `pipeline`."""
    folder = tmp_path_factory.mktemp("clone") / "project"
    copy_clone(finished[0], folder)
    return folder


@pytest.fixture(scope="session")
def repro(finished) -> str:
    """What `make repro` printed."""
    return finished[1]


@pytest.fixture(scope="module")
def shell(clone):
    """Run a command line in the clone as a person would; fails with what it said where it fails."""

    def run(
        command: str, *, check: bool = True, timeout: float = 3000, **environment: str
    ) -> subprocess.CompletedProcess:
        done = run_in(clone, command, environment, timeout)
        if check:
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    return run


# Chromium as Debian ships it; it needs a profile folder of its own and no sandbox inside containers.
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMIUM_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
SECONDS = 180  # for a browser to begin, and for a page to show what a test waits for


@contextmanager
def browser_page(profile: Path, **options: Any) -> Iterator[Page]:
    """A page in a real headless Chromium. Skips where there is none, but in CI, which installs it (.ci/run)."""
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip("no Chromium here; .ci/run installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=CHROMIUM_FLAGS, timeout=SECONDS * 1000, **options
        )
        browser.set_default_timeout(SECONDS * 1000)
        try:
            yield browser.new_page()
        finally:
            browser.close()
