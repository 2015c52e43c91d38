"""A data set for training: which images are for what, its card, and its batches.

Small data sets lie in memory as uint8 and are varied on the device; large ones stay the files that they are
(pipeline/streaming.py). Both give the same kind of batches.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from pipeline.base.results import to_json, write_files
from pipeline.base.settings import Data, InputError
from pipeline.data.images import Images, augment, decode, normalise
from pipeline.data.sources import Labels, Source, find

IMAGES, CARD = "images.safetensors", "card.json"


class Share(NamedTuple):
    """The part of every batch that one process works on: images rank, rank + of, rank + 2 of, ..."""

    rank: int = 0
    of: int = 1


WHOLE = Share()


class Dataset(Protocol):
    """Training and test images in batches whose pixels are float32, of mean 0 and deviation 1."""

    @property
    def card(self) -> dict[str, Any]:
        """What the images are: name, classes, counts."""

    def to(self, device: torch.device) -> Dataset:
        """The same data set, its batches on that device."""

    def batch_count(self, size: int) -> int:
        """Number of batches in one epoch of `training_batches`."""

    def training_batches(self, size: int, generator: torch.Generator, share: Share = WHOLE) -> Iterator[Images]:
        """One epoch: shuffled batches of `size` images, varied; of each batch, the share of one process.

        A single last image would leave batch-norm without statistics, so an incomplete rest is dropped; a data set
        smaller than one batch is one batch.
        """

    def test_batches(self, size: int, share: Share = WHOLE) -> Iterator[Images]:
        """All test images in order, not varied; of each batch, the share of one process."""

    def sample(self, size: int) -> Tensor:
        """Pixels of the first training images, at most `size`, not varied."""


class Choice(NamedTuple):
    """Some images of a source, in an order."""

    source: Source
    rows: Labels

    @property
    def labels(self) -> Labels:
        """Their labels."""
        return self.source.labels[self.rows]


def choose(settings: Data, seed: int) -> tuple[Choice, Choice]:
    """Training and test images of the source that `settings` name: its own parts, or a split of its only one.

    Raises InputError for a source that cannot be trained on.
    """
    parts = find(settings)
    _check_labels(parts.train.labels)
    rows = _first_of_each_class(parts.train.labels, settings.mini)
    if parts.test is None:
        train, test = split(parts.train.labels[rows], settings.test_share, seed)
        return Choice(parts.train, rows[train]), Choice(parts.train, rows[test])
    _check_test_labels(parts.test.labels)
    shuffled = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).numpy()]
    return Choice(parts.train, shuffled), Choice(parts.test, _first_of_each_class(parts.test.labels, settings.mini))


def _check_labels(labels: Labels) -> None:
    if not len(labels):
        raise InputError("data: 0 images found; at least two classes of two images are needed")
    classes = np.unique(labels)
    if len(classes) < 2:
        raise InputError(f"data: 1 class found, number {classes[0]}; at least two are needed")


def _check_test_labels(labels: Labels) -> None:
    if not len(labels):
        raise InputError("data: 0 test images found; at least one is needed, or no test part at all")
    if labels.min() < 0:  # the hub's way of keeping them secret
        raise InputError(f"data: test images are labelled {labels.min()}; allowed: numbers of classes, from 0")


def _first_of_each_class(labels: Labels, count: int | None) -> Labels:
    """Rows of the first `count` images of each class, in their order; of all where it is None."""
    if count is None:
        return np.arange(len(labels))
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]))


def split(labels: Labels, test_share: float, seed: int) -> tuple[Labels, Labels]:
    """Rows for training and for testing, every class divided alike (to the nearest whole image), in shuffled order.

    Raises InputError for a class that does not reach both parts.
    """
    generator = torch.Generator().manual_seed(seed)
    train, test = [], []
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        kept = round(int(count) * test_share)
        if not 0 < kept < count:
            raise InputError(
                f"data.test_share = {test_share}: keeps {kept} of the {count} images of class {label}; "
                "every class needs images in both parts"
            )
        rows = np.flatnonzero(labels == label)[torch.randperm(int(count), generator=generator).numpy()]
        train.append(rows[kept:])
        test.append(rows[:kept])
    order = torch.randperm(sum(map(len, train)), generator=generator).numpy()
    return np.concatenate(train)[order], np.concatenate(test)


def describe(name: str, train: Choice, test: Choice) -> dict[str, Any]:
    """What a person wants to know of the images before using them, whatever becomes of their pixels."""

    def part(choice: Choice) -> dict[str, Any]:
        return {"images": len(choice.rows), "per_class": np.bincount(choice.labels).tolist()}

    return {
        "name": name,
        "classes": int(max(train.labels.max(), test.labels.max())) + 1,
        "class_names": list(train.source.classes),
        "train": part(train),
        "test": part(test),
    }


def check_classes(dataset: Dataset, outputs: int) -> None:
    """Raise InputError unless a network with so many outputs can tell the classes apart."""
    if outputs < dataset.card["classes"]:
        raise InputError(f"model.num_classes = {outputs}: the data set needs at least {dataset.card['classes']}")


@dataclass(frozen=True)
class InMemory:
    """A `Dataset` that lies in memory: uint8 pixels, normalised as its card says, shifted and mirrored at random."""

    train: Images
    test: Images
    card: dict[str, Any]
    shift: int
    flip: bool

    def to(self, device: torch.device) -> InMemory:
        """The same data set on another device."""
        return InMemory(self.train.to(device), self.test.to(device), self.card, self.shift, self.flip)

    def batch_count(self, size: int) -> int:
        """As `Dataset` says."""
        return full_batches(len(self.train), size)

    def training_batches(self, size: int, generator: torch.Generator, share: Share = WHOLE) -> Iterator[Images]:
        """As `Dataset` says."""
        order = torch.randperm(len(self.train), generator=generator).to(self.train.labels.device)
        for chosen in order.split(size)[: self.batch_count(size)]:
            batch = self.train[chosen]
            pixels = augment(batch.pixels, shift=self.shift, flip=self.flip, generator=generator)
            yield self._normalised(Images(pixels, batch.labels)[share.rank :: share.of])

    def test_batches(self, size: int, share: Share = WHOLE) -> Iterator[Images]:
        """As `Dataset` says."""
        for start in range(0, len(self.test), size):
            yield self._normalised(self.test[start : start + size][share.rank :: share.of])

    def sample(self, size: int) -> Tensor:
        """As `Dataset` says."""
        return self._normalised(self.train[:size]).pixels

    def _normalised(self, images: Images) -> Images:
        return Images(normalise(images.pixels, self.card["mean"], self.card["std"]), images.labels)


def full_batches(images: int, size: int) -> int:
    """How many batches of `size` so many images make; one where there are fewer images than that."""
    return max(1, images // size)


def prepare(settings: Data, seed: int) -> InMemory:
    """The images that `settings` name, decoded, with a card that describes them.

    Raises InputError for a data set that cannot be trained on, and for an image that cannot be read.
    """
    choices = choose(settings, seed)
    train, test = ((decode(each.source, each.rows.tolist(), settings.size, settings.channels)) for each in choices)
    mean, std = _statistics(train[0].pixels)
    found = describe(settings.name, *choices) | {
        "shape": list(train[0].pixels.shape[1:]),
        "stored_as": {"train": train[1], "test": test[1]},
        "mean": mean,
        "std": std,
        "sha256": _digest(train[0].pixels, train[0].labels, test[0].pixels, test[0].labels),
    }
    return InMemory(train[0], test[0], found, settings.shift, settings.flip)


def _statistics(pixels: Tensor) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel of uint8 pixels [N, C, H, W], on 0 to 1."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in pixels.unbind(1):
        counts = channel.flatten().bincount(minlength=256)
        mean = (counts * levels).sum() / counts.sum()
        means.append(float(mean))
        deviations.append(float(((counts * (levels - mean) ** 2).sum() / (counts.sum() - 1)).sqrt()))
    return means, deviations


def _digest(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def save(dataset: InMemory, folder: Path) -> None:
    """Write the images and the card into `folder`."""
    tensors = {
        f"{part}.{kind}": getattr(getattr(dataset, part), kind).contiguous()
        for part in ("train", "test")
        for kind in ("pixels", "labels")
    }
    write_files(folder, {IMAGES: safetensors.torch.save(tensors), CARD: to_json(dataset.card)})


def load(folder: Path, settings: Data, statistics: Mapping[str, Sequence[float]]) -> InMemory:
    """The data set that `save` wrote, normalised by its own mean and deviation, or by the `statistics` given."""
    tensors = safetensors.torch.load_file(folder / IMAGES)
    train, test = (Images(tensors[f"{part}.pixels"], tensors[f"{part}.labels"]) for part in ("train", "test"))
    return InMemory(train, test, read_card(folder) | dict(statistics), settings.shift, settings.flip)


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a saved data set."""
    return dict(json.loads((folder / CARD).read_text()))
