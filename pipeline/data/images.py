"""Images as tensors: decoded from a source, scaled, and varied on the device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from pipeline.base.errors import InputError
from pipeline.data.sources.source import Source
from pipeline.watching.progress import Steps


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


def read_image(source: Source, i: int, channels: int) -> tuple[Image.Image, str]:
    """Image number `i`, grey or in colour, and the format that it is stored in ("PNG"; "raw" for plain arrays).

    Raises InputError that names an image that cannot be read.
    """
    try:
        with source.open(i) as image:
            return image.convert("L" if channels == 1 else "RGB"), image.format or "raw"
    except (OSError, ValueError, Image.DecompressionBombError) as error:  # Pillow's, of damaged files too
        problem = str(error).replace(f" {source.title(i)!r}", "")
        raise InputError(f"{source.title(i)}: not an image that Pillow can read ({problem})") from None


def decode(source: Source, chosen: Sequence[int], side: int, channels: int) -> tuple[Images, dict[str, int]]:
    """The chosen images of a source, scaled to side x side pixels, as uint8; and how many are stored in which format.

    Raises InputError that names an image that cannot be read.
    """
    pixels = torch.empty((len(chosen), channels, side, side), dtype=torch.uint8)
    formats: Counter[str] = Counter()
    with Steps("data: images", len(chosen)) as progress:
        for place, i in enumerate(chosen):
            image, form = read_image(source, i, channels)
            if image.size != (side, side):
                image = image.resize((side, side), Image.Resampling.BILINEAR)
            pixels[place] = torch.from_numpy(np.array(image)).view(side, side, channels).permute(2, 0, 1)
            formats[form] += 1
            progress.advance()
    return Images(pixels, torch.from_numpy(source.labels[list(chosen)])), dict(formats)


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
