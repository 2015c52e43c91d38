"""Parquet files: names of parts and columns as people choose them, what rows may lack, and damage."""

import os

import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value
from own_images import NAMES, as_parquet, becomes, outcome, own, plant, png

BOTH = {"cat": (3, 1), "dog": (3, 1)}
PARTS = {"cat": (2, 1), "dog": (2, 1)}
NO_TEST = "has no test part beside it: data.test_share of it is for testing"


def picture(number):
    return {"bytes": png(number), "path": f"{number}.png"}


def values(count, **columns):
    """So many pictures, their classes in turn, and other columns; None leaves a column out."""
    given = {"image": [picture(number) for number in range(count)], "label": [number % 2 for number in range(count)]}
    return {key: value for key, value in {**given, **columns}.items() if value is not None}


def rows(count, **columns):
    """A frame of them, whose columns have no types but those of their values."""
    return pd.DataFrame(values(count, **columns))


def named(count, features=None, **columns):
    """The same as the hub has it: a type for pictures, one for classes."""
    types = {"image": Image(), "label": ClassLabel(names=NAMES), **(features or {})}
    given = values(count, **columns)
    return Dataset.from_dict(given, Features({key: types[key] for key in given}))


def with_a_class_too_many():
    """Labels to 2, but a head that has two names."""
    table = Dataset.from_dict(values(4, label=[0, 1, 2, 1]), Features({"image": Image(), "label": Value("int64")}))
    table._info.features["label"] = ClassLabel(names=NAMES)
    return table


def write(root, **files):
    """Frames and tables as parquet files; `data__train` is data/train.parquet."""
    for name, table in files.items():
        path = root / f"{name.replace('__', '/').replace('_', '-')}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(path)


DOMAIN = {"domain": ClassLabel(names=NAMES)}
DIGITS = {"0": (3, 1), "1": (3, 1)}
TAKEN = [
    ("train.parquet and test.parquet", {"train": named(4), "test": named(2)}, PARTS, ""),
    (
        "train-00000-of-00002.parquet in data/",
        {"data__train_00000_of_00002": named(2), "data__train_00001_of_00002": named(2), "data__test_0": named(2)},
        PARTS,
        "",
    ),
    ("Train-0.parquet and VALIDATION-0.parquet", {"Train_0": named(4), "VALIDATION_0": named(2)}, PARTS, ""),
    (
        "folders train/ and val/ of numbered files",
        {"train__0000": named(4), "val__0000": named(2)},
        PARTS,
        "",
    ),
    ("own-pictures-train.parquet", {"own_pictures_train": named(8)}, BOTH, f"train {NO_TEST}"),
    (
        "validation beside test",
        {"train": named(4), "validation": named(2), "test": named(2, label=[-1, -1])},
        PARTS,
        "train and validation used; not used: test",
    ),
    ("labels that are whole numbers", {"train": rows(8)}, DIGITS, f"train {NO_TEST}"),
    (
        "whole numbers with gaps",
        {"train": rows(8, label=[3, 7] * 4), "test": rows(2, label=[3, 7])},
        {"3": (4, 1), "7": (4, 1)},
        "classes are the numbers that occur: 3, 7",
    ),
    (
        "labels that are text",
        {"train": rows(4, label=["dog", "cat"] * 2), "test": rows(2, label=["cat", "dog"])},
        PARTS,
        "",
    ),
    (
        "pictures as bytes",
        {"train": rows(4, image=[png(n) for n in range(4)]), "test": rows(2, image=[png(8), png(9)])},
        {"0": (2, 1), "1": (2, 1)},
        "",
    ),
    (
        "pictures as bytes without a path",
        {
            "train": rows(4, image=[{"bytes": png(n)} for n in range(4)]),
            "test": rows(2, image=[{"bytes": png(8)}, {"bytes": png(9)}]),
        },
        {"0": (2, 1), "1": (2, 1)},
        "",
    ),
    (
        "other columns beside",
        {"train": named(4, {"id": Value("int64")}, id=[1, 2, 3, 4]), "test": named(2)},
        PARTS,
        "",
    ),
    (
        "a column of another type has the usual name",
        {
            "train": named(4, DOMAIN | {"label": Value("string")}, label=["dog", "cat"] * 2, domain=[0] * 4),
            "test": named(2, DOMAIN | {"label": Value("string")}, label=["dog", "cat"], domain=[0] * 2),
        },
        PARTS,
        "classes are those of column label, not of domain",
    ),
    (
        "the only column of its type, and others that could be meant",
        {
            name: named(
                count, DOMAIN | {"kind": Value("int64")}, label=None, kind=[5] * count, domain=[0, 1] * (count // 2)
            )
            for name, count in (("train", 4), ("test", 2))
        },
        PARTS,
        "classes are those of column domain, not of kind",
    ),
    (
        "a mask of the type of pictures beside the pictures",
        {
            "train": rows(4, image=[png(n) for n in range(4)], mask=[{"bytes": b"none", "path": None}] * 4),
            "test": rows(2, image=[png(8), png(9)], mask=[{"bytes": b"none", "path": None}] * 2),
        },
        {"0": (2, 1), "1": (2, 1)},
        "pictures are those of column image, not of mask",
    ),
    (
        "texts that differ in spaces and in the spelling of a letter",
        {"train": rows(4, label=["café", "cafe\u0301", "dog", "dog "]), "test": rows(2, label=["dog", "café"])},
        {"café": (2, 1), "dog": (2, 1)},
        "",
    ),
    (
        "texts that are numbers",
        {
            "train": rows(12, label=[str(number) for number in range(12)]),
            "test": rows(12, label=[str(number) for number in range(12)]),
        },
        {str(number): (1, 1) for number in range(12)},
        "",
    ),
    (
        "fine and coarse labels, as CIFAR-100 on the hub",
        {
            name: named(
                count,
                {"fine_label": ClassLabel(names=NAMES), "coarse_label": ClassLabel(names=["animal"])},
                label=None,
                fine_label=[0, 1] * (count // 2),
                coarse_label=[0] * count,
            )
            for name, count in (("train", 4), ("test", 2))
        },
        PARTS,
        "classes are those of column fine_label, not of coarse_label",
    ),
    (
        "names of classes that have no picture",
        {"train": named(8, {"label": ClassLabel(names=[*NAMES, "cow"])})},
        {**BOTH, "cow": (0, 0)},
        None,
    ),
]


@pytest.mark.parametrize(("case", "files", "counts", "said"), TAKEN, ids=[case[0] for case in TAKEN])
def test_files_that_are_taken(settings, capsys, tmp_path, case, files, counts, said):
    root = tmp_path / "own"
    write(root, **files)
    if said is None:
        said = f"train {NO_TEST}\ndata: classes without any image: cow"
    becomes(case, outcome(own(settings, root), capsys), root, (counts, said))


OTHER = "columns image and label are missing or of other types than in train-0.parquet"
COLUMNS = "data.root = ROOT, train.parquet: "
REFUSED = [
    (
        "no column of pictures",
        {"train": pd.DataFrame({"text": ["a"]})},
        f"{COLUMNS}has no column of pictures; it has text (large_string)",
    ),
    (
        "no column of classes",
        {"train": rows(4, label=None)},
        f"{COLUMNS}has no column of classes; it has image (dict)",
    ),
    (
        "labels that are fractions",
        {"train": rows(4, label=[0.0, 1.0, 0.5, 1.0])},
        f"{COLUMNS}has no column of classes; it has image (dict), label (float64)",
    ),
    (
        "two columns of pictures",
        {"train": rows(4, image=None, left=[png(0)] * 4, right=[png(1)] * 4)},
        f"{COLUMNS}has several columns of pictures, left, right; allowed: one, or one called image or img",
    ),
    (
        "two columns of classes",
        {"train": rows(4, label=None, kind=[0, 1, 0, 1], age=[1, 2, 3, 4])},
        f"{COLUMNS}has several columns of classes, kind, age; allowed: one, or one called label or fine_label",
    ),
    (
        "a row without a label",
        {"train": named(4, label=[0, None, 0, 1])},
        "data.root = ROOT, train: rows without a label: 1",
    ),
    (
        "rows without a picture",
        {"train": named(4, image=[None, picture(1), None, picture(3)])},
        "data.root = ROOT, train: rows without an image: 0, 2",
    ),
    (
        "pictures that lie elsewhere",
        {"train": rows(4, image=[{"bytes": None, "path": "gone.png"}] + [picture(n) for n in range(3)])},
        "data.root = ROOT, train: rows without an image: 0",
    ),
    (
        "labels kept secret",
        {"train": named(4), "test": named(2, label=[-1, -1])},
        "data: test images are labelled -1; allowed: 0 to 1",
    ),
    (
        "negative numbers without names",
        {"train": rows(4, label=[0, 1, -1, 1])},
        "data.root = ROOT, label: images are labelled -1; allowed: numbers from 0, or names",
    ),
    (
        "labels that are empty texts",
        {"train": rows(4, label=["cat", " ", "cat", "dog"])},
        "data.root = ROOT, label: images are labelled ''; allowed: numbers from 0, or names",
    ),
    (
        "labels beyond the names",
        {"train": with_a_class_too_many()},
        "data: training images are labelled 2; allowed: 0 to 1",
    ),
    (
        "a class without training pictures",
        {"train": named(4, label=[0] * 4), "test": named(2)},
        "data: classes without training images: dog; every class needs some",
    ),
    (
        "a class without test pictures",
        {"train": named(4), "test": named(2, label=[0, 0])},
        "data: classes without test images: dog; every class needs some",
    ),
    ("no rows at all", {"train": named(0)}, "data.root = ROOT: no rows in the part train: train.parquet"),
    (
        "no rows in test",
        {"train": named(4), "test": named(0)},
        "data.root = ROOT: no rows in the part test: test.parquet",
    ),
    (
        "a file of no part beside others",
        {"train": named(4), "extra": named(2)},
        "data.root = ROOT: files that name no part, or several: extra.parquet; allowed in a name: train, training, "
        "validation, valid, val, test, testing",
    ),
    ("test files alone", {"test": named(4)}, "data.root = ROOT: has no part train, only test"),
    (
        "a file without the column",
        {"train_0": named(4), "train_1": named(4, {"klass": ClassLabel(names=NAMES)}, label=None, klass=[0, 1, 0, 1])},
        f"data.root = ROOT, train-1.parquet: {OTHER}",
    ),
    (
        "files whose names of classes differ",
        {"train_0": named(4), "train_1": named(4, {"label": ClassLabel(names=["dog", "cat"])})},
        f"data.root = ROOT, train-1.parquet: {OTHER}",
    ),
]


@pytest.mark.parametrize(("case", "files", "line"), REFUSED, ids=[case[0] for case in REFUSED])
def test_files_that_are_refused(settings, capsys, tmp_path, case, files, line):
    root = tmp_path / "own"
    write(root, **files)
    becomes(case, outcome(own(settings, root), capsys), root, line)


def test_a_single_file_that_names_no_part(settings, capsys, tmp_path):
    root = tmp_path / "own"
    write(root, pictures=named(8))
    said = f"no file says which part it is: all are taken as train\ndata: train {NO_TEST}"
    becomes("pictures.parquet alone", outcome(own(settings, root), capsys), root, (BOTH, said))


def test_folders_beside_are_said(settings, capsys, tmp_path):
    root = tmp_path / "own"
    as_parquet(root / "data")
    plant(root, "assets 1", "readme.md")
    said = "parquet files are used; folders that are not: assets"
    found = outcome(own(settings, root), capsys)
    becomes("parquet files in data/ beside another folder", found, root, ({"cat": (4, 2), "dog": (4, 2)}, said))


def test_damaged_files(settings, capsys, tmp_path):
    root = tmp_path / "own"
    write(root, train=named(4), test=named(2))
    path = root / "test.parquet"
    whole = path.read_bytes()
    os.truncate(path, len(whole) - 100)
    line = "data.root = ROOT, test.parquet: no parquet file, or a damaged one (Parquet magic bytes not found in footer."
    found = outcome(own(settings, root), capsys)
    assert found.startswith(line.replace("ROOT", str(root)))
    path.write_bytes(b"")
    line = "data.root = ROOT, test.parquet: no parquet file, or a damaged one (Parquet file size is 0 bytes)"
    becomes("a parquet file of no bytes", outcome(own(settings, root), capsys), root, line)
    path.write_bytes(whole[:4] + b"\0" * 300 + whole[304:])
    found = outcome(own(settings, root), capsys)
    assert found.startswith(f"data.root = {root}: cannot be loaded (")


def test_two_colons_in_a_path(settings, capsys, tmp_path):
    as_parquet(tmp_path / "own")
    root = (tmp_path / "own").rename(tmp_path / "a::b")
    line = "data.root = ROOT: a path with '::', which the library `datasets` reads as two; allowed: any other"
    becomes("two colons in the path of parquet files", outcome(own(settings, root), capsys), root, line)
