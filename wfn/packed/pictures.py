"""Pictures as people have them, as the pictures that a network takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image


def plain_picture(picture: Image.Image, channels: int) -> Image.Image:
    """A Pillow picture as "L" (`channels` 1) or "RGB" (3), 8 bits a channel.

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

    Raises ValueError where nothing says which number is white, OSError and others of Pillow's for a damaged file.
    """
    from PIL import Image, ImageOps

    picture = _eight_bits(ImageOps.exif_transpose(picture))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("L" if channels == 1 else "RGB")


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
