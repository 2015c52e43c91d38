"""CIFAR's python batches: what their authors wrote, what others make of them, and damage."""

import os
import pickle

import numpy as np
import pytest
from catalogue import note
from own_images import SECTION, as_cifar100, as_python_batches, batch, becomes, dump, outcome, own, parts

ALL = {"cat": (4, 2), "dog": (4, 2)}


def changed(name, **changes):
    """Write a batch with other values, by keys; None leaves a key out."""

    def change(root):
        content = {**batch(*parts()["test"]), **{key.encode(): value for key, value in changes.items()}}
        dump(root, name, {key: value for key, value in content.items() if value is not None})

    return change


def with_texts_as_keys(root):
    for path in root.iterdir():
        content = pickle.loads(path.read_bytes(), encoding="bytes")
        named = {key.decode(): value for key, value in content.items()}
        if "label_names" in named:
            named["label_names"] = [name.decode() for name in named["label_names"]]
        path.write_bytes(pickle.dumps(named, protocol=5))


def with_arrays_of_labels(root):
    for path in root.glob("*_batch*"):
        content = pickle.loads(path.read_bytes(), encoding="bytes")
        path.write_bytes(pickle.dumps({**content, b"labels": np.array(content[b"labels"], np.uint8)}, protocol=4))


def with_numpy_numbers(root):
    for path in root.glob("*_batch*"):
        content = pickle.loads(path.read_bytes(), encoding="bytes")
        path.write_bytes(pickle.dumps({**content, b"labels": list(np.array(content[b"labels"]))}))


def without(*names):
    return lambda root: [(root / name).unlink() for name in names]


TAKEN = [
    ("CIFAR-10's batches", without(), ""),
    ("batches with texts as keys, protocol 5", with_texts_as_keys, ""),
    ("labels as an array of uint8", with_arrays_of_labels, ""),
    ("labels as a list of NumPy's numbers", with_numpy_numbers, ""),
]


@pytest.mark.parametrize(("case", "change", "said"), TAKEN, ids=[case[0] for case in TAKEN])
def test_batches_that_are_taken(settings, capsys, tmp_path, case, change, said):
    root = tmp_path / "own"
    as_python_batches(root)
    change(root)
    becomes(case, outcome(own(settings, root), capsys), root, (ALL, said))


def test_fewer_batches(settings, capsys, tmp_path):
    root = tmp_path / "own"
    as_python_batches(root)
    without("data_batch_4", "data_batch_5")(root)
    found = outcome(own(settings, root), capsys)
    said = "3 of CIFAR-10's 5 batches found: data_batch_1, data_batch_2, data_batch_3"
    becomes("three batches of five", found, root, ({"cat": (3, 2), "dog": (3, 2)}, said))


def test_cifar100(settings, capsys, tmp_path):
    as_cifar100(tmp_path / "own")
    becomes("CIFAR-100's train, test and meta", outcome(own(settings, tmp_path / "own"), capsys), "", (ALL, ""))


PIXELS = parts()["test"][0].transpose(0, 3, 1, 2).reshape(4, -1)
ROWS = "allowed: rows of 3072 numbers, uint8"
WHOLE = "allowed: a list of whole numbers, one an image"
CLASSES = "allowed: 0 to 1, whole numbers of 2 classes"
REFUSED = [
    (
        "rows that are too short",
        changed("test_batch", data=PIXELS[:, 1:]),
        f"test_batch: data is uint8 [4, 3071]; {ROWS}",
    ),
    (
        "data that are floats",
        changed("test_batch", data=PIXELS / 255),
        f"test_batch: data is float64 [4, 3072]; {ROWS}",
    ),
    ("data that are a list", changed("test_batch", data=PIXELS.tolist()), f"test_batch: data is a list; {ROWS}"),
    ("data that are missing", changed("test_batch", data=None), f"test_batch: data is missing; {ROWS}"),
    (
        "data of four dimensions",
        changed("test_batch", data=PIXELS.reshape(4, 3, 32, 32)),
        f"test_batch: data is uint8 [4, 3, 32, 32]; {ROWS}",
    ),
    ("labels that are missing", changed("test_batch", labels=None), f"test_batch: labels is missing; {WHOLE}"),
    ("four images with three labels", changed("test_batch", labels=[0, 1, 0]), "test_batch: 4 images with 3 labels"),
    ("a label 'x'", changed("test_batch", labels=[0, 1, 0, "x"]), f"test_batch: labels has 'x'; {CLASSES}"),
    (
        "labels that are floats",
        changed("test_batch", labels=[0.0, 1.0, 0.5, 1.0]),
        f"test_batch: labels has 0.0, 1.0, 0.5; {CLASSES}",
    ),
    (
        "labels of different lengths",
        changed("test_batch", labels=[[0], [1, 1], 0, 1]),
        f"test_batch: labels has 'list'; {CLASSES}",
    ),
    (
        "labels beyond the names",
        changed("test_batch", labels=[0, 7, -1, 1]),
        f"test_batch: labels has 7, -1; {CLASSES}",
    ),
    (
        "no names of classes",
        lambda root: dump(root, "batches.meta", {b"num_vis": 3072}),
        "batches.meta: has no list of names of classes, label_names",
    ),
    (
        "names of classes that are no text",
        lambda root: dump(root, "batches.meta", {b"label_names": [b"\xff", b"dog"]}),
        "batches.meta: label_names: a name is no UTF-8",
    ),
    (
        "a batch that is no dictionary",
        lambda root: dump(root, "test_batch", [1, 2]),
        "test_batch: not one of CIFAR's python batches: holds no dictionary",
    ),
    (
        "an empty file",
        lambda root: (root / "test_batch").write_bytes(b""),
        "test_batch: not one of CIFAR's python batches: Ran out of input",
    ),
    ("no test_batch", without("test_batch"), "test_batch: no such file; CIFAR's python batches have one"),
    (
        "data_batch_3 is missing among five",
        without("data_batch_3"),
        "data_batch_3: no such file; CIFAR's python batches have one",
    ),
    ("no batches.meta", without("batches.meta"), "batches.meta: no such file; CIFAR's python batches have one"),
]


@pytest.mark.parametrize(("case", "change", "line"), REFUSED, ids=[case[0] for case in REFUSED])
def test_batches_that_are_refused(settings, capsys, tmp_path, case, change, line):
    root = tmp_path / "own"
    as_python_batches(root)
    change(root)
    found = outcome(own(settings, root), capsys)
    becomes(case, found, root, f"ROOT/{line}")


def test_all_damaged_batches_are_named(settings, capsys, tmp_path):
    root = tmp_path / "own"
    as_python_batches(root)
    for path in root.iterdir():
        os.truncate(path, path.stat().st_size // 2)
    found = outcome(own(settings, root), capsys)
    names = ["batches.meta", *(f"data_batch_{number}" for number in range(1, 5))]
    *named, more = found.split("; ")
    assert [part.split(": ")[0] for part in named] == [str(root / name) for name in names]
    assert more == "and 2 more"
    assert found.endswith(" and 2 more")
    note(SECTION, "every batch is cut short", "refused", found)


def test_batches_run_no_program(settings, capsys, tmp_path):
    root, witness = tmp_path / "own", tmp_path / "witness"
    as_python_batches(root)

    class Program:
        def __reduce__(self):
            return os.mkdir, (str(witness),)

    dump(root, "test_batch", {b"data": Program(), b"labels": []})
    becomes(
        "a batch that holds a program",
        outcome(own(settings, root), capsys),
        root,
        "ROOT/test_batch: not one of CIFAR's python batches: holds posix.mkdir; only arrays are read",
    )
    assert not witness.exists()
