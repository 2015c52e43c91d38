"""Images as tensors: decoded from a source, scaled, and varied on the device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from pipeline.base.errors import InputError
from pipeline.base.naming import together
from pipeline.base.settings import Data
from pipeline.data.sources.source import Labels, Source
from pipeline.watching.progress import Steps
from wfn.picture import plain, said

# Pillow's own limit, of the whole process, is off in the pipeline: `data.max_megapixels` is asked of every picture when
# it is opened, before its pixels are read, also by threads and by the processes that import this module to read.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Images:
    """Labelled images: pixels [N, C, H, W], uint8 or normalised float32; labels int64 [N]."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: Tensor | slice) -> Images:
        return Images(self.pixels[chosen], self.labels[chosen])

    def to(self, device: torch.device) -> Images:
        """The same images on another device."""
        return Images(self.pixels.to(device), self.labels.to(device))


def read_image(source: Source, i: int, settings: Data) -> tuple[Image.Image, str]:
    """Image number `i`, "L" or "RGB" as `wfn.picture.plain` makes it; and its format, with what was decided of it.

    The format is that of the file: "PNG", "JPEG, turned", "raw" for plain arrays. Raises InputError that names an image
    that cannot be read, or is larger than `data.max_megapixels`.
    """
    try:
        with source.open(i) as image:
            problem = _too_large(image.size, settings)
            if not problem:
                picture, decided = plain(image, settings.channels)
                problem = _too_large(picture.size, settings)  # some formats say another one than they have
            if not problem:
                return picture, ", ".join((image.format or "raw", *decided))
    except Exception as error:  # whatever a damaged file makes of Pillow's decoders
        problem = f"not an image that Pillow can read ({said(error)})"
    raise InputError(f"{' '.join(source.title(i).splitlines())}: {problem}")


def _too_large(size: tuple[int, int], settings: Data) -> str:
    """Says so where these are more pixels than `data.max_megapixels`, as stored or as scaled before timm's crop."""
    allowed = settings.max_megapixels * 1e6
    shorter, longer = sorted(size)
    scaled = round(settings.pixels * longer / max(1, shorter))
    limit = f"data.max_megapixels = {settings.max_megapixels:g}"
    if shorter * longer > allowed:
        return f"{size[0]:,} x {size[1]:,} pixels; allowed: {limit}"
    if (settings.storage, settings.recipe) == ("files", "timm") and settings.pixels * scaled > allowed:
        return (
            f"{size[0]:,} x {size[1]:,} pixels, which timm scales to {settings.pixels:,} x {scaled:,} at "
            f"least; allowed: {limit}"
        )
    return ""


def refuse(problems: Sequence[str]) -> None:
    """Raise InputError that names the first of these problems with images, each a line, and counts the others."""
    if problems:
        raise InputError(together(sorted(problems)))


class Decoded(NamedTuple):
    """Images as uint8; how many are stored in which format; one line for each that cannot be read, left black."""

    images: Images
    formats: dict[str, int]
    problems: list[str]


def decode(source: Source, chosen: Labels, settings: Data) -> Decoded:
    """The chosen images of a source, scaled to `data.pixels` x `data.pixels`."""
    side, channels = settings.pixels, settings.channels
    pixels = torch.zeros((len(chosen), channels, side, side), dtype=torch.uint8)
    formats: Counter[str] = Counter()
    problems = []
    with Steps("data: images", len(chosen)) as progress:
        for place, i in enumerate(chosen.tolist()):
            try:
                image, form = read_image(source, i, settings)
            except InputError as error:
                problems.append(str(error))
            else:
                if image.size != (side, side):
                    image = image.resize((side, side), Image.Resampling.BILINEAR)
                pixels[place] = torch.from_numpy(np.array(image)).view(side, side, channels).permute(2, 0, 1)
                formats[form] += 1
            progress.advance()
    return Decoded(Images(pixels, torch.from_numpy(source.labels[chosen])), dict(sorted(formats.items())), problems)


def normalise(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 pixels [B, C, H, W] as float32, on 0 to 1, minus `mean` [C], over `std` [C]."""
    means, deviations = (torch.tensor(values, device=pixels.device).view(1, -1, 1, 1) for values in (mean, std))
    return (pixels.float() / 255 - means) / deviations


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
