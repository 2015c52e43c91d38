"""A data set for training, wherever its images lie: its batches, and its card, which says what the images are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.base.errors import InputError
from pipeline.base.results import CARD, read_json
from pipeline.base.settings import Data
from pipeline.data.choosing import Choice
from pipeline.data.images import Images
from pipeline.data.sources.source import Labels

# Settings that a card repeats, so that images made with others are noticed.
CHECKED = ("name", "pixels", "channels")


# A sheet of examples is to be looked at: of a thousand classes, the first ones are enough.
SHOWN_CLASSES = 40


class Share(NamedTuple):
    """The part of every batch that one process works on: images rank, rank + of, rank + 2 of, ..."""

    rank: int = 0
    of: int = 1


WHOLE = Share()


class Dataset(Protocol):
    """Training and test images in batches whose pixels are float32, of mean 0 and deviation 1."""

    @property
    def card(self) -> dict[str, Any]:
        """What the images are (`describe`)."""

    def to(self, device: torch.device) -> Dataset:
        """The same data set, its batches on that device."""

    def held_out(self, share: float, seed: int) -> Dataset:
        """The same data set with a share of the training images, every class alike, in place of the test images."""

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

    def examples(self, count: int) -> Images:
        """The training images that `shown` names, not varied, as uint8 and not normalised."""


def full_batches(images: int, size: int) -> int:
    """How many batches of `size` so many images make; one where there are fewer images than that."""
    return max(1, images // size)


def shown(labels: Labels, count: int) -> Labels:
    """Places of the first `count` images of each class, of the first `SHOWN_CLASSES` classes that there are."""
    classes = np.unique(labels)[:SHOWN_CLASSES]
    return np.concatenate([np.flatnonzero(labels == label)[:count] for label in classes])


def describe(settings: Data, train: Choice, test: Choice) -> dict[str, Any]:
    """The card: what a person wants to know of the images before using them, whatever becomes of their pixels."""
    return {
        **{key: getattr(settings, key) for key in CHECKED},
        "classes": len(train.source.classes),
        "class_names": list(train.source.classes),
        "train": _part(train.labels, len(train.source.classes)),
        "test": _part(test.labels, len(train.source.classes)),
    }


def with_parts(card: Mapping[str, Any], train: Labels, test: Labels) -> dict[str, Any]:
    """A card for other training and test images, given by their labels."""
    return {**card, **{key: _part(labels, card["classes"]) for key, labels in (("train", train), ("test", test))}}


def _part(labels: Labels, classes: int) -> dict[str, Any]:
    return {"images": len(labels), "per_class": np.bincount(labels, minlength=classes).tolist()}


def check_classes(dataset: Dataset, outputs: int, *, trained: bool) -> None:
    """Raise InputError unless a network with so many outputs can tell the classes apart.

    trained: whether it is trained for them; else its outputs are for classes of before, and must be as many.
    """
    classes = dataset.card["classes"]
    if outputs < classes:
        raise InputError(f"model.num_classes = {outputs}: the data set needs at least {classes}")
    if outputs > classes and not trained:
        raise InputError(
            f"model.num_classes = {outputs}: the weights are taken as they are, the data set has {classes} classes; "
            "allowed: as many, or pretrain.from_weights = true, which trains the network for them"
        )


def read_card(folder: Path, settings: Data, checked: Sequence[str] = CHECKED) -> dict[str, Any]:
    """The card of a saved data set. Raises InputError for one that was made with other settings of those `checked`."""
    card = read_json(folder / CARD)
    for key in checked:
        wanted, found = getattr(settings, key), card.get(key)
        if found != wanted:
            raise InputError(f"data.{key} = {wanted}: {folder} was made with {found}; `dvc repro data` makes it anew")
    return card
