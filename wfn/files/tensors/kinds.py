"""What a file is, told by its content: what people name as weights is often something else, or no longer whole."""

from __future__ import annotations

import codecs
import zipfile
from pathlib import Path
from typing import Any

from wfn.plain_json import parse_json

SAFETENSORS, TORCH, OLD_TORCH, PACKED = "safetensors", "torch", "old torch", "packed"

HEAD = 512  # bytes that tell
LISTS = 1 << 24  # characters; no list of the parts of a file has more
# A pickle of the number with which torch's files of before version 1.6 begin.
OLD_TORCH_START = bytes.fromhex("8a0a6cfc9c46f9206aa850192e")
BEGINNINGS = (
    (b"\x89WFN\r\n\x1a\n", PACKED),
    (b"version https://git-lfs", "a Git LFS pointer in place of the file; git lfs pull fetches that"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (.h5), as Keras and TensorFlow write"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"GGUF", "a GGUF file"),
    (b"\x1f\x8b", "a compressed file (.gz); unpack it first"),
    (b"BZh", "a compressed file (.bz2); unpack it first"),
    (b"\xfd7zXZ\x00", "a compressed file (.xz); unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a compressed file (.zst); unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a .7z archive; unpack it first"),
    (b"Rar!", "a .rar archive; unpack it first"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"%PDF", "a PDF"),
)
PAGES = ("<!doctype html", "<html", "<head")
# Names inside of a .zip archive, by their ends.
INSIDE = (
    ("constants.pkl", "a TorchScript archive, which is a program; save the network's state_dict() instead"),
    ("data.pkl", TORCH),
    ("model.weights.h5", "a Keras file (.keras)"),
    ("serialized_exported_program.json", "a program of torch.export (.pt2); save the network's state_dict() instead"),
    ("models/model.json", "a program of torch.export (.pt2); save the network's state_dict() instead"),
    (".npy", "a NumPy archive (.npz)"),
    ("[Content_Types].xml", "an office document"),
)


def what_is(path: Path) -> str:
    """SAFETENSORS, TORCH, OLD_TORCH or PACKED for a file that seems to be that; for any other, what it is, in words.

    Raises OSError for a file that cannot be read.
    """
    if path.is_dir():
        return "a folder"
    if path.exists() and not path.is_file():
        return "a pipe or a device, and no file"
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return "an empty file"
    for beginning, kind in BEGINNINGS:
        if head.startswith(beginning):
            return kind
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip(path, head)
    if OLD_TORCH_START in head[:16]:
        return OLD_TORCH
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40:
        return SAFETENSORS
    if head[257:262] == b"ustar":
        return "a .tar archive; unpack it first"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite file"
    if head[:1] == b"\x08" and head[1:2] < b"\x20" and head[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x3a", b"\x42"):
        return "an ONNX file"  # the version of its format, a small number, then its next field
    if head[:1] == b"\x80" and head[1:2] < b"\x08":
        return "a pickle that torch.save did not write; reading one may run programs, so it was not read"
    return _text(path, head) or "no file of tensors, nor of any other known kind"


def _zip(path: Path, head: bytes) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # whatever a damaged archive makes of it
        what = "a torch file" if b"/data.pkl" in head else "a .zip archive"
        return f"{what} that was cut short, or is damaged"
    for end, kind in INSIDE:
        if any(name.endswith(end) for name in names):
            return kind
    return "a .zip archive of other files; unpack it first" if names else "an empty .zip archive"


def _text(path: Path, head: bytes) -> str | None:
    try:
        decoder = codecs.getincrementaldecoder("utf-8-sig")()  # the last character may not be whole
        text = decoder.decode(head, final=len(head) < HEAD).lstrip()
    except UnicodeDecodeError:
        return None
    if any(not (character.isprintable() or character.isspace()) for character in text):
        return None
    if text.lower().startswith(PAGES):
        return "an HTML page, such as a site shows in place of a file; download the file itself"
    if text.startswith("<?xml"):
        return "an XML text, such as a server sends in place of a file; download the file itself"
    if "/annex/objects/" in text:
        return "a git-annex pointer in place of the file; git annex get fetches that"
    if text.startswith(("{", "[")):
        with path.open(errors="replace") as file:
            parts = "weight_map" in file.read(LISTS)
        return "a list of the parts of a file, in JSON; name one file that holds all" if parts else _JSON
    return "a text"


_JSON = "a JSON text, such as a server sends in place of a file"


def why_no_safetensors(path: Path) -> str:
    """In words, what is wrong with a file that seemed to be SAFETENSORS."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if 8 + length > size:
            return "a safetensors file that was cut short, or is damaged: its header is not whole"
        text = file.read(length)
    try:
        header: dict[str, Any] = parse_json(text.decode())
        needed = (
            8 + length + max((each["data_offsets"][1] for key, each in header.items() if key[:2] != "__"), default=0)
        )
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return "a safetensors file whose header is damaged"
    if needed > size:
        return f"a safetensors file that was cut short: it has {size:,} of {needed:,} bytes"
    return "a safetensors file that is damaged: its header does not fit its content"
