"""Picture files as people have them, as the pictures that a network takes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image


class PictureError(ValueError):
    """A file that is not read as a picture, named in one line."""


def read_picture(path: Path, channels: int) -> Image.Image:
    """A picture file as Pillow's "L" (`channels` 1) or "RGB" (3), 8 bits a channel.

    | in the file                         | becomes                                                        |
    |-------------------------------------|----------------------------------------------------------------|
    | an orientation (EXIF)               | turned and mirrored as it says, as viewers show it             |
    | grey of 16 bits                     | scaled to 8: 65,535 is white (Pillow alone makes all above 255 |
    |                                     | white)                                                         |
    | colour of 16 bits                   | the upper 8                                                    |
    | transparency, of any kind           | laid over white                                                |
    | palette, CMYK, YCbCr, black & white | converted by Pillow                                            |
    | colour where one channel is wanted  | its luma, 0.299 R + 0.587 G + 0.114 B                          |
    | grey where three are wanted         | three equal channels                                           |
    | several pictures                    | the first                                                      |
    | grey of 32 bits, floating point     | refused: nothing says which number is white                    |

    Raises PictureError for anything that Pillow cannot read to its end.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            picture = _eight_bits(ImageOps.exif_transpose(opened))
            if picture.has_transparency_data:
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            return picture.convert("L" if channels == 1 else "RGB")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        problem = str(error).replace(f" {str(path)!r}", "").strip() or type(error).__name__
        raise PictureError(f"{path}: not read as a picture ({' '.join(problem.split())[:160]})") from None


def _eight_bits(picture: Image.Image) -> Image.Image:
    """The picture, grey of 16 bits scaled to 8."""
    from PIL import Image

    if picture.mode == "F":
        raise ValueError("grey of floating point: nothing says which number is white")
    if not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture).astype(np.int64)
    if values.size and not 0 <= values.min() <= values.max() < 1 << 16:
        raise ValueError("grey of 32 bits: nothing says which number is white")
    transparent = picture.info.get("transparency")  # of a PNG: one level
    if isinstance(transparent, int):
        values[values == transparent] = (1 << 16) - 1
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def find_pictures(places: Iterable[Path]) -> list[Path]:
    """The files named, and all of the folders named, below them too, that have a picture's ending; in order of names.

    Raises PictureError for what is not there, and for a folder without pictures.
    """
    from PIL import Image

    endings = Image.registered_extensions()
    found: list[Path] = []
    for place in places:
        if not place.is_dir():
            if not place.exists():
                raise PictureError(f"{place}: no such file or folder")
            found.append(place)
            continue
        inside = [path for path in sorted(place.rglob("*")) if path.suffix.lower() in endings]
        visible = [path for path in inside if not any(part[0] == "." for part in path.relative_to(place).parts)]
        if not visible:
            raise PictureError(f"{place}: a folder without pictures")
        found += visible
    return found
