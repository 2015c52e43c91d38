"""Which images of a source are for training and which for testing, and in which order."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from pipeline.base.errors import InputError
from pipeline.base.naming import several, shown
from pipeline.base.settings import Data
from pipeline.data.sources.find import find_source
from pipeline.data.sources.source import Labels, Parts, Source

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

    With `recipe: authors`, the share of the training images that they train on, every class alike. Says on stderr how
    the source was understood, where that could surprise.
    Raises InputError for a source that cannot be trained on.
    """
    train, test = _choose_all(settings, seed)
    if settings.recipe == "authors":  # in shuffled order, so the first ones are a random choice
        train = Choice(train.source, train.rows[first_share(train.labels, AUTHORS_TRAIN_SHARE)])
    return train, test


def _choose_all(settings: Data, seed: int) -> tuple[Choice, Choice]:
    """All images for training, in shuffled order, and all for testing."""
    parts = find_source(settings)
    for line in (*parts.notes, *_check(parts)):
        print(f"data: {line}", file=sys.stderr)
    rows = _first_of_each_class(parts.train.labels, settings.mini)
    if parts.test is None:
        train, test = split(parts.train.labels[rows], settings.test_share, seed, parts.train.classes)
        return Choice(parts.train, rows[train]), Choice(parts.train, rows[test])
    shuffled = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).numpy()]
    return Choice(parts.train, shuffled), Choice(parts.test, _first_of_each_class(parts.test.labels, settings.mini))


def _check(parts: Parts) -> list[str]:
    """What to know of classes without any image.

    Raises InputError unless every image has a class, there are two classes at least, and each is in both parts.
    """
    classes = np.array(parts.train.classes, dtype=object)
    counts = [_count(part, source, len(classes)) for part, source in _named(parts)]
    for part, own, other in zip(("training", "test"), counts, reversed(counts), strict=False):
        lacking = classes[(own == 0) & (other > 0)]
        if len(lacking):
            raise InputError(
                f"data: classes without {part} images: {several(lacking.tolist())}; every class needs some"
            )
    found = np.flatnonzero(counts[0])
    if len(found) < 2:
        raise InputError(f"data: classes found with training images: {len(found)}; at least 2 needed")
    unused = np.delete(classes, found)
    notes = [f"classes without any image: {several(unused.tolist())}"] if len(unused) else []
    names = list(parts.train.classes)
    if all(map(str.isdecimal, names)) and names != sorted(names, key=int):
        notes.append(f"classes are in the order of their names as text: {several(names)}")
    return notes


def _named(parts: Parts) -> list[tuple[str, Source]]:
    return [("training", parts.train), *([("test", parts.test)] if parts.test is not None else [])]


def _count(part: str, source: Source, classes: int) -> Labels:
    """Images of each class [classes]."""
    if not len(source.labels):
        raise InputError(f"data: there are no {part} images")
    wrong = np.unique(source.labels[(source.labels < 0) | (source.labels >= classes)])
    if len(wrong):  # -1: the hub's way of keeping labels secret
        raise InputError(f"data: {part} images are labelled {several(wrong.tolist())}; allowed: 0 to {classes - 1}")
    return np.bincount(source.labels, minlength=classes)


def _first_of_each_class(labels: Labels, count: int | None) -> Labels:
    """Rows of the first `count` images of each class, in their order; of all where it is None."""
    if count is None:
        return np.arange(len(labels))
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]))


def first_share(labels: Labels, share: float) -> Labels:
    """Places of the first `share` of each class (to the nearest whole image), in their order."""
    places = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.sort(np.concatenate([mine[: round(len(mine) * share)] for mine in places]))


def split(
    labels: Labels, share: float, seed: int, classes: Sequence[str], key: str = "data.test_share"
) -> tuple[Labels, Labels]:
    """Rows for training and for testing, every class divided alike (to the nearest whole image), in shuffled order.

    share: of each class, for testing. classes: their names. Raises InputError, which names `key`, for classes that do
    not reach both parts.
    """
    found = list(zip(*np.unique(labels, return_counts=True), strict=True))
    few = [
        f"{round(int(count) * share)} of the {count} images of class {shown(classes[label])}"
        for label, count in found
        if not 0 < round(int(count) * share) < count
    ]
    if few:
        raise InputError(f"{key} = {share}: keeps {several(few)}; every class needs images in both parts")
    generator = torch.Generator().manual_seed(seed)
    train, test = [], []
    for label, count in found:
        kept = round(int(count) * share)
        rows = np.flatnonzero(labels == label)[torch.randperm(int(count), generator=generator).numpy()]
        train.append(rows[kept:])
        test.append(rows[:kept])
    order = torch.randperm(sum(map(len, train)), generator=generator).numpy()
    return np.concatenate(train)[order], np.concatenate(test)
