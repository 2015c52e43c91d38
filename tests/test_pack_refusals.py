"""What `pack` does not write: what nobody could read, or another network; and how files are replaced."""

import gzip
import io
import os

import pytest
import timm
import torch
from torch import nn

import wfn
from wfn.packed import encode, header

TENSORS = {"weight": torch.tensor([0.5, 0.25, 0.5])}


def deep(levels):
    found = {}
    for _ in range(levels):
        found = {"deeper": found}
    return found


@pytest.mark.parametrize(
    ("given", "metadata", "problem"),
    [
        ({"a": torch.empty(0, 2**50)}, None, "a: a tensor cannot have the shape"),
        (TENSORS, {1: "a", "1": "b"}, "a key occurs twice"),
        (TENSORS, deep(99), "more than 100 deep"),
        (TENSORS, "words", "metadata: an object is needed, not str"),
        (None, None, "tensors by name, are needed, not NoneType"),
        ([1], None, "tensors by name, are needed, not list"),
        (nn.LazyLinear(3), None, "weight: has no shape"),
    ],
)
def test_what_no_reader_would_take_is_refused(tmp_path, given, metadata, problem):
    with pytest.raises(ValueError, match=problem):
        wfn.pack(given, tmp_path / "file.wfn", metadata=metadata)
    assert list(tmp_path.iterdir()) == []


def test_the_deepest_metadata_that_is_read_again(tmp_path):
    wfn.pack(TENSORS, tmp_path / "file.wfn", metadata=deep(98))
    assert wfn.inspect(tmp_path / "file.wfn").metadata == deep(98)


def test_more_tables_than_a_reader_takes_are_joined(tmp_path, monkeypatch):
    """Many tensors, each with values of its own among many that are shared: larger than it could be, and readable."""
    monkeypatch.setattr(header, "MOST_FREQUENCIES", 3000)
    monkeypatch.setattr(encode, "MOST_FREQUENCIES", 3000)
    monkeypatch.setattr(encode, "shared_tables", lambda counts: list(range(len(counts))))
    values = torch.randn(64, generator=torch.Generator().manual_seed(0))
    given = {f"{i}.weight": values[(torch.arange(4096) * (i + 1)) % 8 + 8 * (i % 8)] for i in range(60)}
    wfn.pack(given, tmp_path / "file.wfn")
    found = wfn.unpack(tmp_path / "file.wfn")
    assert all(torch.equal(found[name], tensor) for name, tensor in given.items())


CHANGES = {
    "a hook": lambda model: model.register_forward_hook(lambda *given: given[-1] * 2),
    "a hook before": lambda model: model.conv1.register_forward_pre_hook(lambda *given: given[1][0] * 2),
    "another forward": lambda model: setattr(model, "forward", lambda x: x),
    "other features": lambda model: setattr(model, "forward_features", lambda x: x),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_code_does_to_a_model_is_not_lost_in_silence(tmp_path, change):
    model = timm.create_model("test_resnet", num_classes=3)
    change(model)
    with pytest.raises(ValueError, match=r"another network \((the model|conv1): (has forward|its method)"):
        wfn.pack(model, tmp_path / "file.wfn", network="test_resnet")
    wfn.pack(model.state_dict(), tmp_path / "file.wfn")


def test_a_network_that_was_loaded_is_packed_again(tmp_path):
    wfn.pack(timm.create_model("test_resnet", num_classes=3), tmp_path / "one.wfn", network="test_resnet")
    wfn.pack(wfn.load(tmp_path / "one.wfn"), tmp_path / "two.wfn", network="test_resnet")
    assert (tmp_path / "two.wfn").read_bytes() == (tmp_path / "one.wfn").read_bytes()


def test_permissions(tmp_path):
    """Those of the file that is replaced, else those of any new file; the process' own mask is left alone."""
    before = os.umask(0o027)
    try:
        wfn.pack(TENSORS, tmp_path / "new.wfn")
        (tmp_path / "private.wfn").touch(0o600)
        wfn.pack(TENSORS, tmp_path / "private.wfn")
    finally:
        assert os.umask(before) == 0o027
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"new.wfn": 0o640, "private.wfn": 0o600}


def test_the_longest_name(tmp_path):
    name = "é" * 125
    wfn.pack(TENSORS, tmp_path / f"{name}.wfn"[-250:])
    assert len(list(tmp_path.iterdir())) == 1


def test_an_open_file(tmp_path):
    path = tmp_path / "file.wfn"
    path.write_bytes(b"1" * 9000)
    with path.open("r+b") as file:
        wfn.pack(TENSORS, file)
    assert torch.equal(wfn.unpack(path)["weight"], TENSORS["weight"])
    with path.open("ab") as file, pytest.raises(ValueError, match="it has to be at its beginning"):
        wfn.pack(TENSORS, file)
    assert torch.equal(wfn.unpack(path)["weight"], TENSORS["weight"])
    with gzip.open(tmp_path / "file.wfn.gz", "wb") as file:
        wfn.pack(TENSORS, file)
    assert gzip.decompress((tmp_path / "file.wfn.gz").read_bytes()) == path.read_bytes()
    memory = io.BytesIO()
    wfn.pack(TENSORS, memory)
    assert memory.getvalue() == path.read_bytes()
