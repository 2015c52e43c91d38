"""Data sets that lie in memory: uint8 pixels, decoded once, normalised and varied on the device."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from pipeline.base.errors import InputError
from pipeline.base.limits import free_memory
from pipeline.base.results import CARD, reading, to_json, write_files
from pipeline.base.settings import Data
from pipeline.data.choosing import choose, split
from pipeline.data.dataset import WHOLE, Share, describe, full_batches, read_card, shown, with_parts
from pipeline.data.images import Images, augment, decode, normalise, refuse

IMAGES = "images.safetensors"
COPIES = 3  # of the pixels, at once: decoded, sorted into a file's order, and as the file's bytes


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

    def held_out(self, share: float, seed: int) -> InMemory:
        """As `Dataset` says."""
        labels = self.train.labels.cpu().numpy()
        kept, held = split(labels, share, seed, self.card["class_names"], "rates.validation_share")
        card = with_parts(self.card, labels[kept], labels[held])
        parts = [self.train[torch.from_numpy(rows).to(self.train.labels.device)] for rows in (kept, held)]
        return replace(self, train=parts[0], test=parts[1], card=card)

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

    def examples(self, count: int) -> Images:
        """As `Dataset` says."""
        return self.train[torch.from_numpy(shown(self.train.labels.cpu().numpy(), count))]

    def _normalised(self, images: Images) -> Images:
        return Images(normalise(images.pixels, self.card["mean"], self.card["std"]), images.labels)


def prepare(settings: Data, seed: int) -> InMemory:
    """The images that `settings` name, decoded, with a card that describes them.

    Raises InputError for a data set that cannot be trained on, for images that cannot be read, and for equal images.
    """
    choices = choose(settings, seed)
    _check_memory(sum(len(each.rows) for each in choices), settings)
    train, test = (decode(each.source, each.rows, settings) for each in choices)
    refuse(train.problems + test.problems)
    channels = train.images.pixels.unbind(1)
    constant = [number for number, channel in enumerate(channels) if channel.min() == channel.max()]
    if constant and settings.statistics == "images":
        raise InputError(
            f"data.statistics = images: channel {constant[0]} has one value in all training pictures, and no deviation "
            "to divide by; allowed: pictures that differ, or data.statistics = model"
        )
    mean, std = _statistics(train.images.pixels)
    found = describe(settings, *choices) | {
        "stored_as": {"train": train.formats, "test": test.formats},
        "mean": mean,
        "std": std,
        "sha256": _digest(*(tensor for each in (train, test) for tensor in (each.images.pixels, each.images.labels))),
    }
    return InMemory(train.images, test.images, found, settings.shift, settings.flip)


def _check_memory(images: int, settings: Data) -> None:
    """Raise InputError where so many images do not fit into the memory that is free, before any is decoded."""
    size = images * settings.channels * settings.pixels**2
    free = free_memory()
    if size * COPIES > free:
        raise InputError(
            f"data.storage = memory: {images:,} images of {settings.channels} x {settings.pixels} x {settings.pixels} "
            f"take {size * COPIES / 1e9:,.1f} GB, {free / 1e9:,.1f} GB are free; allowed: data.storage = files, "
            "smaller data.pixels, fewer images (data.mini)"
        )


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
    """The data set that `save` wrote, normalised by its own mean and deviation, or by the `statistics` given.

    Raises InputError where it was made with other settings, or is not what was written.
    """
    card = read_card(folder, settings) | dict(statistics)
    with reading(folder / IMAGES):
        tensors = safetensors.torch.load_file(folder / IMAGES)
        train, test = (Images(tensors[f"{part}.pixels"], tensors[f"{part}.labels"]) for part in ("train", "test"))
        if _digest(train.pixels, train.labels, test.pixels, test.labels) != card["sha256"]:
            raise ValueError("not the images that card.json describes")
    return InMemory(train, test, card, settings.shift, settings.flip)
