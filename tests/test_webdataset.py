"""WebDataset's tar files: names of parts, of classes and of members as people choose them, and damage."""

import gzip
import os
import tarfile

import pytest
from catalogue import note
from own_images import SECTION, becomes, outcome, own, png, write_tar

from pipeline.data.choosing import choose

BOTH = {"cat": (3, 1), "dog": (3, 1)}
PARTS = {"cat": (2, 1), "dog": (2, 1)}
NUMBERS = {"0": (2, 1), "1": (2, 1)}
NO_TEST = "train has no test part beside it: data.test_share of it is for testing"
NAMES = ["cat", "dog"]


def samples(count, ending="cls", picture="png", label=lambda number: str(number % 2)):
    """So many pictures with a label each, by the names of their files."""
    found = {}
    for number in range(count):
        found |= {f"{number:04}.{picture}": png(number), f"{number:04}.{ending}": label(number)}
    return found


def named(number):
    return NAMES[number % 2]


def pair(**changes):
    """Four samples in train-0.tar, two in val-0.tar."""
    return {"train-0.tar": samples(4, **changes), "val-0.tar": samples(2, **changes)}


TAKEN = [
    ("labels .cls, numbers", pair(), NUMBERS, ""),
    (
        "imagenet1k-train-0000.tar and more",
        {
            "imagenet1k-train-0000.tar": samples(2),
            "imagenet1k-train-0001.tar": samples(2),
            "imagenet1k-validation-00.tar": samples(2),
        },
        NUMBERS,
        "",
    ),
    (
        "folders train/ and val/ of numbered files",
        {"train/0.tar": samples(4), "val/0.tar": samples(2)},
        NUMBERS,
        "",
    ),
    ("shards in data/", {f"data/{name}": content for name, content in pair().items()}, NUMBERS, ""),
    ("train-0.tar alone", {"train-0.tar": samples(8, label=named)}, BOTH, NO_TEST),
    (
        "shards of no part",
        {"shard-0.tar": samples(4, label=named), "shard-1.tar": samples(4, label=named)},
        BOTH,
        f"no file says which part it is: all are taken as train\ndata: {NO_TEST}",
    ),
    ("labels .cls, names", pair(label=named), PARTS, ""),
    (
        "labels .txt, names with line breaks",
        pair(ending="txt", label=lambda number: f"{named(number)}\n"),
        PARTS,
        "",
    ),
    (
        'labels in .json, "label"',
        pair(ending="json", label=lambda number: {"label": number % 2}),
        NUMBERS,
        "",
    ),
    (
        'labels in .json, "cls", names',
        pair(ending="json", label=lambda number: {"cls": named(number), "width": 32}),
        PARTS,
        "",
    ),
    ("classes.txt beside numbers", {**pair(), "classes.txt": "cat\ndog\n\n"}, PARTS, ""),
    (
        "classnames.txt beside names, in its order",
        {**pair(label=named), "classnames.txt": "dog\ncat"},
        {"dog": (2, 1), "cat": (2, 1)},
        "",
    ),
    (
        "classes.txt with a class more",
        {**pair(), "classes.txt": "cat\ndog\ncow\n"},
        {**PARTS, "cow": (0, 0)},
        "classes without any image: cow",
    ),
    (
        "numbers from 1",
        pair(label=lambda number: str(number % 2 + 1)),
        {"1": (2, 1), "2": (2, 1)},
        "classes are the numbers that occur: 1, 2",
    ),
    (
        "endings mixed in a shard",
        {
            "train-0.tar": {
                "a.png": png(0),
                "a.cls": "0",
                "b.JPEG": png(1),
                "b.cls": "1",
                "c.webp": png(2),
                "c.cls": "0",
                "d.jpg": png(3),
                "d.cls": "1",
            },
            "val-0.tar": samples(2),
        },
        NUMBERS,
        "",
    ),
    (
        "all pictures first, then all labels",
        {"train-0.tar": dict(sorted(samples(4).items(), key=lambda item: item[0][-3:])), "val-0.tar": samples(2)},
        NUMBERS,
        "",
    ),
    (
        "members in folders, and what a Mac leaves",
        {
            "train-0.tar": {f"a/{key}": value for key, value in samples(4).items()}
            | {"a/._0000.png": b"x", "__MACOSX/0000.png": b"x", ".DS_Store": b"x"},
            "val-0.tar": samples(2),
        },
        NUMBERS,
        "",
    ),
    (
        "other files of a sample",
        {"train-0.tar": {**samples(4), "0000.json": {"width": 32}, "0000.txt": "a caption"}, "val-0.tar": samples(2)},
        NUMBERS,
        "",
    ),
]


def write(root, files):
    for name, content in files.items():
        if isinstance(content, dict):
            write_tar(root / name, content)
        else:
            root.mkdir(exist_ok=True)
            (root / name).write_text(content)


@pytest.mark.parametrize(("case", "files", "counts", "said"), TAKEN, ids=[case[0] for case in TAKEN])
def test_shards_that_are_taken(settings, capsys, tmp_path, case, files, counts, said):
    root = tmp_path / "own"
    write(root, files)
    becomes(f"shards: {case}", outcome(own(settings, root), capsys), root, (counts, said))


EACH = "allowed: a picture each, and a class in .cls, .json, .txt"
REFUSED = [
    (
        "a sample without a class",
        {"train-0.tar": {**samples(4), "x.png": png(0), "y.png": png(1)}},
        f"samples with no class: train-0.tar: x, train-0.tar: y; {EACH}",
    ),
    (
        "a sample without a picture",
        {"train-0.tar": {**samples(4), "x.cls": "0"}},
        f"samples with no picture: train-0.tar: x; {EACH}",
    ),
    (
        "a sample of two pictures",
        {"train-0.tar": {**samples(4), "0001.jpg": png(0)}},
        f"samples with several pictures: train-0.tar: 0001; {EACH}",
    ),
    (
        "a caption in place of a class",
        {"train-0.tar": {**samples(4), "x.png": png(0), "x.txt": "a caption"}},
        f"samples with no class: train-0.tar: x; {EACH}",
    ),
    (
        "an archive of one class without labels",
        {"n01440764.tar": {f"{number}.JPEG": png(number) for number in range(7)}},
        "samples with no class: "
        + ", ".join(f"n01440764.tar: {number}" for number in range(5))
        + f" and 2 more; {EACH}",
    ),
    (
        "a label that is no UTF-8",
        {"train-0.tar": {**samples(4), "0001.cls": b"\xff"}},
        f"samples with no class: train-0.tar: 0001; {EACH}",
    ),
    (
        "an empty label",
        {"train-0.tar": {**samples(4), "0001.cls": b"\n"}},
        f"samples with no class: train-0.tar: 0001; {EACH}",
    ),
    (
        "JSON that is none",
        {"train-0.tar": samples(2, ending="json", label=lambda _: "{")},
        f"samples with no class: train-0.tar: 0000, train-0.tar: 0001; {EACH}",
    ),
    (
        "a label in JSON that is a fraction",
        {"train-0.tar": samples(2, ending="json", label=lambda _: {"label": 0.5})},
        f"samples with no class: train-0.tar: 0000, train-0.tar: 0001; {EACH}",
    ),
    (
        "negative numbers",
        {"train-0.tar": samples(4, label=lambda number: str(number % 2 - 1))},
        "images are labelled -1; allowed: numbers from 0, or names",
    ),
    (
        "numbers beyond classes.txt",
        {**pair(label=lambda number: str(number)), "classes.txt": "cat\ndog\n"},
        "classes.txt has 2 names, and none for the classes 2, 3",
    ),
    (
        "a name that is not in classes.txt",
        {**pair(label=named), "classes.txt": "cat\nhog\n"},
        "classes.txt has 2 names, and none for the classes dog",
    ),
    (
        "an empty line in classes.txt",
        {**pair(), "classes.txt": "cat\n\ndog\n"},
        "classes.txt: line 2 is empty; allowed: a name in each",
    ),
    (
        "a name twice in classes.txt",
        {**pair(), "classes.txt": "cat\ncat\n"},
        "classes.txt: a name is there twice",
    ),
    (
        "a shard of no part beside others",
        {**pair(), "extra.tar": samples(2)},
        "files that name no part, or several: extra.tar; allowed in a name: train, "
        "training, validation, valid, val, test, testing",
    ),
    ("val-0.tar alone", {"val-0.tar": samples(4)}, "has no part train, only val"),
    ("no samples", {"train-0.tar": {}}, None),
    ("a class without test pictures", {"train-0.tar": samples(4), "val-0.tar": samples(1)}, None),
]
WITHOUT_ROOT = {
    "no samples": "data: there are no training images",
    "a class without test pictures": "data: classes without test images: 1; every class needs some",
}


@pytest.mark.parametrize(("case", "files", "line"), REFUSED, ids=[case[0] for case in REFUSED])
def test_shards_that_are_refused(settings, capsys, tmp_path, case, files, line):
    root = tmp_path / "own"
    write(root, files)
    line = WITHOUT_ROOT[case] if line is None else f"data.root = ROOT: {line}"
    becomes(f"shards: {case}", outcome(own(settings, root), capsys), root, line)


def cut(place):
    """Cut a file off at a place that its members say."""

    def damage(path):
        with tarfile.open(path) as tar:
            length = place(tar.getmembers())
        os.truncate(path, length)

    return damage


def behind(member):
    return member.offset_data + -(-member.size // 512) * 512


def a_damaged_head(path):
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        offset = tar.getmembers()[4].offset
    content[offset : offset + 512] = b"x" * 512
    path.write_bytes(content)


def compressed(path):
    path.write_bytes(gzip.compress(path.read_bytes()))


def twice(path):
    path.write_bytes(path.read_bytes() * 2)


DAMAGE = [
    (
        "a shard that is cut off in a picture",
        cut(lambda members: members[4].offset_data + 10),
        "unexpected end of data",
    ),
    ("a shard that lacks its end", cut(lambda members: behind(members[-1])), "no end behind 0003.cls"),
    ("a shard that is cut off between samples", cut(lambda members: behind(members[3])), "no end behind 0001.cls"),
    ("a shard that is cut off in a head", cut(lambda members: members[4].offset + 100), "no end behind 0001.cls"),
    ("a shard with a damaged head in its middle", a_damaged_head, "no end behind 0001.cls"),
    ("a shard that is compressed", compressed, "invalid header"),
    ("two shards in one file", twice, "no end behind 0003.cls"),
    ("a shard that is a text", lambda path: path.write_text("a web page" * 99), "invalid header"),
    ("a shard of no bytes", lambda path: path.write_bytes(b""), "empty file"),
]


@pytest.mark.parametrize(("case", "damage", "what"), DAMAGE, ids=[case[0] for case in DAMAGE])
def test_damaged_shards(settings, capsys, tmp_path, case, damage, what):
    """None loses pictures without a word."""
    root = tmp_path / "own"
    write(root, pair())
    damage(root / "train-0.tar")
    line = f"data.root = ROOT: no tar files, or damaged ones: train-0.tar ({what})"
    becomes(case, outcome(own(settings, root), capsys), root, line)


def test_nothing_is_unpacked(settings, capsys, tmp_path):
    """Pictures are read where they lie, and named after where that is."""
    root = tmp_path / "own"
    write(root, pair())
    before = sorted(root.rglob("*"))
    train, _ = choose(own(settings, root), seed=0)
    for row in train.rows:
        title = train.source.title(int(row))
        shard, member = title.split(", ")
        with tarfile.open(shard) as tar, train.source.open(int(row)) as image:
            assert tar.extractfile(member).read() == png(int(member[:4]))
            assert image.format == "PNG"
    assert sorted(root.rglob("*")) == before
    note(SECTION, "shards while training", "pictures are read where they lie; nothing is unpacked")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_shard_are_named(settings, capsys, tmp_path, kind):
    """In place of samples that are left out."""
    root = tmp_path / "own"
    write_tar(root / "train-0.tar", samples(8))
    with tarfile.open(root / "train-0.tar", "a") as tar:
        link = tarfile.TarInfo("0008.png")
        link.type, link.linkname = kind, "0000.png"
        tar.addfile(link)
    why = "0008.png is a link; allowed: files (tar --dereference --hard-dereference)"
    line = f"data.root = ROOT: no tar files, or damaged ones: train-0.tar ({why})"
    becomes("shards: a member that is a link", outcome(own(settings, root), capsys), root, line)
