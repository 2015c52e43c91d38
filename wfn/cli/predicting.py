"""Pictures through a packed network, batch by batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import wfn
from wfn.cli.errors import InputError
from wfn.files.pictures import PictureError, read_picture
from wfn.packed.download import local
from wfn.packed.file import reading

BATCH = 32


@dataclass(frozen=True)
class Network:
    """A packed network that takes pictures of so many channels, and gives so many logits."""

    model: nn.Module
    channels: int
    outputs: int
    transform: Callable[[Any], Tensor]
    classes: Sequence[str] | None

    def example(self, path: Path) -> Tensor:
        """A picture file as the network takes it, float32 [C, H, W]. Raises PictureError."""
        return self.transform(read_picture(path, self.channels))


def open_network(source: str) -> Network:
    """A packed network. Raises InputError for one that does not say what becomes of a picture, and as `wfn.load`."""
    path = local(source)
    model = wfn.load(path)
    with reading(path) as reader:
        wanted = (reader.header.network or {}).get("input")
    if wanted is None:
        raise InputError(f"{source}: does not say what becomes of a picture (network.input)")
    transform: Any = model.transform
    classes: Any = model.classes
    outputs: Any = model.num_classes
    return Network(model, wanted["channels"], outputs, transform, classes)


@dataclass(frozen=True)
class Batch:
    """Those of up to 32 pictures that could be read, by their places among all, and what is wrong with the others.

    logits: float32 [B, classes].
    """

    places: list[int]
    logits: Tensor
    problems: list[str]


@torch.inference_mode()
def predicted(network: Network, paths: Sequence[Path]) -> Iterator[Batch]:
    """Logits of picture files, read by several threads."""

    def read(path: Path) -> Tensor | str:
        try:
            return network.example(path)
        except PictureError as error:
            return str(error)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for start in range(0, len(paths), BATCH):
            found = list(enumerate(threads.map(read, paths[start : start + BATCH]), start))
            pixels = {place: each for place, each in found if isinstance(each, Tensor)}
            logits = network.model(torch.stack([*pixels.values()])).float() if pixels else torch.empty(0)
            yield Batch([*pixels], logits, [each for _, each in found if isinstance(each, str)])
