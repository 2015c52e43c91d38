"""Picture files, alone and in folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from wfn.picture import open_picture, plain_picture, said

if TYPE_CHECKING:
    from PIL import Image


class PictureError(ValueError):
    """A file that is not read as a picture, named in one line."""


def read_picture(path: Path, channels: int) -> Image.Image:
    """A picture file as `plain_picture` says. Raises PictureError for anything that Pillow cannot read to its end."""
    try:
        with open_picture(path) as opened:
            return plain_picture(opened, channels)
    except Exception as error:  # whatever a damaged file makes of Pillow's decoders
        raise PictureError(f"{path}: not read as a picture ({said(error)})") from None


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
