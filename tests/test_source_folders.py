"""Folders of pictures as people have them: what is taken as what, and what is refused in one line."""

import os

import pytest
from own_images import becomes, outcome, own, plant

from pipeline.base.errors import InputError
from pipeline.data import streaming

BOTH = {"cat": (3, 1), "dog": (3, 1)}
PARTS = {"cat": (4, 2), "dog": (4, 2)}
TRAIN, VAL = ("train/cat 4", "train/dog 4"), ("val/cat 2", "val/dog 2")
NO_TEST = "has no test part beside it: data.test_share of it is for testing"
SAME = "allowed: the same class folders in both"

TAKEN = [
    ("a folder per class", ["cat 4", "dog 4"], BOTH, ""),
    ("train and val", [*TRAIN, *VAL], PARTS, ""),
    ("Train and TEST", ["Train/cat 4", "Train/dog 4", "TEST/cat 2", "TEST/dog 2"], PARTS, ""),
    ("training and Valid", ["training/cat 4", "training/dog 4", "Valid/cat 2", "Valid/dog 2"], PARTS, ""),
    ("train and Validation", [*TRAIN, "Validation/cat 2", "Validation/dog 2"], PARTS, ""),
    ("train and Testing", [*TRAIN, "Testing/cat 2", "Testing/dog 2"], PARTS, ""),
    ("train alone", [*TRAIN], BOTH, f"train {NO_TEST}"),
    (
        "test beside val",
        [*TRAIN, *VAL, "test/cat 3", "test/dog 3"],
        PARTS,
        "train and val used; not used: test",
    ),
    (
        "a test folder of unlabelled pictures beside val",
        [*TRAIN, *VAL, "test 3"],
        PARTS,
        "train and val used; not used: test",
    ),
    (
        "two folders for training",
        ["Train/cat 4", "Train/dog 4", "train/cat 1", "train/dog 1", *VAL],
        PARTS,
        "Train and val used; not used: train",
    ),
    (
        "a test folder of unlabelled pictures and another beside val",
        [*TRAIN, *VAL, "test 3", "samples 1"],
        PARTS,
        "train and val used; not used: samples, test",
    ),
    (
        "other folders and pictures beside train and val",
        [*TRAIN, *VAL, "samples 3", "notes.txt", "cover.png"],
        PARTS,
        "train and val used; not used: samples, cover.png",
    ),
    ("a class called train", ["train 4", "bus 4"], {"bus": (3, 1), "train": (3, 1)}, ""),
    (
        "classes called train and test",
        ["train 4", "bus 4", "test 4"],
        dict.fromkeys(("bus", "test", "train"), (3, 1)),
        "",
    ),
    (
        "a class called train in both parts",
        ["train/train 4", "train/bus 4", "val/train 2", "val/bus 2"],
        {"bus": (4, 2), "train": (4, 2)},
        "",
    ),
    (
        "pictures in sub-folders of a class",
        ["cat/indoor 2", "cat/outdoor/night 2", "dog 4"],
        BOTH,
        "pictures in sub-folders count as their class folder's: cat",
    ),
    (
        "sub-folders of a class called train",
        ["cat 3", "cat/train 1", "dog 4"],
        BOTH,
        "pictures in sub-folders count as their class folder's: cat",
    ),
    (
        "a hundred folders below each other",
        ["cat" + "/d" * 100 + " 4", "dog 4"],
        BOTH,
        "pictures in sub-folders count as their class folder's: cat",
    ),
    (
        "what file managers leave",
        [
            *("cat 4", "dog 4", "__MACOSX/cat/a.png", "cat/.DS_Store", "cat/Thumbs.db", "dog/desktop.ini"),
            *("dog/.ipynb_checkpoints/a.png", "cat/@eaDir/a.png", "lost+found/", "cat/._00.png", ".git/a.txt"),
        ],
        BOTH,
        "",
    ),
    ("a text beside the class folders", ["cat 4", "dog 4", "readme.txt", "labels.csv"], BOTH, ""),
    ("names that differ in case only", ["cat 4", "Cat 4"], {"Cat": (3, 1), "cat": (3, 1)}, ""),
    ("a class called <b>", ["<b> 4", "dog 4"], {"<b>": (3, 1), "dog": (3, 1)}, ""),
    (
        "classes whose names are patterns",
        ["[cat] 4", "do* 4", "x? 4"],
        {"[cat]": (3, 1), "do*": (3, 1), "x?": (3, 1)},
        "",
    ),
    ("a line break in the name of a class", ["a\nb 4", "dog 4"], {"a\nb": (3, 1), "dog": (3, 1)}, ""),
    ("a class name of 255 characters", ["c" * 255 + " 4", "dog 4"], {"c" * 255: (3, 1), "dog": (3, 1)}, ""),
    (
        "é as one character in train, as two in val",
        ["train/caf\u00e9 4", "train/dog 4", "val/cafe\u0301 2", "val/dog 2"],
        {"caf\u00e9": (4, 2), "dog": (4, 2)},
        "",
    ),
    ("a space behind a name in val", [*TRAIN, "val/cat  2", "val/dog 2"], PARTS, ""),
]


@pytest.mark.parametrize(("case", "what", "counts", "said"), TAKEN, ids=[case[0] for case in TAKEN])
def test_folders_that_are_taken(settings, capsys, tmp_path, case, what, counts, said):
    root = tmp_path / "own"
    plant(root, *what)
    becomes(case, outcome(own(settings, root), capsys), root, (counts, said))


NO_PICTURES = "files in class folders that are no pictures"
REFUSED = [
    ("an empty class folder", ["cat 4", "dog 4", "cow/", "pig/"], "class folders without pictures: cow, pig"),
    ("a class folder of hidden files", ["cat 4", "dog 4", "cow/.DS_Store"], "class folders without pictures: cow"),
    (
        "an empty class folder in val",
        [*TRAIN, "val/cat 2", "val/dog/"],
        "class folders without pictures: val/dog",
    ),
    (
        "a class without training pictures",
        ["train/cat 4", "train/dog 4", "train/cow/", *VAL, "val/cow 2"],
        "class folders without pictures: train/cow",
    ),
    ("val lacks classes", [*TRAIN, "val/cat 2"], f"val lacks dog; {SAME}"),
    ("val has a class more", [*TRAIN, *VAL, "val/cow 2"], f"train lacks cow; {SAME}"),
    (
        "classes in one part only, in both",
        [*TRAIN, *(f"train/c{number} 1" for number in range(7)), "val/cat 2", "val/hen 2"],
        f"train lacks hen; val lacks c0, c1, c2, c3, c4 and 3 more; {SAME}",
    ),
    ("Cat in train, cat in val", ["train/Cat 4", "train/dog 4", *VAL], f"train lacks cat; val lacks Cat; {SAME}"),
    (
        "a wrapper folder",
        [f"dataset/{each}" for each in (*TRAIN, *VAL)],
        "dataset is no class folder, it has the folders train, val; set data.root to ROOT/dataset",
    ),
    (
        "a wrapper folder of class folders",
        ["images/cat 4", "images/dog 4"],
        "images is no class folder, it has the folders cat, dog; set data.root to ROOT/images",
    ),
    (
        "a wrapper folder inside of train",
        ["train/images/cat 4", "train/images/dog 4", *VAL],
        "train/images is no class folder, it has the folders cat, dog; parts lie above class folders, these above "
        "pictures",
    ),
    (
        "parts inside of class folders",
        ["cat/train 4", "cat/val 2", "dog/train 4", "dog/val 2"],
        "cat is no class folder, it has the folders train, val; parts lie above class folders, these above pictures",
    ),
    (
        "a folder train of folders beside classes",
        ["train/steam 4", "train/diesel 4", "bus 4", "car 4"],
        "train beside bus, car: a part of the data set or a class? allowed: class folders, or train and val with class "
        "folders in each",
    ),
    (
        "a test part beside class folders",
        ["cat 4", "dog 4", "test/cat 2", "test/dog 2"],
        "test beside cat, dog: a part of the data set or a class? allowed: class folders, or train and val with class "
        "folders in each",
    ),
    (
        "val without train",
        [*VAL, "test/cat 2", "test/dog 2"],
        "test, val without a folder train; allowed: class folders, or train and val with those",
    ),
    ("train and val without class folders", ["train 4", "val 4"], "pictures outside of class folders: "),
    (
        "a test part of unlabelled pictures",
        [*TRAIN, "test 2"],
        "pictures outside of class folders: test/00.png, test/01.png; each class needs a folder of its own",
    ),
    ("an empty val", [*TRAIN, "val/"], "val has no class folders"),
    (
        "loose pictures beside class folders",
        ["cat 4", "dog 4", "a.png"],
        "pictures outside of class folders: a.png; each class needs a folder of its own",
    ),
    (
        "loose pictures alone",
        [". 7"],
        "pictures outside of class folders: 00.png, 01.png, 02.png, 03.png, 04.png and 2 more; each class needs a "
        "folder of its own",
    ),
    (
        "texts in class folders",
        ["cat 4", "dog 4", "cat/readme.txt", "dog/labels.csv"],
        f"{NO_PICTURES}: cat/readme.txt, dog/labels.csv; they belong elsewhere",
    ),
    (
        "seven texts in class folders of both parts",
        [*TRAIN, *VAL, *(f"train/cat/{number}.txt" for number in range(6)), "val/dog/a.json"],
        f"{NO_PICTURES}: " + ", ".join(f"train/cat/{number}.txt" for number in range(5)) + " and 2 more; they belong "
        "elsewhere",
    ),
    (
        "a text in a sub-folder of a class",
        ["cat/indoor 4", "cat/indoor/notes.txt", "dog 4"],
        f"{NO_PICTURES}: cat/indoor/notes.txt; they belong elsewhere",
    ),
    (
        "two folders whose names differ in spaces",
        ["cat 4", "cat  4", "dog 4"],
        "two folders of one class: 'cat' and 'cat '",
    ),
    (
        "two folders called é, as one character and as two",
        ["caf\u00e9 4", "cafe\u0301 4"],
        "two folders of one class: 'cafe\\u0301' and 'caf\\xe9'",
    ),
    ("a class called by spaces", ["   4", "dog 4"], "names of class folders that are no text: '  '"),
    (
        "a line break in a name that is refused",
        ["cat 4", "dog 4", "cat/a\nb.txt"],
        f"{NO_PICTURES}: cat/a\\nb.txt; they belong elsewhere",
    ),
    (
        "a very long name that is refused",
        ["cat 4", "dog 4", f"cat/{'x' * 250}.txt"],
        f"{NO_PICTURES}: cat/{'x' * 40}...{'x' * 36}.txt; they belong elsewhere",
    ),
]


@pytest.mark.parametrize(("case", "what", "line"), REFUSED, ids=[case[0] for case in REFUSED])
def test_folders_that_are_refused(settings, capsys, tmp_path, case, what, line):
    """With `storage: files` in the same line."""
    root = tmp_path / "own"
    plant(root, *what)
    if line.endswith(": "):
        line += "train/00.png, train/01.png, train/02.png, train/03.png; each class needs a folder of its own"
    found = outcome(own(settings, root), capsys)
    becomes(case, found, root, f"data.root = ROOT: {line}")


FEW = [
    (
        "one picture in each of two classes",
        ["cat 1", "dog 1"],
        {},
        "data.test_share = 0.25: keeps 0 of the 1 images of class cat, 0 of the 1 images of class dog; every class "
        "needs images in both parts",
    ),
    (
        "seven classes with too few pictures to split",
        [*(f"c{number} 1" for number in range(7)), "dog 4"],
        {},
        "data.test_share = 0.25: keeps "
        + ", ".join(f"0 of the 1 images of class c{number}" for number in range(5))
        + " and 2 more; every class needs images in both parts",
    ),
    ("one class", ["cat 4"], {}, "data: classes found with training images: 1; at least 2 needed"),
    (
        "data.mini leaves too few to split",
        ["cat 4", "dog 4"],
        {"mini": 1},
        "data.test_share = 0.25: keeps 0 of the 1 images of class cat, 0 of the 1 images of class dog; every class "
        "needs images in both parts",
    ),
]


@pytest.mark.parametrize(("case", "what", "changes", "line"), FEW, ids=[case[0] for case in FEW])
def test_classes_that_are_too_small(settings, capsys, tmp_path, case, what, changes, line):
    plant(tmp_path, *what)
    becomes(case, outcome(own(settings, tmp_path, **changes), capsys), tmp_path, line)


def test_mini_may_be_larger_than_a_class(settings, capsys, tmp_path):
    plant(tmp_path, "cat 4", "dog 4")
    becomes("data.mini larger than any class", outcome(own(settings, tmp_path, mini=99), capsys), "", (BOTH, ""))


def test_endings_say_less_than_the_file(settings, capsys, tmp_path):
    plant(tmp_path, "cat 4", "dog 4")
    (tmp_path / "cat" / "00.png").rename(tmp_path / "cat" / "photo")
    (tmp_path / "cat" / "01.png").rename(tmp_path / "cat" / "photo.backup")
    (tmp_path / "cat" / "02.png").rename(tmp_path / "cat" / "photo.JPG")
    case = "pictures without an ending, with a foreign one, with a wrong one"
    becomes(case, outcome(own(settings, tmp_path), capsys), "", (BOTH, ""))


def test_a_name_that_is_no_utf8(settings, capsys, tmp_path):
    root = tmp_path / "own"
    plant(root, "cat 4", "dog 4")
    (root / "cat").rename(root / os.fsdecode(b"caf\xe9"))
    becomes(
        "a class folder whose name is Latin-1",
        outcome(own(settings, root), capsys),
        root,
        "data.root = ROOT: names of class folders that are no text: 'caf\\udce9'",
    )


def test_links_are_followed(settings, capsys, tmp_path):
    plant(tmp_path, "elsewhere/cat 4", "own/dog 4", "own/cat/")
    (tmp_path / "own" / "cat").rmdir()
    (tmp_path / "own" / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    root = tmp_path / "own"
    becomes("a link to a class folder", outcome(own(settings, root), capsys), root, (BOTH, ""))
    (root / "dog" / "again").symlink_to(root / "dog")
    (root / "dog" / "up").symlink_to(root)
    said = "pictures in sub-folders count as their class folder's: dog"
    found = outcome(own(settings, root), capsys)
    assert found[1] == f"data: {said}\n"
    (root / "dog" / "up").unlink()
    becomes("a link to a folder that it lies in", outcome(own(settings, root), capsys), root, (BOTH, ""))
    (root / "dog" / "a.png").symlink_to(tmp_path / "gone.png")
    os.mkfifo(root / "dog" / "pipe.png")
    becomes(
        "a link that leads nowhere, and a pipe",
        outcome(own(settings, root), capsys),
        root,
        "data.root = ROOT: files in class folders that are no pictures: dog/a.png, dog/pipe.png; they belong elsewhere",
    )


def test_files_are_found_before_any_is_decoded(settings, capsys, tmp_path):
    """A damaged picture comes first in the order, and the text is named nevertheless; so in both kinds of storage."""
    plant(tmp_path, "cat 4", "dog 4", "dog/readme.txt")
    (tmp_path / "cat" / "00.png").write_bytes(b"")
    data = own(settings, tmp_path)
    line = outcome(data, capsys)
    assert line == f"data.root = {tmp_path}: {NO_PICTURES}: dog/readme.txt; they belong elsewhere"
    with pytest.raises(InputError) as error:
        streaming.prepare(own(settings, tmp_path, storage="files"), seed=0)
    assert str(error.value) == line
