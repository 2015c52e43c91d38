"""Data sets that stay the files that they are: read, cropped and mirrored while training, by processes of their own.

`data.recipe` says how they are cropped; mean and deviation are those of the model's trained weights. How an image is
varied depends on the epoch and the image alone, not on how many processes read.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Items

from pipeline.base.errors import InputError
from pipeline.base.results import CARD, to_json, write_files
from pipeline.base.settings import Data
from pipeline.data.choosing import Choice, choose, split
from pipeline.data.dataset import CHECKED, WHOLE, Share, describe, full_batches, read_card, with_parts
from pipeline.data.images import Images, read_image
from pipeline.data.recipes import transforms
from pipeline.data.sources.find import find_source
from pipeline.data.sources.source import Labels
from pipeline.watching.progress import Steps

INDEX = "index.safetensors"
CHECKED_AT_ONCE = 16
SUBMITTED_AT_ONCE = 4096  # a pool keeps a kilobyte for every image that it has been handed
NAMED = 3  # of the images that cannot be read


def prepare(settings: Data, seed: int) -> tuple[dict[str, Labels], dict[str, Any]]:
    """The index of a data set - which rows of its source are for what - and its card, after a look at every image.

    Raises InputError for a data set that cannot be trained on, and for images that cannot be opened.
    """
    train, test = choose(settings, seed)
    for choice in (train, test):
        _check(choice, settings.channels)
    index = {
        f"{part}.{kind}": np.ascontiguousarray(getattr(choice, kind))
        for part, choice in (("train", train), ("test", test))
        for kind in ("rows", "labels")
    }
    digest = hashlib.sha256(b"".join(values.tobytes() for values in index.values())).hexdigest()
    return index, describe(settings, train, test) | {"recipe": settings.recipe, "sha256": digest}


def _check(choice: Choice, channels: int) -> None:
    """Open every image: cut short or foreign files are found before a day of training, not in it."""

    def problem(row: int) -> str | None:
        try:
            read_image(choice.source, row, channels)
        except InputError as error:
            return str(error)
        return None

    problems = []
    with (
        Steps("data: looking at every image", len(choice.rows)) as progress,
        ThreadPoolExecutor(CHECKED_AT_ONCE) as pool,
    ):
        for start in range(0, len(choice.rows), SUBMITTED_AT_ONCE):
            for found in pool.map(problem, choice.rows[start : start + SUBMITTED_AT_ONCE].tolist()):
                progress.advance()
                problems += [found] if found else []
    if problems:
        problems.sort()
        more = f"; and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        raise InputError("; ".join(problems[:NAMED]) + more)


def save(index: Mapping[str, Labels], card: Mapping[str, Any], folder: Path) -> None:
    """Write an index and a card into `folder`."""
    write_files(folder, {INDEX: safetensors.numpy.save(dict(index)), CARD: to_json(card)})


def load(folder: Path, settings: Data, model_input: Mapping[str, Any], workers: int) -> Streamed:
    """The data set whose index `save` wrote, from the same source. model_input: as timm resolves it for the model.

    Raises InputError where the index was made with other settings, or the source is not as it was.
    """
    card = read_card(folder, settings, (*CHECKED, "recipe"))
    index, parts = safetensors.numpy.load_file(folder / INDEX), find_source(settings)
    choices = []
    for part, source in (("train", parts.train), ("test", parts.test or parts.train)):
        rows, labels = index[f"{part}.rows"], index[f"{part}.labels"]
        if len(source.labels) <= rows.max() or not np.array_equal(source.labels[rows], labels):
            raise InputError(
                "data: the images are not those that stage data has seen; `dvc repro --force data` looks again"
            )
        choices.append(Choice(source, rows))
    train, test = choices
    made = transforms(settings, model_input)
    return Streamed(train, test, card, settings.channels, made, workers, torch.device("cpu"))


@dataclass(frozen=True)
class Streamed:
    """A `Dataset` (pipeline/data/dataset.py) whose images are read when they are needed.

    transforms: for training and for testing, from a Pillow image to normalised pixels [C, H, W].
    """

    train: Choice
    test: Choice
    card: dict[str, Any]
    channels: int
    transforms: tuple[Any, ...]
    workers: int
    device: torch.device

    def to(self, device: torch.device) -> Streamed:
        """As `Dataset` says."""
        return replace(self, device=device)

    def held_out(self, share: float, seed: int) -> Streamed:
        """As `Dataset` says."""
        parts = split(self.train.labels, share, seed, self.card["class_names"], "rates.validation_share")
        kept, held = (Choice(self.train.source, self.train.rows[rows]) for rows in parts)
        return replace(self, train=kept, test=held, card=with_parts(self.card, kept.labels, held.labels))

    def batch_count(self, size: int) -> int:
        """As `Dataset` says."""
        return full_batches(len(self.train.rows), size)

    def training_batches(self, size: int, generator: torch.Generator, share: Share = WHOLE) -> Iterator[Images]:
        """As `Dataset` says; random crops and mirroring."""
        order = torch.randperm(len(self.train.rows), generator=generator)
        seed = int(torch.randint(2**31, (), generator=generator))
        chosen = order.split(size)[: self.batch_count(size)]
        return self._batches(_Reader(self.train, self.transforms[0], self.channels, seed), chosen, share)

    def test_batches(self, size: int, share: Share = WHOLE) -> Iterator[Images]:
        """As `Dataset` says; the middle of each image."""
        reader = _Reader(self.test, self.transforms[1], self.channels, 0)
        return self._batches(reader, torch.arange(len(self.test.rows)).split(size), share)

    def sample(self, size: int) -> Tensor:
        """As `Dataset` says; the middle of each image."""
        reader = _Reader(self.train, self.transforms[1], self.channels, 0)
        return torch.stack([reader[place][0] for place in range(min(size, len(reader)))]).to(self.device)

    def _batches(self, reader: _Reader, batches: Sequence[Tensor], share: Share) -> Iterator[Images]:
        loader = DataLoader(
            reader,
            batch_sampler=[batch[share.rank :: share.of].tolist() for batch in batches],
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # else it draws from torch's own random state
        )
        for pixels, labels in loader:
            yield Images(pixels.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True))


class _Reader(Items[tuple[Tensor, int]]):
    """Images of a choice, transformed; the random choices for image `place` follow from `seed` and `place`."""

    def __init__(self, choice: Choice, transform: Any, channels: int, seed: int) -> None:
        self.choice, self.transform, self.channels, self.seed = choice, transform, channels, seed

    def __len__(self) -> int:
        return len(self.choice.rows)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        row = int(self.choice.rows[place])
        image, _ = read_image(self.choice.source, row, self.channels)
        return self._transformed(image, place), int(self.choice.source.labels[row])

    def _transformed(self, image: Image, place: int) -> Tensor:
        """Transforms draw from Python's and torch's own random states, which are put back afterwards."""
        before = random.getstate()
        with torch.random.fork_rng(devices=[]):
            seed = int(np.random.SeedSequence([self.seed, place]).generate_state(1)[0])
            random.seed(seed)
            torch.manual_seed(seed)
            pixels: Tensor = self.transform(image)
        random.setstate(before)
        return pixels
