"""Work that was broken off goes on where it was, and ends as if nothing had happened."""

import os

import pandas as pd
import pytest
import torch
from conftest import changed

from pipeline.base.errors import InputError
from pipeline.fixing.rounds import fix_network
from pipeline.network.build import build
from pipeline.training import checkpoint
from pipeline.training import loop as training
from pipeline.training.checkpoint import key_of, resumable
from pipeline.training.device import set_up


class BrokenOffError(Exception):
    """Stands for the power cut."""


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Checkpoints after every epoch, in a folder of their own."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
    return tmp_path / ".ckpt"


def breaking(dataset, batches):
    """The data set, which breaks off after so many training batches."""
    left = [batches]
    original = dataset.training_batches

    def limited(*arguments):
        for batch in original(*arguments):
            if not left[0]:
                raise BrokenOffError
            left[0] -= 1
            yield batch

    shadow = type(dataset)(dataset.train, dataset.test, dataset.card, dataset.shift, dataset.flip)
    object.__setattr__(shadow, "training_batches", limited)
    return shadow


def attempt(work, fabric, settings, dataset):
    """One try at fixing or pretraining, in a fresh network as a new process has it."""
    model = build(settings.model, settings.seed)
    network = set_up(fabric, model, settings.hardware)
    torch.manual_seed(1)  # dropout draws from it; a resumed try must not see this
    seen = []
    with resumable(fabric, settings.of_fixing(), []) as saved:
        rows = work(
            fabric, network, dataset, settings, torch.Generator().manual_seed(0), lambda *row: seen.append(row), saved
        )
    assert [row for _, row in seen] == rows
    return model.state_dict(), pd.DataFrame(rows).drop(columns=["seconds", "train_seconds"], errors="ignore")


SHORT = {"fixing__fractions": (0.5, 0.9, 1.0), "finetune__epochs": 2, "pretrain__epochs": 4}


@pytest.mark.parametrize("work", [fix_network, training.pretrain], ids=["fix", "pretrain"])
@pytest.mark.parametrize("batches", [1, 3, 7])  # two batches an epoch; none is finished after one
def test_as_if_nothing_had_happened(kept, work, batches, settings, dataset, fabric, capsys):
    settings = changed(settings, **SHORT, model__options={"drop_rate": 0.1})
    expected, rows = attempt(work, fabric, settings, dataset)
    assert list(kept.iterdir()) == []  # removed at success, with its lock
    with pytest.raises(BrokenOffError):
        attempt(work, fabric, settings, breaking(dataset, batches))
    capsys.readouterr()
    weights, again = attempt(work, fabric, settings, dataset)
    assert ("goes on after" in capsys.readouterr().err) == (batches >= 2 or work is fix_network)
    pd.testing.assert_frame_equal(again, rows)
    for name, value in expected.items():
        assert torch.equal(value, weights[name]), name
    assert list(kept.iterdir()) == []


@pytest.mark.parametrize("work", [fix_network, training.pretrain], ids=["fix", "pretrain"])
def test_twice_broken(kept, work, settings, dataset, fabric):
    """With moving averages, which go on as well."""
    settings = changed(settings, **SHORT, finetune__ema=0.9, pretrain__ema=0.9)
    expected, rows = attempt(work, fabric, settings, dataset)
    for batches in (3, 4):
        with pytest.raises(BrokenOffError):
            attempt(work, fabric, settings, breaking(dataset, batches))
    weights, again = attempt(work, fabric, settings, dataset)
    pd.testing.assert_frame_equal(again, rows)
    assert all(torch.equal(value, weights[name]) for name, value in expected.items())


def test_a_checkpoint_is_that_of_one_setting_and_its_inputs(tmp_path):
    (tmp_path / "weights").write_bytes(b"a")
    keys = [key_of({"delta": 0.01}, [tmp_path / "weights"]), key_of({"delta": 0.02}, [tmp_path / "weights"])]
    (tmp_path / "weights").write_bytes(b"b")
    keys.append(key_of({"delta": 0.01}, [tmp_path / "weights"]))
    assert len(set(keys)) == 3
    assert key_of({"delta": 0.01}, [tmp_path / "weights"]) == keys[2]


def test_two_processes_at_the_same_work(kept, settings, fabric):
    """The second one is told; after the first one has gone, it may."""
    with resumable(fabric, settings.of_fixing(), []):
        with (
            pytest.raises(InputError, match="another process does this work already"),
            resumable(fabric, settings.of_fixing(), []),
        ):
            pass
        with resumable(fabric, settings.of_baseline(), []):
            pass
    with resumable(fabric, settings.of_fixing(), []):
        pass


def test_a_checkpoint_holds_no_program(kept, settings, fabric):
    with resumable(fabric, {}, []) as saved:
        saved.save({"tensor": torch.ones(3), "rows": [{"loss": 1.0}]})
        assert saved.load()["rows"] == [{"loss": 1.0}]
        (path,) = kept.glob("*/state.pt")
        torch.save({"program": os.system}, path)
        with pytest.raises(Exception, match="[Ww]eights.only"):
            saved.load()
