"""Work that was broken off goes on where it was, and ends as if nothing had happened."""

import dataclasses
import errno
import hashlib
import io
import itertools
import os
import re
import shutil
import sys
import threading
import time
from functools import partial
from types import ModuleType

import pandas as pd
import pytest
import torch
from conftest import changed, working

from pipeline.base.errors import InputError
from pipeline.base.kept import drop_done
from pipeline.base.results import write_files
from pipeline.base.settings import Quantiser
from pipeline.comparing.finding import find_method
from pipeline.comparing.task import Task
from pipeline.data.images import Images
from pipeline.fixing.rounds import fix_network
from pipeline.training import checkpoint
from pipeline.training.checkpoint import Checkpoint, checkpoint_name, code_files, read_state, resumable
from pipeline.training.loop import pretrain
from pipeline.training.several_runs import several_runs


class BrokenOffError(Exception):
    """Stands for the power cut."""


@pytest.fixture
def kept(repository, monkeypatch):
    """Checkpoints after every epoch, in a folder of their own."""
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
    return repository / ".ckpt"


def passing_through(dataset, watch):
    """The data set; each of its training batches goes through `watch(number, batch)` first."""
    numbers = itertools.count()

    def watched(*arguments):
        for batch in dataset.training_batches(*arguments):
            yield watch(next(numbers), batch)

    shadow = dataclasses.replace(dataset)
    object.__setattr__(shadow, "training_batches", watched)
    return shadow


def breaking(dataset, batches):
    """The data set, which breaks off after so many training batches."""

    def watch(number, batch):
        if number == batches:
            raise BrokenOffError
        return batch

    return passing_through(dataset, watch)


def by(method, bits):
    """Quantising by a method of the comparison; returns its epochs."""
    quantiser = Quantiser(method=method, bits=bits, repeat=0)
    found = find_method("mine", quantiser)

    def quantise(work):
        found.quantise(Task(work, quantiser))
        return work.epochs

    return quantise


# What trains: two batches an epoch, four epochs in all. fix trains in two rounds, apot at two widths; the values that
# k-means trains lie outside of the network.
SHORT = {"fixing__fractions": (0.5, 0.9, 1.0), "finetune__epochs": 2, "pretrain__epochs": 4}
WORK = {
    "fix": lambda work: fix_network(work).rounds,
    "pretrain": pretrain,
    "apot": by("apot", 3),
    "uniform": by("uniform", 4),
    "kmeans_layer": by("kmeans_layer", 4),
}
every_work = pytest.mark.parametrize("name", WORK)


def attempt(name, settings, dataset):
    """One try, in a fresh network as a new process has it: the network's state and the rows that were logged."""
    logged = []
    with working(settings, dataset) as work:
        torch.manual_seed(1)  # dropout draws from it; a resumed try must not see this
        work.live.log_step = lambda *step: logged.append(step)
        rows = WORK[name](work)
    assert logged == list(enumerate(rows))
    return work.model.state_dict(), pd.DataFrame(rows).drop(columns=["seconds", "train_seconds"], errors="ignore")


def assert_same(done, expected):
    pd.testing.assert_frame_equal(done[1], expected[1])
    assert done[0].keys() == expected[0].keys()
    for name, value in expected[0].items():
        assert torch.equal(value, done[0][name]), name


@every_work
@pytest.mark.parametrize("batches", [1, 3, 5, 7])  # none of the epochs is finished after one
def test_as_if_nothing_had_happened(kept, name, batches, settings, dataset, capsys):
    settings = changed(settings, **SHORT, model__options={"drop_rate": 0.1})
    expected = attempt(name, settings, dataset)
    assert list(kept.iterdir()) == []  # removed at success, with its lock
    with pytest.raises(BrokenOffError):
        attempt(name, settings, breaking(dataset, batches))
    capsys.readouterr()
    again = attempt(name, settings, dataset)
    assert ("goes on after" in capsys.readouterr().err) == (batches >= 2 or name == "fix")
    assert_same(again, expected)
    assert list(kept.iterdir()) == []


@every_work
def test_twice_broken(kept, name, settings, dataset):
    """With moving averages, which go on as well. The second time breaks the second training of those that have two."""
    settings = changed(settings, **SHORT, finetune__ema=0.9, pretrain__ema=0.9)
    expected = attempt(name, settings, dataset)
    for batches in (3, 4):
        with pytest.raises(BrokenOffError):
            attempt(name, settings, breaking(dataset, batches))
    assert_same(attempt(name, settings, dataset), expected)


@every_work
@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_told_to_stop_keeps_its_last_epoch(repository, name, compiled, settings, dataset):
    """Epochs that are too short for a checkpoint each: the newest is written when the work is stopped."""

    def stopping(number, batch):
        if number == 5:
            if compiled:  # as Python has it where a signal arrives in compiled code
                raise SystemError from KeyboardInterrupt()
            raise KeyboardInterrupt
        return batch

    settings = changed(settings, **SHORT)
    expected = attempt(name, settings, dataset)
    with pytest.raises(SystemError if compiled else KeyboardInterrupt):
        attempt(name, settings, passing_through(dataset, stopping))
    (path,) = (repository / ".ckpt").glob("*/state.pt")
    state = read_state(path)
    unfinished = state["training"]["rows"] if state["training"] else []
    assert len([*itertools.chain(*state["trainings"].values()), *unfinished]) == 2
    assert_same(attempt(name, settings, dataset), expected)


def test_apot_trains_twice_and_numbers_its_epochs_on(settings, dataset):
    with working(changed(settings, **SHORT), dataset) as work:
        WORK["apot"](work)
    assert {title: len(rows) for title, rows in work.trainings.items()} == {"apot, 4 bits": 2, "apot, 3 bits": 2}
    assert [row["epoch"] for row in work.epochs] == [0, 1, 2, 3]


@every_work
@pytest.mark.parametrize("epoch", [2, 3])  # 3: of the second training of those that have two
def test_a_loss_that_is_no_number_ends_its_epoch(kept, name, epoch, settings, dataset):
    """No further epoch begins, and the checkpoint is that of the epoch before."""
    seen = []

    def watch(number, batch):
        seen.append(number)
        return batch if number < 2 * (epoch - 1) else Images(batch.pixels * torch.nan, batch.labels)

    with pytest.raises(InputError, match=r": epoch \d/\d( \(\d/4 in all\))?: the loss is nan; try a smaller learning"):
        attempt(name, changed(settings, **SHORT), passing_through(dataset, watch))
    assert seen == list(range(2 * epoch))
    (path,) = kept.glob("*/state.pt")
    state = read_state(path)
    unfinished = state["training"]["rows"] if state["training"] else []
    rows = itertools.chain(*state["trainings"].values(), unfinished)
    assert [row["epoch"] for row in rows] == list(range(epoch - 1))


def test_a_checkpoint_is_that_of_one_setting_and_its_inputs(tmp_path):
    weights = tmp_path / "weights"
    weights.write_bytes(b"a")
    names = [checkpoint_name({"delta": delta}, inputs) for delta in (0.01, 0.02) for inputs in ([weights], [])]
    weights.write_bytes(b"b")
    names.append(checkpoint_name({"delta": 0.01}, [weights]))
    assert len(set(names)) == 5
    assert checkpoint_name({"delta": 0.01}, [weights]) == names[-1]


def test_a_checkpoint_is_that_of_its_images(settings, dataset):
    """Of another share that is held out too: a half-trained network would have seen what is measured on then."""
    folders = []
    for share in (0.25, 0.4):
        with working(settings, dataset.held_out(share, seed=0)) as work:
            folders.append(work.checkpoint.write("x", b""))
    assert len(set(folders)) == 2


def test_a_checkpoint_is_that_of_the_code_that_was_loaded(tmp_path, monkeypatch):
    """An edit of what decides the result begins anew; one of what looks on, or is not loaded, does not."""
    monkeypatch.setattr(checkpoint, "CODE", tmp_path)
    monkeypatch.setattr(checkpoint, "NOT_DECIDING", {tmp_path / "pipeline" / "watching"})
    counted = ("wfn/a.py", "pipeline/training/b.py", "stages/c.py")
    for file in (*counted, "pipeline/watching/d.py", "tests/e.py", "pipeline/methods/unused.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("# one")
        if "unused" not in file:
            module = ModuleType(file)
            module.__file__ = str(tmp_path / file)
            monkeypatch.setitem(sys.modules, file, module)
    for path in sorted(tmp_path.rglob("*.py")):
        before = checkpoint_name({}, [])
        path.write_text("# two")
        assert (checkpoint_name({}, []) != before) == (path.relative_to(tmp_path).as_posix() in counted), path


def test_what_looks_on_is_loaded_and_does_not_count():
    assert "pipeline.watching.tracking" in sys.modules
    found = {path.relative_to(checkpoint.CODE).as_posix() for path in code_files()}
    assert {"wfn/method/fixer.py", "pipeline/training/loop.py", "pipeline/methods/apot.py"} <= found
    assert not any(name.startswith(("pipeline/watching/", "tests/", ".venv/")) for name in found)


def test_two_processes_at_the_same_work(kept, settings, fabric, capsys):
    """The second one waits and says so, and begins when the first one has gone; other work need not wait."""
    begun = threading.Event()

    def second():
        with resumable(fabric, settings.of_fixing(), []):
            begun.set()

    waiting = threading.Thread(target=second, daemon=True)
    with resumable(fabric, settings.of_fixing(), []):
        with resumable(fabric, settings.of_baseline(), []):
            pass
        waiting.start()
        said, deadline = "", time.monotonic() + 60  # it hashes files first
        while not said and time.monotonic() < deadline:
            time.sleep(0.05)
            said = capsys.readouterr().err
        assert not begun.is_set()
    assert begun.wait(60)
    waiting.join()
    said += capsys.readouterr().err
    assert re.fullmatch(r"waiting for another process that does this work already: .*\.lock\n", said), said
    assert list(kept.iterdir()) == []


def test_a_checkpoint_holds_no_program(kept, settings, fabric):
    with resumable(fabric, {}, []) as saved:
        saved.save({"tensor": torch.ones(3), "rows": [{"loss": 1.0}]})
        assert saved.load()["rows"] == [{"loss": 1.0}]
        (path,) = kept.glob("*/state.pt")
        program = io.BytesIO()
        torch.save({"program": os.system}, program)
        path.write_bytes(hashlib.sha256(program.getvalue()).digest() + program.getvalue())
        with pytest.raises(Exception, match="[Ww]eights.only"):
            read_state(path)


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "something else"])
def test_a_damaged_checkpoint_is_set_aside(kept, fabric, damage, capsys):
    """torch would read a changed bit of a tensor without a word."""
    with resumable(fabric, {}, []) as saved:
        saved.save({"tensor": torch.zeros(1000), "rows": []})
        (path,) = kept.glob("*/state.pt")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(
            {"flipped": bytes(content), "cut": bytes(content[:500]), "empty": b"", "something else": b"x" * 999}[damage]
        )
        assert saved.load() is None
        said = capsys.readouterr().err
        assert re.fullmatch(r"warning: .*state\.pt: damaged \(.*\); set aside as state.damaged, .* anew\n", said), said
        assert not path.exists()
        saved.save({"rows": [1]})
        assert saved.load() == {"rows": [1]}
        saved.save({"rows": [2]})
        path.write_bytes(b"x" * 999)
        assert saved.load() == {"rows": [1]}
        said = capsys.readouterr().err
        assert re.fullmatch(r"warning: .*state\.pt: damaged \(.*\); set aside .*, the one before it is used\n", said), (
            said
        )
        saved.save({"rows": [3]})
        assert saved.load() == {"rows": [3]}


@pytest.mark.parametrize("of_dvc", [False, True])
def test_what_is_kept_goes_once_the_results_are_safe(kept, fabric, monkeypatch, of_dvc):
    """DVC may not come to take them up; what it has taken up goes with the last stage, or after an hour."""
    monkeypatch.setattr("os.environ", os.environ | ({"DVC_STAGE": "fix"} if of_dvc else {}))
    with resumable(fabric, {}, []) as saved:
        saved.save({"rows": [1]})
    assert bool(list(kept.glob("*/state.pt"))) == of_dvc
    if not of_dvc:
        return
    with resumable(fabric, {}, []) as saved:
        assert saved.load() == {"rows": [1]}
        assert not list(kept.glob("*/done"))
    (done,) = kept.glob("*/done")
    with resumable(fabric, {"delta": 0.5}, []):
        assert done.exists()
    os.utime(done, (0, 0))
    with resumable(fabric, {"delta": 0.5}, []) as saved:
        saved.save({"rows": [2]})
        assert not done.exists()
    drop_done()
    assert list(kept.iterdir()) == []


def test_an_error_keeps_what_is_finished(repository, fabric):
    """Of what a person can mend by another setting, a network that diverged, there is nothing to go on with."""

    def broken_off_by(error, kept):
        with resumable(fabric, {"kept": kept}, []) as saved:
            saved.keep({"rows": [1]})
            raise error

    for error, kept in ((RuntimeError("CUDA error: out of luck"), 1), (InputError("diverged"), 0)):
        with pytest.raises(type(error)):
            broken_off_by(error, kept)
        assert len(list((repository / ".ckpt").glob("*/state.pt"))) == kept
        shutil.rmtree(repository / ".ckpt")


def test_a_checkpoint_that_nobody_may_look_at_is_none(fabric, tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(type(tmp_path), "exists", refuse)
    assert Checkpoint(tmp_path, fabric).load() is None


def test_a_checkpoint_that_cannot_be_written_ends_no_training(kept, fabric, capsys, monkeypatch):
    def fail(folder, files):
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "state.pt"))

    with resumable(fabric, {}, []) as saved:
        saved.save({"rows": [1]})
        monkeypatch.setattr(checkpoint, "write_files", fail)
        saved.save({"rows": [2]})
        said = capsys.readouterr().err
        assert re.fullmatch(
            r"warning: no checkpoint \(.*state.pt: No space left on device\); the one before is .*\n", said
        )
        assert saved.load() == {"rows": [1]}


def test_of_several_runs_those_that_are_done_are_kept(fabric, repository, tmp_path):
    """Broken off in the second one: the first is not made again, and all come to their place together."""
    made = []

    def make(folder, name, breaks):
        folder.mkdir(exist_ok=True)
        (folder / "metrics.json").write_text(name)
        if breaks:
            raise BrokenOffError
        made.append(name)

    def work(break_in=""):
        with several_runs(fabric, tmp_path / "out", {"delta": 0.01}, []) as runs:
            for name in ("a", "b"):
                runs.make(name, partial(make, name=name, breaks=name == break_in))

    with pytest.raises(BrokenOffError):
        work(break_in="b")
    assert made == ["a"]
    assert not (tmp_path / "out").exists()
    write_run_of_others(tmp_path / "out")
    work()
    assert made == ["a", "b"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b"]
    assert list((repository / ".ckpt").iterdir()) == []


def test_no_runs_at_all_are_a_folder_without_any(fabric, repository, tmp_path):
    """As of settings that ask for none."""
    with several_runs(fabric, tmp_path / "made" / "out", {}, []):
        pass
    assert list((tmp_path / "made" / "out").iterdir()) == []


def write_run_of_others(out):
    (out / "old").mkdir(parents=True)
    (out / "old" / "metrics.json").touch()


def test_a_folder_of_a_person_is_not_replaced(fabric, repository, tmp_path):
    """Before any work, and nothing in it is touched."""
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(InputError, match=r"holds thesis\.tex, which is no run; allowed: "):
        make_runs(fabric, tmp_path, write_run)
    assert (tmp_path / "thesis.tex").read_text() == "all of it"


def make_runs(fabric, out, work):
    """Three runs, each made by `work(folder, name)`."""
    with several_runs(fabric, out, {"delta": 0.01}, []) as runs:
        for name in ("a", "b", "c"):
            runs.make(name, partial(work, name=name))


def write_run(folder, name):
    folder.mkdir()
    (folder / "metrics.json").write_text(name)


def contents(out):
    return {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}


THREE = {"a/metrics.json": "a", "b/metrics.json": "b", "c/metrics.json": "c"}


def no_room(path):
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


@pytest.mark.parametrize("damage", [b"", b"A", None], ids=["cut short", "another byte", "no digest"])
def test_a_kept_run_that_is_damaged_is_set_aside(fabric, repository, tmp_path, capsys, damage):
    """Named and made anew; the others are not."""
    made = []

    def work(folder, name):
        if name == "c" and "c" not in made:
            made.append("c")
            raise BrokenOffError
        write_run(folder, name)
        made.append(name)

    with pytest.raises(BrokenOffError):
        make_runs(fabric, tmp_path / "out", work)
    (kept,) = (repository / ".ckpt").glob("*.runs")
    if damage is None:
        (kept / ".a.sha256").unlink()
    else:
        (kept / "a" / "metrics.json").write_bytes(damage)
    make_runs(fabric, tmp_path / "out", work)
    assert made == ["a", "b", "c", "a", "c"]
    assert contents(tmp_path / "out") == THREE
    assert list((repository / ".ckpt").iterdir()) == []
    assert re.fullmatch(
        r"warning: .*\.runs/a: damaged \(.*\); set aside as \.a\.damaged, it is made anew\n", capsys.readouterr().err
    )


def test_several_runs_go_on_where_nothing_can_be_kept(fabric, repository, tmp_path, capsys):
    (repository / ".ckpt").touch()  # a file, in which no folder can be made
    out = tmp_path / "made" / "out"
    make_runs(fabric, out, write_run)
    assert contents(out) == THREE
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert re.search(r"warning: no run can be kept \(.*\.runs: .*\); the work goes on\n", capsys.readouterr().err)


def test_several_runs_go_on_where_no_further_one_can_be_kept(fabric, repository, tmp_path, capsys):
    """The second one is made again beside the first one's place, and the third one there alone."""
    made, out = [], tmp_path / "made" / "out"

    def work(folder, name):
        write_run(folder, name)
        made.append(name)
        if name != "a" and repository / ".ckpt" in folder.parents:
            no_room(folder / "model.safetensors")

    make_runs(fabric, out, work)
    assert made == ["a", "b", "b", "c"]
    assert contents(out) == THREE
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert list((repository / ".ckpt").iterdir()) == []
    said = capsys.readouterr().err
    assert re.fullmatch(r"warning: no run can be kept \(.*/\.b/model\.safetensors: No space .*\); the .* on\n", said), (
        said
    )


def test_what_a_run_cannot_read_ends_it_at_once(fabric, tmp_path):
    made = []

    def work(folder, name):
        made.append(name)
        no_room(tmp_path / "picture.png")

    with pytest.raises(OSError, match="No space left"):
        make_runs(fabric, tmp_path / "out", work)
    assert made == ["a"]


def test_a_full_disk_leaves_what_was_there(fabric, repository, tmp_path, monkeypatch):
    """Runs that are kept on another disk come as copies; what fails there is done again from them, with room."""
    made, out = [], tmp_path / "made" / "out"
    write_run_of_others(out)

    def work(folder, name):
        write_run(folder, name)
        made.append(name)

    def across(path, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link", str(path))

    def full(folder, files):
        if folder.name == "b":
            no_room(folder / "metrics.json")
        write_files(folder, files)

    monkeypatch.setattr("os.link", across)
    with monkeypatch.context() as filled:
        filled.setattr("pipeline.training.several_runs.write_files", full)
        with pytest.raises(OSError, match="No space left"):
            make_runs(fabric, out, work)
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert [path.name for path in out.iterdir()] == ["old"]
    make_runs(fabric, out, work)
    assert made == ["a", "b", "c"]
    assert contents(out) == THREE
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert list((repository / ".ckpt").iterdir()) == []
