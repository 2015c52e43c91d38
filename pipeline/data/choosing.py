"""Which images of a source are for training and which for testing, and in which order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from pipeline.base.errors import InputError
from pipeline.base.settings import Data
from pipeline.data.sources import Labels, Source, find_source

# Of the training images, what the authors of WFN train on; the rest they set aside.
AUTHORS_TRAIN_SHARE = 0.9


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

    With `recipe: authors`, the share of the training images that they train on, every class alike.
    Raises InputError for a source that cannot be trained on.
    """
    train, test = _choose_all(settings, seed)
    if settings.recipe == "authors":  # in shuffled order, so the first ones are a random choice
        train = Choice(train.source, train.rows[first_share(train.labels, AUTHORS_TRAIN_SHARE)])
    return train, test


def _choose_all(settings: Data, seed: int) -> tuple[Choice, Choice]:
    """All images for training, in shuffled order, and all for testing."""
    parts = find_source(settings)
    _check_part("training", parts.train.labels, classes=2)
    rows = _first_of_each_class(parts.train.labels, settings.mini)
    if parts.test is None:
        train, test = split(parts.train.labels[rows], settings.test_share, seed)
        return Choice(parts.train, rows[train]), Choice(parts.train, rows[test])
    _check_part("test", parts.test.labels, classes=1)
    shuffled = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).numpy()]
    return Choice(parts.train, shuffled), Choice(parts.test, _first_of_each_class(parts.test.labels, settings.mini))


def _check_part(part: str, labels: Labels, classes: int) -> None:
    """Raise InputError unless a part has images of at least so many classes, and every image has a class."""
    found = np.unique(labels)
    if (found < 0).any():  # the hub's way of keeping labels secret
        raise InputError(f"data: {part} images are labelled {found[0]}; allowed: numbers of classes, from 0")
    if len(found) < classes:
        raise InputError(f"data: classes found with {part} images: {len(found)}; at least {classes} needed")


def _first_of_each_class(labels: Labels, count: int | None) -> Labels:
    """Rows of the first `count` images of each class, in their order; of all where it is None."""
    if count is None:
        return np.arange(len(labels))
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]))


def first_share(labels: Labels, share: float) -> Labels:
    """Places of the first `share` of each class (to the nearest whole image), in their order."""
    places = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.sort(np.concatenate([mine[: round(len(mine) * share)] for mine in places]))


def split(labels: Labels, share: float, seed: int, key: str = "data.test_share") -> tuple[Labels, Labels]:
    """Rows for training and for testing, every class divided alike (to the nearest whole image), in shuffled order.

    share: of each class, for testing. Raises InputError, which names `key`, for a class that does not reach both parts.
    """
    generator = torch.Generator().manual_seed(seed)
    train, test = [], []
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        kept = round(int(count) * share)
        if not 0 < kept < count:
            raise InputError(
                f"{key} = {share}: keeps {kept} of the {count} images of class {label}; "
                "every class needs images in both parts"
            )
        rows = np.flatnonzero(labels == label)[torch.randperm(int(count), generator=generator).numpy()]
        train.append(rows[kept:])
        test.append(rows[:kept])
    order = torch.randperm(sum(map(len, train)), generator=generator).numpy()
    return np.concatenate(train)[order], np.concatenate(test)
