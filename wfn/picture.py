"""Pictures as people have them, as the pictures that a network takes: docs/inputs.md, "Pictures", has the table.

The library and the pipeline read every picture here, so that a network sees one and the same wherever it is shown it.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION = 0x0112  # of EXIF and of TIFF
BITS, PHOTOMETRIC = 258, 262  # of TIFF
# What the values of an orientation ask for, as Pillow calls it.
TURNS = {
    **{2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"},
    **{6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"},
}
# Modes that are no network's own, in words; others are called as Pillow calls them.
WORDS = {"1": "black and white", "P": "palette", "PA": "palette"}
PLAIN = {"L", "RGB", "LA", "La", "RGBA", "RGBa", "RGBX"}
# Formats with several pictures of which the first is taken; layers and sizes of others are something else.
SERIES = {"GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO"}
# Formats of Pillow's that are not read: of some it has no decoder, one is a program that Ghostscript would run, and the
# others hold a picture of another size than the one that they say.
NOT_READ = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF", "EPS", "CUR", "ICNS", "ICO", "IPTC"}
# What file managers, archivers and editors leave; names that begin with a dot are theirs too.
LEFT_BEHIND = frozenset(
    (
        *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "lost+found", "$recycle.bin"),
        *("system volume information", "icon\r", "__pycache__"),
    )
)
# How files begin that are often called pictures, and what they are.
BEGINNINGS = (
    (b"\x89PNG", "a damaged PNG"),
    (b"\xff\xd8\xff", "a damaged JPEG"),
    (b"II*\0", "a TIFF that is damaged, or of a kind that Pillow does not have"),
    (b"MM\0*", "a TIFF that is damaged, or of a kind that Pillow does not have"),
    (b"#?RADIANCE", "a Radiance HDR picture"),
    (b"PK", "a zip archive"),
    (b"%!PS", "an EPS drawing"),
    (b"\0\0\1\0", "an icon"),
    (b"icns", "an icon"),
    (b"%PDF", "a PDF"),
    (b"version https://git-lfs", "a Git LFS pointer, and git lfs pull fetches the picture"),
    (b"<svg", "an SVG drawing"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
)


def is_left_behind(name: str) -> bool:
    """Whether file managers, archivers or editors have left a file or folder of that name."""
    return name.startswith(".") or name.casefold() in LEFT_BEHIND


def plain_name(name: str) -> str:
    """The name of a class as it is compared: without spaces around it, in one spelling of its letters (NFC)."""
    return unicodedata.normalize("NFC", name.strip())


class Plain(NamedTuple):
    """A picture as a network takes it, and what was decided on the way, in words: "16-bit grey", "turned", ..."""

    picture: Image.Image
    decided: tuple[str, ...]


def plain_picture(picture: Image.Image, channels: int) -> Image.Image:
    """A Pillow picture as "L" (`channels` 1) or "RGB" (3), 8 bits a channel. Raises as `plain` does."""
    return plain(picture, channels).picture


def plain(picture: Image.Image, channels: int) -> Plain:
    """A Pillow picture as "L" (`channels` 1) or "RGB" (3), 8 bits a channel, and what was decided.

    Raises ValueError for one without pixels and where nothing says which number is white; of a damaged file, whatever
    Pillow's decoders stumble over.
    """
    from PIL import Image, ImageFile

    # Both are gone once the pixels are there: Pillow turns a TIFF itself.
    raw, orientation = _raw_mode(picture), getattr(picture, "tag_v2", {}).get(ORIENTATION)
    if orientation in TURNS and isinstance(picture, ImageFile.ImageFile):
        picture.filename = ""  # else Pillow maps the file into memory as if it lay there turned
    picture.load()
    if 0 in picture.size:
        raise ValueError(f"{picture.width} x {picture.height}: no pixels")
    eight, turn = _eight_bits(picture), TURNS.get(_orientation(picture))
    clear = _with_alpha(eight, raw)
    if clear is not None:
        eight = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    if eight.mode == "LAB":  # Pillow has no direct way to grey
        eight = eight.convert("RGB")
    converted = eight.convert("L" if channels == 1 else "RGB")
    decided = {
        _depth(picture, raw): True,
        WORDS.get(picture.mode, picture.mode): picture.mode not in PLAIN and not picture.mode.startswith("I"),
        "transparent": clear is not None,
        "turned": bool(turn) or orientation in TURNS,
        "first of several": picture.format in SERIES and getattr(picture, "is_animated", False),
    }
    words = tuple(word for word, met in decided.items() if word and met)
    return Plain(converted.transpose(Image.Transpose[turn]) if turn else converted, words)


def formats() -> tuple[str, ...]:
    """Names of the formats that are read, common ones first; those of plug-ins that a program has registered, too."""
    from PIL import Image

    Image.preinit()
    Image.init()
    return tuple(name for name in Image.ID if name not in NOT_READ)


def endings() -> frozenset[str]:
    """Endings of the files that are read, ".jpg" and others."""
    return _endings_of(formats())


@cache
def _endings_of(read: tuple[str, ...]) -> frozenset[str]:
    from PIL import Image

    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in read)


def open_picture(file: Path | BinaryIO) -> Image.Image:
    """A file, as Pillow opens it. Raises UnidentifiedImageError that says what else the file is, and others."""
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(file, formats=formats())
    except UnidentifiedImageError:
        if isinstance(file, Path):
            with file.open("rb") as opened:
                head = opened.read(64)
        else:
            file.seek(0)
            head = file.read(64)
        kind = _kind(head)
        raise UnidentifiedImageError(f"cannot identify image file{kind and f': {kind}'}") from None


def said(error: Exception) -> str:
    """What went wrong with a picture, in a line of 160 characters at most, without the name of the file."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error) if error.args else ""
    kind = type(error).__name__
    if not isinstance(error, (OSError, ValueError, SyntaxError)):  # of a decoder that stumbles
        text = f"{kind}: {text}" if text else kind
    return " ".join((text or kind).split())[:160]


def _kind(head: bytes) -> str:
    """What a file is that begins so; "" where that is not known."""
    if not head:
        return "empty"
    if head[4:8] == b"ftyp":
        return "HEIC, AVIF or a video that Pillow does not read; save it as JPEG or PNG"
    known = [kind for beginning, kind in BEGINNINGS if head.lower().startswith(beginning.lower())]
    text = head.isascii() and head.decode("ascii").replace("\n", "").replace("\r", "").replace("\t", "").isprintable()
    return known[0] if known else "text" if text else ""


def _raw_mode(picture: Image.Image) -> str:
    """How the pixels lie in the file, as Pillow says before they are read: "RGB;16B"; "" where it does not."""
    tile = next(iter(getattr(picture, "tile", ())), None)
    args = tile[3] if tile else ""
    return str((args or [""])[0] if isinstance(args, tuple) else args or "")


def _orientation(picture: Image.Image) -> int:
    """The orientation that EXIF or XMP ask for; 0 without one, and where they are damaged: the pixels are not."""
    try:
        found = picture.getexif().get(ORIENTATION)
    except Exception:  # struct.error, SyntaxError, ...: whatever is in there
        return 0
    return found if isinstance(found, int) else 0


def _depth(picture: Image.Image, raw: str) -> str:
    """In words, that the file has more than 8 bits a channel."""
    if picture.mode.startswith("I"):
        return f"{_bits(picture)}-bit grey"
    return "" if ";16" not in raw else "16-bit grey" if raw.startswith("L") else "16-bit colour"


def _bits(picture: Image.Image) -> int | None:
    """Bits of a grey picture of more than 8 whose largest number is white; None where nothing says what is white."""
    found: int = getattr(picture, "tag_v2", {}).get(BITS, (16,))[0]
    if picture.mode.startswith("I;16") and picture.format != "FITS":
        return found
    return 16 if picture.mode == "I" and picture.format in (None, "PNG", "PPM") else None


def _eight_bits(picture: Image.Image) -> Image.Image:
    """The picture itself; grey of more bits scaled to 8."""
    from PIL import Image

    if picture.mode == "F":
        raise ValueError("grey of floating point: nothing says which number is white")
    if not picture.mode.startswith("I"):
        return picture
    bits = _bits(picture)
    values, white = np.asarray(picture).astype(np.int64), (1 << (bits or 0)) - 1
    if bits is None or not 0 <= values.min() <= values.max() <= white:
        raise ValueError("grey of 32 bits or with a sign: nothing says which number is white")
    level = picture.info.get("transparency")  # of a PNG
    if getattr(picture, "tag_v2", {}).get(PHOTOMETRIC) == 0:  # Pillow inverts such a TIFF of 8 bits only
        values = white - values
    eight = Image.fromarray(((values * 255 + white // 2) // white).astype(np.uint8))
    if isinstance(level, int):
        eight.putalpha(Image.fromarray(np.where(values == level, 0, 255).astype(np.uint8)))
    return eight


def _with_alpha(picture: Image.Image, raw: str) -> Image.Image | None:
    """The picture as "RGBA"; None for one whose pixels are all opaque."""
    if not picture.has_transparency_data:
        return None
    known = picture.convert("LA") if picture.mode == "La" else picture.copy()
    level = known.info.get("transparency")
    if isinstance(level, int) and raw in ("L;2", "L;4"):  # a PNG's level is as in the file, its pixels are scaled
        known.info["transparency"] = level * (85 if raw == "L;2" else 17)
    if isinstance(level, tuple) and ";16" in raw:
        known.info["transparency"] = tuple(each >> 8 for each in level)
    clear = known.convert("RGBA")
    return None if clear.getchannel("A").getextrema()[0] == 255 else clear
