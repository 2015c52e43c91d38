"""A data set split in two, its card, and batches varied on the device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from torch.nn.functional import pad

from pipeline.config import Data, InputError
from pipeline.images import Images, read_images
from pipeline.results import to_json, write_files

IMAGES, CARD = "images.safetensors", "card.json"


@dataclass(frozen=True)
class Dataset:
    """Training and test images, and the card that describes them."""

    train: Images
    test: Images
    card: dict[str, Any]

    def check_classes(self, outputs: int) -> None:
        """Raise InputError unless a network with so many outputs can tell the classes apart."""
        if outputs < self.card["classes"]:
            raise InputError(f"model.num_classes = {outputs}: the data set needs at least {self.card['classes']}")

    def to(self, device: torch.device) -> Dataset:
        """The same data set on another device."""
        return Dataset(self.train.to(device), self.test.to(device), self.card)


def prepare(settings: Data, seed: int) -> Dataset:
    """The data set that `settings` name, split and described.

    Raises InputError for a data set that cannot be trained on.
    """
    train, test = split(read_images(settings), settings.test_share, seed)
    return Dataset(train, test, card(settings.name, train, test))


def split(images: Images, test_share: float, seed: int) -> tuple[Images, Images]:
    """Training and test images, every class divided alike (to the nearest whole image), in shuffled order.

    Raises InputError for no images, fewer than two classes, or a class that does not reach both parts.
    """
    if not len(images):
        raise InputError("data: 0 images found; at least two classes of two images are needed")
    classes, counts = images.labels.unique(return_counts=True)
    if len(classes) < 2:
        raise InputError(f"data: 1 class found, number {int(classes[0])}; at least two are needed")
    generator = torch.Generator().manual_seed(seed)
    parts: tuple[list[Tensor], list[Tensor]] = ([], [])
    for label, count in zip(classes.tolist(), counts.tolist(), strict=True):
        kept = round(count * test_share)
        if not 0 < kept < count:
            raise InputError(
                f"data.test_share = {test_share}: keeps {kept} of the {count} images of class {label}; "
                "every class needs images in both parts"
            )
        order = torch.nonzero(images.labels == label)[:, 0][torch.randperm(count, generator=generator)]
        parts[0].append(order[kept:])
        parts[1].append(order[:kept])
    train, test = (torch.cat(part) for part in parts)
    train = train[torch.randperm(len(train), generator=generator)]
    return Images(images.pixels[train], images.labels[train]), Images(images.pixels[test], images.labels[test])


def card(name: str, train: Images, test: Images) -> dict[str, Any]:
    """What a person wants to know of a data set before using it; mean and std of the training pixels, on 0 to 1."""
    digest = hashlib.sha256()
    for tensor in (train.pixels, train.labels, test.pixels, test.labels):
        digest.update(tensor.contiguous().numpy().tobytes())
    values = train.pixels.double() / 255
    return {
        "name": name,
        "shape": list(train.pixels.shape[1:]),
        "classes": int(torch.cat([train.labels, test.labels]).max()) + 1,
        "train": {"images": len(train), "per_class": train.labels.bincount().tolist()},
        "test": {"images": len(test), "per_class": test.labels.bincount().tolist()},
        "mean": values.mean(dim=(0, 2, 3)).tolist(),
        "std": values.std(dim=(0, 2, 3)).tolist(),
        "sha256": digest.hexdigest(),
    }


def save(dataset: Dataset, folder: Path) -> None:
    """Write the images and the card into `folder`."""
    tensors = {
        f"{part}.{kind}": getattr(getattr(dataset, part), kind).contiguous()
        for part in ("train", "test")
        for kind in ("pixels", "labels")
    }
    write_files(folder, {IMAGES: safetensors.torch.save(tensors), CARD: to_json(dataset.card)})


def load(folder: Path) -> Dataset:
    """The data set that `save` wrote."""
    tensors = safetensors.torch.load_file(folder / IMAGES)
    train, test = (Images(tensors[f"{part}.pixels"], tensors[f"{part}.labels"]) for part in ("train", "test"))
    return Dataset(train, test, json.loads((folder / CARD).read_text()))


def batches(images: Images, size: int, generator: torch.Generator | None = None) -> Iterator[Images]:
    """Batches of `size` images: all of them in order, or, with a generator, shuffled and without an incomplete rest.

    A single last image would leave batch-norm without statistics, so training drops the rest; a data set smaller
    than one batch is one batch.
    """
    if generator is None:
        yield from (Images(*part) for part in zip(images.pixels.split(size), images.labels.split(size), strict=True))
        return
    order = torch.randperm(len(images), generator=generator).to(images.labels.device)
    for start in range(0, max(size, len(images) - size + 1), size):
        chosen = order[start : start + size]
        yield Images(images.pixels[chosen], images.labels[chosen])


def training_batches(dataset: Dataset, settings: Data, size: int, generator: torch.Generator) -> Iterator[Images]:
    """One epoch: shuffled batches, varied as `settings` say, their pixels float32 with mean 0 and deviation 1."""
    for batch in batches(dataset.train, size, generator):
        varied = augment(batch.pixels, shift=settings.shift, flip=settings.flip, generator=generator)
        yield Images(normalise(varied, dataset.card), batch.labels)


def batch_count(dataset: Dataset, size: int) -> int:
    """Number of batches in one epoch of `training_batches`."""
    return max(1, len(dataset.train) // size)


def normalise(pixels: Tensor, card: dict[str, Any]) -> Tensor:
    """uint8 pixels [B, C, H, W] as float32 with mean 0 and deviation 1 over the training images."""
    mean, std = (torch.tensor(card[key], device=pixels.device).view(1, -1, 1, 1) for key in ("mean", "std"))
    return (pixels.float() / 255 - mean) / std


def augment(pixels: Tensor, *, shift: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Each image [B, C, H, W] shifted by up to `shift` pixels both ways, over black, and half of them mirrored."""
    count, _, height, width = pixels.shape
    if flip:
        mirrored = (torch.rand(count, generator=generator) < 0.5).to(pixels.device)
        pixels = torch.where(mirrored.view(-1, 1, 1, 1), pixels.flip(3), pixels)
    if shift:
        down, right = torch.randint(0, 2 * shift + 1, (2, count, 1), generator=generator).to(pixels.device)
        rows = down + torch.arange(height, device=pixels.device)
        columns = right + torch.arange(width, device=pixels.device)
        padded = pad(pixels, (shift,) * 4)
        image = torch.arange(count, device=pixels.device).view(-1, 1, 1)
        pixels = padded[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return pixels
