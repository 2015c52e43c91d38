"""Every kind of picture that people bring: what the network sees of it, or the line that names the file."""

import dataclasses
import io
import os
import re
import struct
import zlib
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from catalogue import note
from clones import ROOT, write_tiny_profile
from PIL import Image, ImageCms, ImageFile

import wfn.picture
from pipeline.base.errors import InputError
from pipeline.base.naming import shown as printable
from pipeline.base.settings import Data
from pipeline.data import memory, streaming
from pipeline.data.dataset import shown
from pipeline.data.examples import find_examples, sheet
from pipeline.data.images import Images, read_image
from pipeline.data.recipes import input_settings
from pipeline.data.sources.find import find_source
from pipeline.data.sources.source import Files
from stages.data import data as data_stage
from stages.pretrain import pretrain
from wfn.files.pictures import PictureError, find_pictures, read_picture
from wfn.picture import plain_picture

SECTION = "Pictures"


# Files by hand: what Pillow does not write


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, depth, colour, *rows, extra=b""):
    """A PNG; colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA. extra: chunks before the pixels."""
    head = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def big(*numbers):
    return struct.pack(f">{len(numbers)}H", *numbers)


def little(*numbers):
    return struct.pack(f"<{len(numbers)}H", *numbers)


def tiff(width, data, bits, *, photometric=1, sample=1, orientation=1):
    """A little-endian TIFF of one strip. sample: 1 unsigned, 2 signed, 3 floating point."""
    count, height = len(bits), max(1, len(data) * 8 // (width * sum(bits)))
    tags = {256: [width], 257: [height], 258: bits, 259: [1], 262: [photometric], 273: [0], 274: [orientation]}
    tags |= {277: [count], 278: [height], 279: [len(data)], 339: [sample] * count}
    behind = 8 + 2 + 12 * len(tags) + 4
    tags[273] = [behind + sum(2 * len(values) for values in tags.values() if len(values) > 2)]
    entries, more = b"", b""
    for tag, values in tags.items():
        content = little(*values)
        if len(content) > 4:
            content, more = struct.pack("<I", behind + len(more)), more + content
        entries += struct.pack("<HHI", tag, 3, len(values)) + content.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + more + data


def saved(picture, kind="PNG", **options):
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def of(values, kind=np.uint8):
    return Image.fromarray(np.array(values, kind))


RED, BLUE = (Image.new("RGB", (2, 1), colour) for colour in ("red", "blue"))
PALETTE = chunk(b"PLTE", bytes([10, 20, 30, 40, 50, 60]))
RAMP = [0, 16448, 33153, 49858, 65535]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@dataclasses.dataclass(frozen=True)
class Seen:
    """A file and what a network of so many channels sees of it: pixels [H, W, channels], and its name in the card."""

    case: str
    content: bytes
    channels: int
    pixels: list
    name: str

    @property
    def happens(self):
        shown = "; ".join(str(row).strip("[]") if self.channels == 1 else str(row)[1:-1] for row in self.pixels)
        return f"“{self.name}”: {shown}"


SEEN = [
    Seen("8-bit grey PNG", saved(of([[0, 7, 255]])), 1, [[0, 7, 255]], "PNG"),
    Seen("16-bit grey PNG, 0 to 65,535", png(5, 16, 0, big(*RAMP)), 1, [[0, 64, 129, 194, 255]], "PNG, 16-bit grey"),
    Seen(
        "16-bit grey PNG with a transparent level",
        png(3, 16, 0, big(0, 300, 65535), extra=chunk(b"tRNS", big(300))),
        *(1, [[0, 255, 255]], "PNG, 16-bit grey, transparent"),
    ),
    Seen(
        "16-bit grey PNG with alpha",
        png(2, 16, 4, big(32768, 65535, 32768, 0)),
        *(1, [[128, 255]], "PNG, 16-bit grey, transparent"),
    ),
    Seen(
        "16-bit colour PNG",
        png(2, 16, 2, big(0, 257, 65535, 4660, 32768, 65280)),
        *(3, [[[0, 1, 255], [18, 128, 255]]], "PNG, 16-bit colour"),
    ),
    Seen(
        "16-bit colour PNG with a transparent colour",
        png(2, 16, 2, big(4660, 32768, 65535, 1, 2, 3), extra=chunk(b"tRNS", big(4660, 32768, 65535))),
        *(3, [[[255, 255, 255], [0, 0, 0]]], "PNG, 16-bit colour, transparent"),
    ),
    Seen(
        "16-bit RGBA PNG",
        png(2, 16, 6, big(32768, 0, 0, 65535, 32768, 0, 0, 0)),
        *(3, [[[128, 0, 0], [255, 255, 255]]], "PNG, 16-bit colour, transparent"),
    ),
    Seen("16-bit grey TIFF", tiff(3, little(0, 129, 65535), [16]), 1, [[0, 1, 255]], "TIFF, 16-bit grey"),
    Seen(
        "16-bit grey TIFF whose 0 is white",
        tiff(3, little(0, 32639, 65535), [16], photometric=0),
        *(1, [[255, 128, 0]], "TIFF, 16-bit grey"),
    ),
    Seen("12-bit grey TIFF", tiff(2, b"\xff\xf8\x00", [12]), 1, [[255, 128]], "TIFF, 12-bit grey"),
    Seen(
        "16-bit colour TIFF",
        tiff(1, little(32768, 128, 65535), [16] * 3, photometric=2),
        *(3, [[[128, 0, 255]]], "TIFF, 16-bit colour"),
    ),
    Seen("16-bit PGM", b"P5 2 1 65535\n" + big(128, 65535), 1, [[0, 255]], "PPM, 16-bit grey"),
    Seen("PGM of 0 to 100, as text", b"P2 2 1 100 50 100", 1, [[128, 255]], "PPM"),
    Seen(
        "16-bit grey JPEG 2000",
        saved(of([[0, 129, 65535]], np.uint16), "JPEG2000"),
        *(1, [[0, 1, 255]], "JPEG2000, 16-bit grey"),
    ),
    Seen("black and white PNG", saved(of([[False, True]], bool)), 1, [[0, 255]], "PNG, black and white"),
    Seen(
        "2-bit grey PNG with a transparent level",
        png(4, 2, 0, b"\x1b", extra=chunk(b"tRNS", big(1))),
        *(1, [[0, 255, 170, 255]], "PNG, transparent"),
    ),
    Seen(
        "palette PNG, half transparent",
        png(2, 8, 3, b"\0\1", extra=PALETTE + chunk(b"tRNS", b"\x80\xff")),
        *(3, [[[132, 137, 142], [40, 50, 60]]], "PNG, palette, transparent"),
    ),
    Seen(
        "palette PNG, one colour transparent",
        png(2, 8, 3, b"\0\1", extra=PALETTE + chunk(b"tRNS", b"\0")),
        *(3, [[[255, 255, 255], [40, 50, 60]]], "PNG, palette, transparent"),
    ),
    Seen(
        "palette PNG whose transparent colour is not used",
        png(2, 8, 3, b"\1\1", extra=PALETTE + chunk(b"tRNS", b"\0")),
        *(3, [[[40, 50, 60], [40, 50, 60]]], "PNG, palette"),
    ),
    Seen(
        "RGB PNG with a transparent colour",
        png(2, 8, 2, bytes([1, 2, 3, 4, 5, 6]), extra=chunk(b"tRNS", big(1, 2, 3))),
        *(3, [[[255, 255, 255], [4, 5, 6]]], "PNG, transparent"),
    ),
    Seen(
        "black logo on transparent ground",
        saved(of([[[0, 0, 0, 255], [0, 0, 0, 0]]])),
        *(3, [[[0, 0, 0], [255, 255, 255]]], "PNG, transparent"),
    ),
    Seen("RGBA PNG, opaque", saved(of([[[1, 2, 3, 255]]])), 3, [[[1, 2, 3]]], "PNG"),
    Seen("grey PNG with alpha", saved(Image.new("LA", (1, 1), (0, 51))), 1, [[204]], "PNG, transparent"),
    Seen("CMYK TIFF", saved(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"), 3, [[[255, 0, 0]]], "TIFF, CMYK"),
    Seen("LAB TIFF", tiff(1, b"\xff\0\0", [8] * 3, photometric=8), 1, [[255]], "TIFF, LAB"),
    Seen("red where one channel is wanted", saved(RED), 1, [[76, 76]], "PNG"),
    Seen("grey where three are wanted", saved(of([[7]])), 3, [[[7, 7, 7]]], "PNG"),
    Seen(
        "GIF animation",
        saved(RED, "GIF", save_all=True, append_images=[BLUE]),
        *(3, [[[255, 0, 0]] * 2], "GIF, palette, first of several"),
    ),
    Seen(
        "APNG animation",
        saved(RED, "PNG", save_all=True, append_images=[BLUE]),
        *(3, [[[255, 0, 0]] * 2], "PNG, first of several"),
    ),
    Seen(
        "WebP animation",
        saved(RED, "WEBP", save_all=True, lossless=True, append_images=[BLUE]),
        *(3, [[[255, 0, 0]] * 2], "WEBP, first of several"),
    ),
    Seen(
        "TIFF of two pages",
        saved(RED, "TIFF", save_all=True, append_images=[BLUE]),
        *(3, [[[255, 0, 0]] * 2], "TIFF, first of several"),
    ),
    Seen("colour profile and gamma", saved(RED, icc_profile=SRGB), 3, [[[255, 0, 0]] * 2], "PNG"),
    Seen("BMP", saved(RED, "BMP"), 3, [[[255, 0, 0]] * 2], "BMP"),
    Seen("1 x 1", saved(of([[9]])), 1, [[9]], "PNG"),
    Seen("TIFF with an orientation", tiff(2, b"\1\2\3\4", [8], orientation=6), 1, [[3, 1], [4, 2]], "TIFF, turned"),
    Seen("PNG with an orientation", saved(of([[1, 2]]), exif=turned(3)), 1, [[2, 1]], "PNG, turned"),
    Seen("orientation 9", saved(of([[1, 2]]), exif=turned(9)), 1, [[1, 2]], "PNG"),
    Seen("damaged EXIF", saved(of([[1, 2]]), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\5\1"), 1, [[1, 2]], "PNG"),
]


@pytest.fixture
def data(settings):
    def make(**changes):
        files = {"shift": 0, "statistics": "model"} if changes.get("storage") == "files" else {}
        return Data.model_validate(settings.data.model_dump() | {"name": "own", "root": "folder", **files, **changes})

    return make


def one(path):
    return Files(["only"], np.zeros(1, np.int64), [path])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("seen", SEEN, ids=lambda seen: seen.case)
def test_what_the_network_sees(seen, data, tmp_path):
    """The pipeline and the library, which has the pictures of a packed network, see the same."""
    path = tmp_path / "picture"
    path.write_bytes(seen.content)
    picture, name = read_image(one(path), 0, data(channels=seen.channels))
    assert np.asarray(picture).tolist() == seen.pixels
    assert name == seen.name
    assert np.asarray(read_picture(path, seen.channels)).tolist() == seen.pixels
    shown = seen.happens if picture.size != (16, 16) else f"“{seen.name}”: {str(seen.pixels[0][0])[1:-1]} everywhere"
    note(SECTION, seen.case, shown)


TURNED = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: np.swapaxes(pixels, 0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(np.swapaxes(pixels, 0, 1), 2),
    8: np.rot90,
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("orientation", TURNED)
def test_every_orientation(kind, orientation, data, tmp_path):
    """Compressed with losses or not: the same as the file without orientation, turned by NumPy."""
    pixels = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((16, 16), np.uint8))
    (tmp_path / "straight").write_bytes(saved(of(pixels), kind))
    (tmp_path / "turned").write_bytes(saved(of(pixels), kind, exif=turned(orientation)))
    straight, _ = read_image(one(tmp_path / "straight"), 0, data())
    found, name = read_image(one(tmp_path / "turned"), 0, data())
    assert np.array_equal(np.asarray(found), TURNED[orientation](np.asarray(straight)))
    assert name == (kind if orientation == 1 else f"{kind}, turned")
    if orientation == 8:
        note(SECTION, f"{kind} with orientation 1 to 8", "turned and mirrored as viewers show it")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("channels", [1, 3])
def test_ordinary_pictures_do_not_change_by_a_bit(kind, mode, channels, data, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    content = saved(Image.fromarray(noise).convert(mode), kind)
    (tmp_path / "picture").write_bytes(content)
    found, name = read_image(one(tmp_path / "picture"), 0, data(channels=channels))
    assert found.tobytes() == Image.open(io.BytesIO(content)).convert("L" if channels == 1 else "RGB").tobytes()
    assert name == kind


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "mode",
    [
        *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"),
        *("I", "I;16", "I;16B", "I;16L"),
    ],
)
def test_every_mode_of_pillow(mode, channels):
    """Of pictures in memory, as a packed network's transform gets them."""
    found = plain_picture(Image.new(mode, (3, 2)), channels)
    assert (found.mode, found.size) == ("L" if channels == 1 else "RGB", (3, 2))


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "YCbCr", "LA", "L", "RGB"])
def test_white_is_white_in_every_mode(mode, tmp_path):
    path = tmp_path / "picture.tif"
    Image.new("RGB", (4, 2), "white").convert(mode).save(path)
    assert np.asarray(read_picture(path, 1)).tolist() == [[255] * 4] * 2
    assert np.asarray(read_picture(path, 3)).tolist() == [[[255] * 3] * 4] * 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG2000"])
def test_every_level_of_16_bits_is_rounded_to_the_nearest(kind, tmp_path):
    levels = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    (tmp_path / "ramp").write_bytes(saved(Image.fromarray(levels), kind))
    assert np.array_equal(np.asarray(read_picture(tmp_path / "ramp", 1)), np.rint(levels / 257))


# Lines that name the file


def iptc(picture):
    """A file that says that it has 1 x 1 pixels, and holds a picture of its own size."""
    fields = {(3, 20): b"\0\1", (3, 30): b"\0\1", (3, 60): b"\1\0", (3, 120): b"\0\5", (8, 10): picture}
    return b"".join(bytes((0x1C, *tag)) + len(value).to_bytes(2, "big") + value for tag, value in fields.items())


NOISE = of(np.random.default_rng(0).integers(0, 256, (40, 40)))
HALF = {kind: content[: len(content) // 2] for kind in ("JPEG", "PNG") for content in [saved(NOISE, kind)]}
NOT_KNOWN = "cannot identify image file"
A_TIFF = f"{NOT_KNOWN}: a TIFF that is damaged, or of a kind that Pillow does not have"
SIGNED = "grey of 32 bits or with a sign: nothing says which number is white"
FLOAT = "grey of floating point: nothing says which number is white"
REFUSED = [
    ("32-bit grey TIFF", "map.tif", tiff(1, struct.pack("<I", 1000), [32]), SIGNED),
    ("16-bit grey TIFF with a sign", "ct.tif", tiff(1, little(9), [16], sample=2), SIGNED),
    ("floating-point TIFF", "depth.tif", tiff(1, struct.pack("<f", 0.5), [32], sample=3), FLOAT),
    ("floating-point PFM", "depth.pfm", b"Pf 1 1 -1.0\n" + struct.pack("<f", 0.5), FLOAT),
    ("floating-point colour TIFF", "hdr.tif",
     tiff(1, struct.pack("<3f", 0, 1, 1), [32] * 3, photometric=2, sample=3), A_TIFF),
    ("Radiance HDR", "sun.hdr", b"#?RADIANCE\n", f"{NOT_KNOWN}: a Radiance HDR picture"),
    ("empty file", "empty.png", b"", f"{NOT_KNOWN}: empty"),
    ("text called .png", "notes.png", b"no picture\n", f"{NOT_KNOWN}: text"),
    ("zip called .jpg", "all.jpg", b"PK\3\4" + bytes(30), f"{NOT_KNOWN}: a zip archive"),
    ("HTML page called .jpg", "404.jpg", b"<!DOCTYPE html><html>", f"{NOT_KNOWN}: an HTML page"),
    ("SVG drawing", "logo.svg", b"<svg xmlns='x'/>", f"{NOT_KNOWN}: an SVG drawing"),
    ("Git LFS pointer", "cat.jpg", b"version https://git-lfs.github.com/spec/v1\n",
     f"{NOT_KNOWN}: a Git LFS pointer, and git lfs pull fetches the picture"),
    ("HEIC of a telephone", "IMG_1.HEIC", b"\0\0\0\x18ftypheic" + bytes(20),
     f"{NOT_KNOWN}: HEIC, AVIF or a video that Pillow does not read; save it as JPEG or PNG"),
    ("PNG without pixels, 0 x 3", "thin.png", png(0, 8, 0, b"", b"", b""), f"{NOT_KNOWN}: a damaged PNG"),
    ("PNG cut in its head", "cut.png", b"\x89PNG cut short", f"{NOT_KNOWN}: a damaged PNG"),
    ("icon", "icon.ico", saved(of([[7] * 16] * 16), "ICO"), f"{NOT_KNOWN}: an icon"),
    ("icon of a Mac", "icon.icns", b"icns" + bytes(30), f"{NOT_KNOWN}: an icon"),
    ("EPS drawing, which is a program", "plot.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n", f"{NOT_KNOWN}: an EPS drawing"),
    ("IPTC around a larger picture", "a.iim", iptc(saved(of([[7] * 16] * 16))), NOT_KNOWN),
    ("JPEG cut in half", "half.jpg", HALF["JPEG"], None),
    ("PNG cut in half", "half.png", HALF["PNG"], None),
    ("unicode name", "Katze Жук 猫 😀.png", b"x", f"{NOT_KNOWN}: text"),
    ("name with a line break", "a\nb.png", b"x", f"{NOT_KNOWN}: text"),
]  # fmt: skip


def refused(path, settings):
    """The line of the pipeline; the library has the same reason."""
    with pytest.raises(InputError) as error:
        read_image(one(path), 0, settings)
    line = str(error.value)
    assert len(line.splitlines()) == 1
    with pytest.raises(PictureError) as library:
        read_picture(path, settings.channels)
    assert (
        str(library.value).partition("not read as a picture")[2]
        == line.partition("not an image that Pillow can read")[2]
    )
    return line


@pytest.mark.parametrize(("case", "name", "content", "reason"), REFUSED, ids=[each[0] for each in REFUSED])
def test_what_is_no_picture_is_named(case, name, content, reason, data, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    line = refused(path, data())
    title = printable(path)
    assert line.startswith(f"{title}: not an image that Pillow can read (")
    assert reason is None or line == f"{title}: not an image that Pillow can read ({reason})"
    assert reason is not None or re.search("truncated|Truncated|broken", line)
    note(SECTION, case, "refused before any work", line)


def test_what_is_no_file_is_named(data, tmp_path, monkeypatch):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    (tmp_path / "secret.png").write_bytes(saved(RED))
    said = {
        "folder.png": "Is a directory",
        "gone.png": "No such file or directory",
        "circle.png": "Too many levels of symbolic links",
    }
    for name, reason in said.items():
        line = refused(tmp_path / name, data())
        assert line == f"{tmp_path / name}: not an image that Pillow can read ({reason})"
        note(SECTION, f"{name.removesuffix('.png')} called .png", "refused before any work", line)

    def may_not(path, **_):
        raise PermissionError(13, os.strerror(13), str(path))

    monkeypatch.setattr(Image, "open", may_not)  # as root, who runs many tests, everything may be read
    line = refused(tmp_path / "secret.png", data())
    assert line.endswith("secret.png: not an image that Pillow can read (Permission denied)")
    note(SECTION, "a file without permission", "refused before any work", line)


ODD = (SyntaxError, struct.error, TypeError, ZeroDivisionError, MemoryError, OverflowError, AttributeError, KeyError)


@pytest.mark.parametrize(
    "raised", [*ODD, IndexError, EOFError, RecursionError, UnicodeDecodeError, NotImplementedError]
)
def test_whatever_a_plugin_raises_is_one_line(raised, data, tmp_path, monkeypatch):
    class Plugin(ImageFile.ImageFile):
        format = "ODD"

        def _open(self):
            self._mode, self._size = "L", (1, 1)

        def load(self):
            raise raised("utf-8", b"x", 0, 1, "two\nlines") if raised is UnicodeDecodeError else raised()

    monkeypatch.setattr(wfn.picture, "formats", lambda: ["ODD"])
    monkeypatch.setitem(Image.OPEN, "ODD", (Plugin, lambda prefix: prefix.startswith(b"ODD")))
    path = tmp_path / "odd.png"
    path.write_bytes(b"ODD" + bytes(20))
    assert raised is UnicodeDecodeError or f"({raised.__name__})" in refused(path, data())
    if raised is MemoryError:
        note(SECTION, "a plugin that raises MemoryError, TypeError, ...", "refused", refused(path, data()))


def test_a_plugin_that_a_program_registers_is_used(data, tmp_path, monkeypatch):
    """Also after other pictures were read."""

    class Plugin(ImageFile.ImageFile):
        format = "LATE"

        def _open(self):
            self._mode, self._size = "L", (1, 1)

        def load(self):
            self.im = Image.new("L", (1, 1), 7).im

    plain = tmp_path / "plain.png"
    plain.write_bytes(saved(RED))
    read_picture(plain, 3)
    monkeypatch.setattr(Image, "ID", [*Image.ID])
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "EXTENSION", dict(Image.EXTENSION))
    Image.register_open("LATE", Plugin, lambda prefix: prefix.startswith(b"LATE"))
    Image.register_extension("LATE", ".late")
    (tmp_path / "new.late").write_bytes(b"LATE")
    assert read_picture(tmp_path / "new.late", 1).getpixel((0, 0)) == 7
    assert find_pictures([tmp_path]) == [tmp_path / "new.late", plain]


# The largest picture


def wide(width, height):
    """A black picture of one bit a pixel."""
    return png(width, 1, 0, *[bytes((width + 7) // 8)] * height)


def test_more_pixels_than_the_setting(data, tmp_path):
    path = tmp_path / "poster.png"
    path.write_bytes(wide(2000, 1000))
    with pytest.raises(InputError) as error:
        read_image(one(path), 0, data(max_megapixels=1.5))
    assert str(error.value) == f"{path}: 2,000 x 1,000 pixels; allowed: data.max_megapixels = 1.5"
    assert read_image(one(path), 0, data(max_megapixels=2))[0].size == (2000, 1000)
    note(SECTION, "more pixels than `data.max_megapixels`", "refused, not decoded", str(error.value))


def test_a_bomb_in_pillows_eyes_that_the_setting_allows(data, tmp_path):
    """Pillow stops at 178,956,970 pixels."""
    path = tmp_path / "map.png"
    path.write_bytes(wide(13400, 13400))
    assert read_image(one(path), 0, data(channels=1))[0].size == (13400, 13400)
    note(SECTION, "13,400 x 13,400 pixels with `max_megapixels: 180`", "read, though Pillow alone calls it a bomb")


def test_a_picture_so_thin_that_scaling_makes_it_enormous(data, tmp_path):
    path = tmp_path / "line.png"
    path.write_bytes(wide(1, 10_000))
    assert read_image(one(path), 0, data(pixels=224))[0].size == (1, 10_000)
    with pytest.raises(InputError) as error:
        read_image(one(path), 0, data(pixels=224, storage="files"))
    said = "1 x 10,000 pixels, which timm scales to 224 x 2,240,000 at least; allowed: data.max_megapixels = 180"
    assert str(error.value) == f"{path}: {said}"
    note(SECTION, "1 x 10,000 pixels, storage: memory", "squashed to a square")
    note(SECTION, "1 x 10,000 pixels, storage: files", "refused", str(error.value))


# Folders and tables of them


def write_folder(root, contents, classes=("cat", "dog")):
    for name in classes:
        (root / name).mkdir(parents=True)
        for number, content in enumerate(contents):
            (root / name / f"{number}.png").write_bytes(content)


def test_a_ramp_of_16_bits_from_a_folder_to_the_pixels(data, tmp_path):
    write_folder(tmp_path, [png(8, 16, 0, *[big(*[each for each in RAMP[:4] for _ in range(2)])] * 8)] * 4)
    chosen = data(root=tmp_path, pixels=8, channels=1)
    assert memory.prepare(chosen, 0).train.pixels[0, 0, 0].tolist() == [0, 0, 64, 64, 129, 129, 194, 194]


MIXED = [saved(RED), saved(RED, "JPEG"), saved(RED, "JPEG", exif=turned(6)), png(1, 16, 0, big(5))]


def test_the_card_counts_formats_wherever_pictures_are_kept(data, tmp_path):
    for part in ("train", "val"):
        write_folder(tmp_path / part, MIXED)
    expected = {"JPEG": 2, "JPEG, turned": 2, "PNG": 2, "PNG, 16-bit grey": 2}
    for storage in ("memory", "files"):
        chosen = data(root=tmp_path, channels=3, storage=storage, statistics="model")
        card = memory.prepare(chosen, 0).card if storage == "memory" else streaming.prepare(chosen, 0)[1]
        assert card["stored_as"] == {"train": expected, "test": expected}
        assert list(card["stored_as"]["train"]) == sorted(expected)
    note(SECTION, "PNG and JPEG, some turned, some of 16 bits", f"card.json: {expected}")


@pytest.mark.parametrize("storage", ["memory", "files"])
def test_all_pictures_that_cannot_be_read_are_named_together(storage, data, tmp_path):
    for part in ("train", "val"):
        write_folder(tmp_path / part, [saved(RED), b"no", b"picture"])
    with pytest.raises(InputError) as error:
        {"memory": memory, "files": streaming}[storage].prepare(data(root=tmp_path, storage=storage), 0)
    line = str(error.value)
    assert len(line.splitlines()) == 1
    names = [f"train/{kind}/{n}" for kind in ("cat", "dog") for n in (1, 2)] + ["val/cat/1"]
    assert re.findall(r"(\w+/\w+/\d).png: not an image that Pillow can read", line) == names
    assert line.endswith("; and 3 more")
    note(SECTION, f"8 files that are no pictures, storage: {storage}", "all named together", line)


def write_parquet(root, contents):
    """Rows as the hub has them; a content of None is a row without a picture."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = [None if each is None else {"bytes": each, "path": None} for each in contents]
    table = datasets.Dataset.from_dict({"image": rows, "label": [n % 2 for n in range(len(rows))]}, features)
    root.mkdir(exist_ok=True)
    table.to_parquet(root / "train-00000-of-00001.parquet")


def test_pictures_in_parquet_are_turned_and_keep_their_format(data, tmp_path):
    write_parquet(tmp_path / "rows", [saved(of([[1, 2]]), exif=turned(3)), png(1, 16, 0, big(65535))])
    source = find_source(data(root=tmp_path / "rows")).train
    found = [read_image(source, row, data()) for row in range(2)]
    assert [(np.asarray(picture).tolist(), name) for picture, name in found] == [
        ([[2, 1]], "PNG, turned"),
        ([[255]], "PNG, 16-bit grey"),
    ]
    note(SECTION, "parquet with a picture that has an orientation", "“PNG, turned”: 2, 1")


def test_parquet_with_files_beside_it(data, tmp_path):
    (tmp_path / "beside.png").write_bytes(saved(of([[5]])))
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = [{"bytes": None, "path": str(tmp_path / "beside.png")}]
    (tmp_path / "rows").mkdir()
    datasets.Dataset.from_dict({"image": rows, "label": [0]}, features).to_parquet(
        tmp_path / "rows" / "train.parquet", storage_options=None
    )
    picture, name = read_image(find_source(data(root=tmp_path / "rows")).train, 0, data())
    assert (np.asarray(picture).tolist(), name) == ([[5]], "PNG")


@pytest.mark.parametrize(
    ("case", "content", "reason"),
    [
        ("a row of parquet with text", b"text", f"not an image that Pillow can read ({NOT_KNOWN}: text)"),
        ("an enormous picture in parquet", wide(2000, 1000), "2,000 x 1,000 pixels; allowed: data.max_megapixels = 1"),
    ],
)
def test_rows_that_are_no_pictures_are_named(case, content, reason, data, tmp_path):
    write_parquet(tmp_path / "rows", [saved(RED), content])
    chosen = data(root=tmp_path / "rows", max_megapixels=1)
    with pytest.raises(InputError) as error:
        read_image(find_source(chosen).train, 1, chosen)
    assert str(error.value) == f"data.root = {tmp_path / 'rows'}, train, image 1: {reason}"
    note(SECTION, case, "refused before any work", str(error.value))


# The sheet of examples


def write_colours(root, names, count=3):
    """Pictures of one level each; the file's number is in it, so that they can be told apart."""
    for label, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (16, 16), 5 * label + number).save(root / name / f"{number}.png")


def cells(content, side=112):
    """Levels of the pictures on a sheet, row by row: each is of one level, text stands beside on white."""
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    rows = range(4 + side // 2, pixels.shape[0], side + 4)
    starts = range(pixels.shape[1] - side - 4, 0, -(side + 4))
    found = [[np.unique(pixels[row, left : left + side]).tolist() for left in starts] for row in rows]
    return [[cell[0] for cell in row if len(cell) == 1 and cell != [255]][::-1] for row in found]


@pytest.mark.parametrize("storage", ["memory", "files"])
def test_the_sheet_has_the_first_training_pictures_of_each_class(storage, settings, tmp_path):
    """Those of a data set that was prepared are the same ones, and none is a test picture."""
    write_colours(tmp_path / "own", ["a", "b", "c"], count=5)
    changes = {"name": "own", "root": tmp_path / "own", "storage": storage, "pixels": 16, "test_share": 0.4}
    changes |= {"statistics": "model", "shift": 0}
    chosen = settings.changed({f"data.{key}": value for key, value in changes.items()})
    images, names = find_examples(chosen, 2)
    assert (images.pixels.dtype, list(names)) == (torch.uint8, ["a", "b", "c"])
    if storage == "memory":
        dataset = memory.prepare(chosen.data, chosen.seed)
        trained = dataset.train.pixels[:, 0, 0, 0].tolist()
    else:
        streaming.save(*streaming.prepare(chosen.data, chosen.seed), tmp_path / "data")
        dataset = streaming.load(tmp_path / "data", chosen.data, input_settings(chosen.model), 0)
        trained = [np.asarray(dataset.train.source.open(int(row)))[0, 0] for row in dataset.train.rows]
    assert torch.equal(dataset.examples(2).pixels, images.pixels)
    expected = [[level for level in trained if level // 5 == label][:2] for label in range(3)]
    assert cells(sheet(images, names)) == expected
    assert [len(row) for row in expected] == [2] * 3


def test_a_class_that_has_fewer_pictures_than_asked_for(settings, tmp_path):
    write_colours(tmp_path / "own", ["a", "b"], count=3)
    chosen = settings.changed({"data.name": "own", "data.root": tmp_path / "own", "data.pixels": 16})
    assert [len(row) for row in cells(sheet(*find_examples(chosen, 50)))] == [2, 2]
    note(SECTION, "`stages.data --show 50` of a class with 2 training pictures", "shows the 2")


def test_the_sheet_for_a_network_of_ones_own(settings, tmp_path):
    """Pictures that stay files are drawn as the network wants them, so its file is run first."""
    write_colours(tmp_path / "own", ["a", "b"], count=3)
    module = tmp_path / "networks.py"
    module.write_text((ROOT / "docs/examples/my_networks.py").read_text().replace("cifar_resnet20", "sheet_resnet20"))
    data = {
        "name": "own",
        "root": tmp_path / "own",
        "storage": "files",
        "statistics": "model",
        "pixels": 16,
        "shift": 0,
    }
    model = {"model.name": "sheet_resnet20", "model.module": str(module)}
    chosen = settings.changed({f"data.{key}": value for key, value in data.items()} | model)
    assert [len(row) for row in cells(sheet(*find_examples(chosen, 3)))] == [2, 2]
    note(SECTION, "`stages.data --show 3` with `storage: files` and a network of `model.module`", "draws them")


NAMES = ["猫 😀", "ein langer Name " * 20, "\udcff", "a\nb", "", *(f"n{number}" for number in range(60))]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("side", "drawn"), [(28, 112), (112, 112), (160, 112), (1, 112)])
def test_sizes_of_the_sheet(channels, side, drawn):
    """Small pictures are enlarged by whole factors, large ones reduced; many classes are cut; names change nothing."""
    pixels = torch.full((80, channels, side, side), 200, dtype=torch.uint8)
    content = sheet(Images(pixels, torch.arange(80) // 2), NAMES)
    width, height = Image.open(io.BytesIO(content)).size
    assert height == 4 + 40 * (drawn + 4) + 28
    assert 2 * (drawn + 4) < width < 200 + 2 * (drawn + 4)
    assert cells(content, drawn)[:40] == [[200, 200]] * 40
    if (channels, side) == (3, 28):
        note(SECTION, "1,000 classes, and names that are long or of other scripts", "the first 40, said on the sheet")


def test_which_pictures_are_shown_of_many_classes():
    labels = np.arange(900) % 45
    assert shown(labels, 2).tolist() == [place for label in range(40) for place in (label, label + 45)]
    assert shown(np.array([7, 3, 7, 3, 3]), 2).tolist() == [1, 3, 0, 2]


@pytest.fixture
def project(files):
    """The settings of a clone with its small profile."""
    write_tiny_profile(files)
    return files


@pytest.mark.slow
def test_stage_data_shows_and_does_nothing_else(project, capsys):
    before = {path.name for path in project.iterdir()}
    data_stage(show=3)
    assert capsys.readouterr().out == "examples.png\n"
    data_stage(show=3, out=Path("elsewhere/sheet.png"))
    assert Path("examples.png").read_bytes() == Path("elsewhere/sheet.png").read_bytes()
    assert {path.name for path in project.iterdir()} - before == {"examples.png", "elsewhere"}
    with Image.open("examples.png") as drawn:
        assert drawn.height == 4 + 10 * 116


@pytest.mark.slow
def test_pretrain_keeps_the_sheet_beside_the_baseline(project):
    """The pictures that `stages.data --show 8` draws."""
    data_stage(out=Path("data"))
    pretrain(runs=Path(), out=Path("baseline"))
    data_stage(show=8)
    assert Path("baseline/examples.png").read_bytes() == Path("examples.png").read_bytes()


# The table of docs/inputs.md

CASES_OF = {
    "grey or colour of 8 bits": "8-bit grey PNG",
    "an orientation (EXIF, XMP, TIFF)": "TIFF with an orientation",
    "an orientation that is damaged, or none of 1 to 8": "damaged EXIF",
    "grey of 16 or 12 bits": "16-bit grey PNG, 0 to 65,535",
    "a TIFF of grey whose 0 is white": "16-bit grey TIFF whose 0 is white",
    "colour of 16 bits, grey of 16 bits with alpha": "16-bit colour PNG",
    "transparency, of any kind": "black logo on transparent ground",
    "palette, black and white, CMYK, YCbCr, LAB": "CMYK TIFF",
    "a colour profile, gamma": "colour profile and gamma",
    "colour where one channel is wanted": "red where one channel is wanted",
    "grey where three are wanted": "grey where three are wanted",
    "several pictures: animation, pages": "GIF animation",
    "grey of 32 bits, with a sign, or floating point": "floating-point TIFF",
    "more pixels than `data.max_megapixels`": None,
    "cut short, damaged, no picture": "JPEG cut in half",
    "icons, EPS and other programs, IPTC around a picture": "icon",
}


def test_every_row_of_the_table_is_a_case():
    table = (ROOT / "docs/inputs.md").read_text().partition("## Pictures\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")][2:]
    assert rows == list(CASES_OF)
    known = {seen.case for seen in SEEN} | {case for case, *_ in REFUSED} | {None}
    assert set(CASES_OF.values()) <= known


def test_pixels_of_a_batch_are_those_of_the_sheet(data, tmp_path):
    """Every image of a class is of one colour, so that rounding between 0 and 1 would show."""
    for part in ("train", "val"):
        write_folder(tmp_path / part, [saved(of(np.full((40, 40), level))) for level in (0, 77, 255)])
    chosen = data(root=tmp_path, storage="files", pixels=32, channels=1)
    streaming.save(*streaming.prepare(chosen, 0), tmp_path / "data")
    known = {"mean": (0.3,), "std": (0.2,), "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center"}
    loaded = streaming.load(tmp_path / "data", chosen, known, 0)
    shown = loaded.examples(3)
    assert sorted(shown.pixels.flatten(1).unique(dim=1).flatten().tolist()) == [0, 0, 77, 77, 255, 255]
    assert torch.allclose(loaded.sample(1), ((loaded.sample(1) * 0.2 + 0.3) * 255).round() / 255 / 0.2 - 1.5, atol=1e-5)
