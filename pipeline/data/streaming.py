"""Data sets that stay the files that they are: read, cropped and mirrored while training, by processes of their own.

`data.recipe` says how they are cropped; mean and deviation are those of the model's trained weights. How an image is
varied depends on the epoch and the image alone, not on how many processes read.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
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
from torchvision.transforms import Compose

from pipeline.base.errors import InputError
from pipeline.base.limits import free_memory
from pipeline.base.results import CARD, reading, to_json, write_files
from pipeline.base.settings import Data
from pipeline.data.choosing import Choice, choose, split
from pipeline.data.dataset import CHECKED, WHOLE, Share, describe, full_batches, read_card, shown, with_parts
from pipeline.data.images import Images, read_image, refuse
from pipeline.data.recipes import transforms
from pipeline.data.sources.find import find_source
from pipeline.data.sources.source import Labels, Source
from pipeline.watching.progress import Steps

INDEX = "index.safetensors"
CHECKED_AT_ONCE = 16
BYTES_A_PIXEL = 12  # that a picture takes in Pillow while it is decoded, converted and turned
SUBMITTED_AT_ONCE = 4096  # a pool keeps a kilobyte for every image that it has been handed


def prepare(settings: Data, seed: int) -> tuple[dict[str, Labels], dict[str, Any]]:
    """The index of a data set - which rows of its source are for what - and its card, after a look at every image.

    Raises InputError for a data set that cannot be trained on, and for images that cannot be opened.
    """
    train, test = choose(settings, seed)
    formats, problems, digests = zip(*(_look(choice, settings) for choice in (train, test)), strict=True)
    refuse([*problems[0], *problems[1]])
    index = {
        f"{part}.{kind}": np.ascontiguousarray(getattr(choice, kind))
        for part, choice in (("train", train), ("test", test))
        for kind in ("rows", "labels")
    }
    content = [*(values.tobytes() for values in index.values()), *digests]
    found = {
        "recipe": settings.recipe,
        "stored_as": {"train": formats[0], "test": formats[1]},
        "sha256": hashlib.sha256(b"".join(content)).hexdigest(),
        "source": {"train": _listed(train.source), "test": _listed(test.source)},
    }
    return index, describe(settings, train, test) | found


def _listed(source: Source) -> str:
    """A digest of the names and labels of all images of a source, wherever it lies: another order is another one."""
    names = "\n".join(source.title(i).rpartition("/")[2] for i in range(len(source.labels)))
    return hashlib.sha256(names.encode(errors="surrogateescape") + source.labels.tobytes()).hexdigest()


def _look(choice: Choice, settings: Data) -> tuple[dict[str, int], list[str], bytes]:
    """Open every image: cut short or foreign files are found before a day of training, not in it.

    Returns how many images are stored in which format, a line for each that cannot be read, and a digest of all pixels.
    """

    def look(row: int) -> tuple[str, str, bytes]:
        try:
            picture, form = read_image(choice.source, row, settings)
            return form, "", hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).digest()
        except InputError as error:
            return "", str(error), b""

    formats: Counter[str] = Counter()
    problems = []
    digest = hashlib.sha256()
    with (
        Steps("data: looking at every image", len(choice.rows)) as progress,
        ThreadPoolExecutor(_at_once(settings)) as pool,
    ):
        for start in range(0, len(choice.rows), SUBMITTED_AT_ONCE):
            for form, problem, pixels in pool.map(look, choice.rows[start : start + SUBMITTED_AT_ONCE].tolist()):
                progress.advance()
                digest.update(pixels)
                formats[form] += not problem
                problems += [problem] if problem else []
    return {form: count for form, count in sorted(formats.items()) if count}, problems, digest.digest()


def _at_once(settings: Data) -> int:
    """How many of the largest pictures that are allowed fit into the memory that is free; one at least."""
    largest = BYTES_A_PIXEL * settings.max_megapixels * 1e6
    return max(1, min(CHECKED_AT_ONCE, int(free_memory() / largest)))


def save(index: Mapping[str, Labels], card: Mapping[str, Any], folder: Path) -> None:
    """Write an index and a card into `folder`."""
    write_files(folder, {INDEX: safetensors.numpy.save(dict(index)), CARD: to_json(card)})


def load(folder: Path, settings: Data, model_input: Mapping[str, Any], workers: int) -> Streamed:
    """The data set whose index `save` wrote, from the same source. model_input: as timm resolves it for the model.

    Raises InputError where the index was made with other settings, or the source is not as it was.
    """
    card = read_card(folder, settings, (*CHECKED, "recipe"))
    with reading(folder / INDEX):
        index = safetensors.numpy.load_file(folder / INDEX)
    parts = find_source(settings)
    choices = []
    for part, source in (("train", parts.train), ("test", parts.test or parts.train)):
        rows = index[f"{part}.rows"]
        if card.get("source", {}).get(part) != _listed(source):
            raise InputError(
                "data: the images are not those that stage data has seen; `dvc repro --force data` looks again"
            )
        choices.append(Choice(source, rows))
    train, test = choices
    made = transforms(settings, model_input)
    return Streamed(train, test, card, settings, made, workers, torch.device("cpu"))


@dataclass(frozen=True)
class Streamed:
    """A `Dataset` (pipeline/data/dataset.py) whose images are read when they are needed.

    transforms: for training and for testing, from a Pillow image to normalised pixels [C, H, W].
    """

    train: Choice
    test: Choice
    card: dict[str, Any]
    settings: Data
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
        return self._batches(_Reader(self.train, self.transforms[0], self.settings, seed), chosen, share)

    def test_batches(self, size: int, share: Share = WHOLE) -> Iterator[Images]:
        """As `Dataset` says; the middle of each image."""
        reader = _Reader(self.test, self.transforms[1], self.settings, 0)
        return self._batches(reader, torch.arange(len(self.test.rows)).split(size), share)

    def sample(self, size: int) -> Tensor:
        """As `Dataset` says; the middle of each image."""
        reader = _Reader(self.train, self.transforms[1], self.settings, 0)
        return torch.stack([reader[place][0] for place in range(min(size, len(reader)))]).to(self.device)

    def examples(self, count: int) -> Images:
        """As `Dataset` says; the middle of each image."""
        places = shown(self.train.labels, count)
        return seen(Choice(self.train.source, self.train.rows[places]), self.transforms[1], self.settings)

    def _batches(self, reader: _Reader, batches: Sequence[Tensor], share: Share) -> Iterator[Images]:
        own = (batch[share.rank :: share.of].tolist() for batch in batches)
        loader = DataLoader(
            reader,
            batch_sampler=[numbers for numbers in own if numbers],  # there may be fewer images left than processes
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # else it draws from torch's own random state
        )
        try:
            for pixels, labels in loader:
                yield Images(pixels.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True))
        except InputError as error:  # of a process that reads, it comes with a traceback
            line = str(error).strip().splitlines()[-1]
            raise InputError(line.removeprefix(f"{InputError.__module__}.{InputError.__qualname__}: ")) from None


def seen(choice: Choice, transform: Any, settings: Data) -> Images:
    """The images of a choice as a network sees them, uint8: transformed, but for the normalisation, the last step."""
    reader = _Reader(choice, Compose(transform.transforms[:-1]), settings, 0)
    pixels, labels = zip(*(reader[place] for place in range(len(reader))), strict=True)
    return Images((torch.stack(pixels) * 255).round().to(torch.uint8), torch.tensor(labels))


class _Reader(Items[tuple[Tensor, int]]):
    """Images of a choice, transformed; the random choices for image `place` follow from `seed` and `place`."""

    def __init__(self, choice: Choice, transform: Any, settings: Data, seed: int) -> None:
        self.choice, self.transform, self.settings, self.seed = choice, transform, settings, seed

    def __len__(self) -> int:
        return len(self.choice.rows)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        row = int(self.choice.rows[place])
        image, _ = read_image(self.choice.source, row, self.settings)
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
