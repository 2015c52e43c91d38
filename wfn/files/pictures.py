"""Picture files, alone and in folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from wfn.picture import endings, is_left_behind, open_picture, plain_picture, said

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
    """The files named, and all pictures of the folders named, below them too, in order of names.

    A picture has the ending of one, or no ending and a picture in it. What file managers leave is none.
    Raises PictureError for what is not there, and for a folder without pictures.
    """
    found: list[Path] = []
    for place in places:
        if not place.is_dir():
            if not place.exists():
                raise PictureError(f"{place}: no such file or folder")
            if not place.is_file():
                raise PictureError(f"{place}: a pipe or a device, and no file")
            found.append(place)
            continue
        inside = [
            path for path in sorted(place.rglob("*")) if not any(map(is_left_behind, path.relative_to(place).parts))
        ]
        files = [path for path in inside if path.is_file()]
        pictures = [path for path in files if path.suffix.lower() in endings() or _is_picture(path)]
        if not pictures:
            raise PictureError(f"{place}: a folder without pictures")
        found += pictures
    return found


def _is_picture(path: Path) -> bool:
    """Whether a file without an ending is one."""
    if path.suffix:
        return False
    try:
        with open_picture(path):
            return True
    except Exception:  # whatever a foreign file makes of Pillow
        return False
