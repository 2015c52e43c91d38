"""Several processes, parts of batches, channels last, compiled: the same network as one process makes it."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from clones import ROOT, clean_environment
from conftest import changed, working
from ports import free_port

from pipeline.base.errors import InputError
from pipeline.base.settings import Settings
from pipeline.fixing.rounds import fix_network
from pipeline.network.layout import acting_weights
from pipeline.training.device import launch, seed_epoch
from wfn.method.part import FREE


def start(folder, *, devices=1, nodes=1, accumulate=1, **environment):
    """The program of several_processes.py, which writes what each of its processes had at the end."""
    program = [ROOT / "tests" / "several_processes.py", folder, devices, nodes, accumulate]
    return subprocess.Popen(
        [sys.executable, *map(str, program)], cwd=ROOT, text=True, stderr=subprocess.PIPE,
        env=clean_environment() | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "DVC_ROOT": str(folder)} | environment,
    )  # fmt: skip


def results(folder, commands, processes):
    """What each process had, in the order of their ranks, once all commands have ended."""
    said = [command.communicate(timeout=900)[1] for command in commands]
    assert [command.returncode for command in commands] == [0] * len(commands), said
    assert "".join(said).count("fix: round 3/3: 100.00% fixed") == 1  # one process speaks for all
    return [torch.load(folder / f"{rank}-of-{processes}.pt", weights_only=True) for rank in range(processes)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    (result,) = results(folder, [start(folder)], 1)
    return result


def assert_same(result, expected):
    """The same clustering, and what was trained in between the same but for the rounding of sums."""
    for ours, theirs in zip(result["passes"], expected["passes"], strict=True):
        assert torch.equal(ours["centres"], theirs["centres"])
        assert ((ours["indices"] == FREE) == (theirs["indices"] == FREE)).float().mean() > 0.999
    assert result["losses"] == pytest.approx(expected["losses"], rel=1e-4)
    assert result["top1"] == pytest.approx(expected["top1"], abs=2.6)  # one of the 40 test images
    same = [torch.isclose(result["weights"][name], value, rtol=1e-4, atol=1e-6).float().mean()
            for name, value in expected["weights"].items()]  # fmt: skip
    assert min(same) > 0.99


def assert_identical(one, other):
    for ours, theirs in zip(one["passes"], other["passes"], strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ("centres", "codebook", "indices"))
    for name, value in one["weights"].items():
        assert torch.equal(value, other["weights"][name]), name
    assert one["losses"] == other["losses"]
    assert one["top1"] == other["top1"]


def test_two_processes(alone, tmp_path):
    one, other = results(tmp_path, [start(tmp_path, devices=2)], 2)
    assert_identical(one, other)
    assert_same(one, alone)


def slurm(task, tasks, nodes):
    """What srun tells its tasks, one on each node."""
    known = {"JOB_ID": 7, "JOB_NAME": "fix", "NODELIST": "127.0.0.1", "NTASKS_PER_NODE": 1, "LOCALID": 0}
    own = {"NTASKS": tasks, "NNODES": nodes, "PROCID": task, "NODEID": task}
    return {f"SLURM_{name}": str(value) for name, value in (known | own).items()}


def test_two_machines_under_slurm(alone, tmp_path):
    """Slurm starts the processes, one on each machine; nobody else does."""
    port = str(free_port())
    commands = [start(tmp_path, nodes=2, **slurm(task, 2, 2), MASTER_PORT=port) for task in range(2)]
    one, other = results(tmp_path, commands, 2)
    assert_identical(one, other)
    assert_same(one, alone)


def test_another_number_of_processes_than_asked_for(tmp_path):
    """Slurm has started one, and Fabric would be content with it."""
    command = start(tmp_path, nodes=2, **slurm(0, 1, 2), MASTER_PORT=str(free_port()))
    said = command.communicate(timeout=900)[1].splitlines()
    assert command.returncode == 1
    asked = "hardware.accelerator = 'cpu', devices = 1, nodes = 2"
    assert said[-1] == f"error: {asked}: 1 processes were started; allowed: devices x nodes"


def test_batches_in_parts(alone, tmp_path):
    (result,) = results(tmp_path, [start(tmp_path, accumulate=4)], 1)
    assert_same(result, alone)


SHORT = {"fixing__fractions": (0.5, 1.0), "model__name": "test_efficientnet"}


@pytest.mark.parametrize("change", [{"hardware__channels_last": True}, {"hardware__compile": True}], ids=str)
def test_another_layout_or_compiled(change, settings, dataset):
    """The same rounds but for rounding; the files of weights keep names, shapes and order."""
    results = []
    for changes in ({}, change):
        with working(changed(settings, **SHORT, **changes), dataset) as work:
            results.append((work.model, fix_network(work).rounds))
    (plain, expected), (model, rounds) = results
    assert rounds[0]["centres"] == expected[0]["centres"]
    assert rounds[1]["loss"] == pytest.approx(expected[1]["loss"], rel=1e-3)
    assert rounds[1]["centres"] == pytest.approx(expected[1]["centres"], abs=3)
    assert len(torch.cat([each.detach().flatten() for each in model.parameters()]).unique()) == rounds[1]["centres"]
    assert [*model.state_dict()] == [*plain.state_dict()]
    acting, same = (acting_weights(each, dataset.sample(1)) for each in (model, plain))
    assert acting.keys() == same.keys() != set()
    assert all((acting[name] == same[name]).all() for name in acting)


def test_batches_that_cannot_be_shared_are_named(settings):
    with pytest.raises(ValueError, match=r"batch_size = 64: hardware asks for 3 equal parts"):
        Settings.model_validate(settings.model_dump() | {"hardware": settings.hardware.model_dump() | {"devices": 3}})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs here")
def test_devices_that_are_not_there_are_named(settings):
    chosen = changed(settings, hardware__accelerator="cuda", hardware__devices=2)
    with pytest.raises(InputError, match="accelerator = 'cuda', devices = 2, nodes = 1: not available here"):
        launch(chosen.hardware, seed=0)


def test_a_limit_on_threads_is_kept():
    """Numba's start would lift it for torch; in a process of its own, because threads start once."""
    program = (
        "import numba, torch\nfrom wfn.method.clustering import cluster\n"
        "cluster(torch.randn(1000), 1.0, 0.01)\nprint(torch.get_num_threads(), numba.get_num_threads())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=clean_environment() | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "1 1\n"


def test_random_numbers_of_an_epoch_are_each_process_s_own_and_come_back():
    """A checkpoint holds the first process's random state, and all are given that one after a break."""

    def drawn(rank, epoch, before, of=2):
        torch.manual_seed(before)
        seed_epoch(SimpleNamespace(world_size=of, global_rank=rank), 5, epoch)
        return torch.rand(4).tolist()

    found = {(rank, epoch): drawn(rank, epoch, 0) for rank in range(2) for epoch in range(2)}
    assert len({tuple(each) for each in found.values()}) == 4
    assert all(drawn(*key, 99) == each for key, each in found.items())
    assert drawn(0, 0, 7, of=1) != drawn(0, 0, 8, of=1)  # one process goes on with the state that it has
