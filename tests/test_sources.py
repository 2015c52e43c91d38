"""The same images in every form that people have, and how the place of a data set is found."""

import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from catalogue import note
from own_images import FORMS, NAMES, SECTION, as_class_folders, becomes, digits, outcome, own, parts, plant
from PIL import Image

from pipeline.data.choosing import choose
from pipeline.data.images import read_image
from pipeline.data.memory import prepare

HALF = {"cat": (3, 1), "dog": (3, 1)}
ALLOWED = (
    "allowed: a folder with class folders of images, train and val folders of those, parquet files, WebDataset shards "
    "(.tar), or CIFAR's python batches"
)
HAS = ALLOWED.replace("a folder with ", "")


@pytest.mark.parametrize("write", FORMS)
def test_the_same_images_in_every_form(write, settings, tmp_path):
    write(tmp_path / "images")
    dataset = prepare(own(settings, tmp_path / "images"), seed=0)
    assert dataset.card["class_names"] == NAMES
    for images, (pixels, labels) in ((dataset.train, parts()["train"]), (dataset.test, parts()["test"])):
        found = sorted(zip(images.pixels.flatten(1).tolist(), images.labels.tolist(), strict=True))
        rows = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1).tolist()
        assert found == sorted(zip(rows, labels.tolist(), strict=True))
    name = write.__name__.removeprefix("as_").replace("_", " ")
    note(SECTION, f"The same dozen images as {name}", "the same pixels and classes in every form")


# What a shell, a pattern or a URL would read something else into.
ODD = "we[i]rd {a,b} *?#%20 $x 'q' é~<b>"


@pytest.mark.parametrize("write", FORMS)
def test_a_path_with_odd_characters(write, settings, capsys, tmp_path):
    root = tmp_path / ODD
    root.mkdir()
    write(root / "[x] y")
    found = outcome(own(settings, root / "[x] y"), capsys)
    assert found == ({"cat": (4, 2), "dog": (4, 2)}, "")
    name = write.__name__.removeprefix("as_").replace("_", " ")
    note(SECTION, f"{name} below a folder called {ODD}", "found")


def test_relative_paths_are_those_of_the_clone(settings, capsys, monkeypatch, tmp_path):
    """A queued experiment runs in a folder of its own; DVC_ROOT is the clone."""
    plant(tmp_path / "clone" / "pictures", "cat 4", "dog 4")
    (tmp_path / "experiment").mkdir()
    monkeypatch.chdir(tmp_path / "experiment")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "clone"))
    becomes("data.root relative, in a queued experiment", outcome(own(settings, "pictures"), capsys), "", (HALF, ""))
    found = outcome(own(settings, "pictues"), capsys)
    becomes("data.root relative and misspelt", found, "", f"data.root = pictues: no such folder; {ALLOWED}")


def test_the_persons_own_folder(settings, capsys, monkeypatch, tmp_path):
    plant(tmp_path / "pictures", "cat 4", "dog 4")
    monkeypatch.setenv("HOME", str(tmp_path))
    becomes("data.root = ~/pictures", outcome(own(settings, "~/pictures"), capsys), "", (HALF, ""))
    found = outcome(own(settings, "~nobody-of-that-name/x"), capsys)
    becomes(
        "the home of an unknown person", found, "", f"data.root = ~nobody-of-that-name/x: no such folder; {ALLOWED}"
    )


@pytest.mark.parametrize(
    ("case", "name", "message"),
    [
        ("data.root is a picture", "a.png", f"a file and no folder; {ALLOWED}"),
        ("data.root is a zip", "a.zip", f"a file and no folder (a.zip has to be unpacked first); {ALLOWED}"),
        ("data.root is a tar file", "a.tar", f"a file and no folder (a.tar has to be unpacked first); {ALLOWED}"),
        ("data.root is missing", "a", f"no such folder; {ALLOWED}"),
        ("data.root is longer than names may be", "x" * 300, "cannot be read (File name too long)"),
    ],
)
def test_a_root_that_is_no_folder(settings, capsys, tmp_path, case, name, message):
    if "." in name:
        plant(tmp_path, name)
    found = outcome(own(settings, tmp_path / name), capsys)
    assert found.startswith("data.root = ")
    assert found.endswith(f": {message}")
    note(SECTION, case, "refused", found)


@pytest.mark.parametrize(
    ("case", "what", "message"),
    [
        (
            "a folder of a zip alone",
            ["pictures.zip"],
            f"has no class folders (pictures.zip has to be unpacked first); {HAS}",
        ),
        (
            "shards that are compressed",
            ["train-0.tar.gz"],
            f"has no class folders (train-0.tar.gz has to be unpacked first); {HAS}",
        ),
        ("an empty folder", ["./"], f"has no class folders; {HAS}"),
        (
            "CIFAR's archive unpacked into a folder of its own",
            ["cifar-10-batches-py/data_batch_1"],
            "holds nothing but the folder cifar-10-batches-py; set it to ROOT/cifar-10-batches-py",
        ),
        (
            "parquet files one folder further down",
            ["repository/data/train.parquet"],
            "holds nothing but the folder repository; set it to ROOT/repository",
        ),
    ],
)
def test_folders_of_something_else(settings, capsys, tmp_path, case, what, message):
    root = tmp_path / "own"
    root.mkdir()
    plant(root, *(each for each in what if each != "./"))
    becomes(case, outcome(own(settings, root), capsys), root, f"data.root = ROOT: {message}")


def test_archives_beside_class_folders_are_said(settings, capsys, tmp_path):
    root = tmp_path / "own"
    plant(root, "cat 4", "dog 4", "original.tar")
    becomes(
        "a tar file beside class folders",
        outcome(own(settings, root), capsys),
        root,
        (HALF, "class folders are used; not used: original.tar"),
    )


def test_a_folder_that_may_not_be_read(settings, tmp_path, monkeypatch, capsys):
    """The root user may read everything: refusing is played."""
    root = tmp_path / "own"
    plant(root, "cat 4", "dog 4")
    scan = os.scandir

    def refuse(folder):
        if Path(folder).name == "dog":
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    found = outcome(own(settings, root), capsys)
    becomes("a class folder that may not be read", found, root, "ROOT/dog: cannot be read (Permission denied)")


def test_every_source_opens_its_images_elsewhere(settings, tmp_path):
    """For every form, and in a process that reads images, which gets a source as a pickle."""
    for write in FORMS:
        write(tmp_path / write.__name__)
        chosen = own(settings, tmp_path / write.__name__)
        train, _ = choose(chosen, seed=0)
        for row in train.rows:
            image, _ = read_image(pickle.loads(pickle.dumps(train.source)), int(row), chosen)
            label = train.source.labels[row]
            assert any(
                np.array_equal(np.array(image), pixels)
                for pixels, other in zip(*digits(), strict=True)
                if other == label
            ), train.source.title(int(row))


def test_the_card_says_how_images_are_stored(settings, tmp_path):
    """Images that were compressed with losses can be told from those that were not."""
    as_class_folders(tmp_path)
    for path in tmp_path.rglob("*.png"):
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    card = prepare(own(settings, tmp_path), seed=0).card
    assert card["stored_as"] == {"train": {"JPEG": 8}, "test": {"JPEG": 4}}


def test_own_images_are_scaled_and_turned_grey(settings, tmp_path):
    as_class_folders(tmp_path)
    assert prepare(own(settings, tmp_path, pixels=16), seed=0).train.pixels.shape == (8, 3, 16, 16)
    assert prepare(own(settings, tmp_path, channels=1), seed=0).train.pixels.shape == (8, 1, 32, 32)


def test_an_image_that_was_cut_short_is_named(settings, capsys, tmp_path):
    as_class_folders(tmp_path)
    path = tmp_path / "train" / "cat" / "04.png"
    os.truncate(path, path.stat().st_size // 2)
    assert "cat/04.png: not an image that Pillow can read" in outcome(own(settings, tmp_path), capsys)


def test_a_hub_that_cannot_be_reached(settings, capsys, monkeypatch):
    """Port 9 of this machine answers nobody. Waits before retries are left out."""
    import datasets.config
    import huggingface_hub.constants

    for module in (datasets.config, huggingface_hub.constants):
        for name in ("HF_ENDPOINT", "ENDPOINT"):
            monkeypatch.setattr(module, name, "http://127.0.0.1:9", raising=False)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    found = outcome(own(settings, None, hub="nobody/nothing"), capsys)
    assert found.startswith("data.hub = nobody/nothing: cannot be loaded (")
    assert found.endswith("another way: fetch its parquet files elsewhere and set data.root to their folder")
