"""What a source of labelled images is: it opens images one by one.

What becomes of them (tensors in memory, or batches read while training) is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.base.naming import shown
from wfn.picture import open_picture

Labels = NDArray[np.int64]


class Source(Protocol):
    """Images [N] with a label each, opened on demand; can be pickled, for the processes that read images."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of all classes, also of those without images here."""

    @property
    def labels(self) -> Labels:
        """Number of the class of each image."""

    def title(self, i: int) -> str:
        """What messages call image `i`: its file or number."""

    def open(self, i: int) -> Image.Image:
        """Image `i`, as Pillow opens it."""


@dataclass(frozen=True)
class Parts:
    """A data set as it comes: with a test part of its own, of the same classes, or without.

    notes: what a person should know of how it was understood, a line each.
    """

    train: Source
    test: Source | None
    notes: Sequence[str] = ()


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
        return shown(self.paths[i])

    def open(self, i: int) -> Image.Image:
        """As `Source` says."""
        return open_picture(self.paths[i])
