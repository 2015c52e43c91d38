"""Data sets, pictures, settings and packed files that are made to harm whoever reads them."""

from __future__ import annotations

import io
import json
import random
import struct
import tarfile
import zlib
from collections.abc import Mapping
from typing import Any

from benchmarks.faults.damage import INTEGERS, damaged, forged
from benchmarks.faults.malicious import MARKER
from tests.packed_parts import of_parts, parts_of
from wfn.packed.network.allowed import ARGUMENTS

MEGABYTE = 1 << 20


def tar(members: Mapping[str, bytes]) -> bytes:
    """A tar file."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def _head(name: str, kind: bytes, size: int) -> bytes:
    """A block before a member; a negative size is written as GNU's tar does."""
    member = tarfile.TarInfo(name)
    member.type = kind
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"%011o\0" % size if size >= 0 else size.to_bytes(12, "big", signed=True)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def of_tar(content: bytes) -> dict[str, bytes]:
    """In place of a WebDataset shard."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = {each.name: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]
    (first, *_) = (name for name in members if name.endswith(".cls"))
    labels = {
        "a label --5": b"--5",
        "a label of 2**70": str(2**70).encode(),
        "a label of 5,000 digits": b"9" * 5000,
        "a label in Thai digits": "๕".encode(),
        "a label of control characters": b"\x1b[31m\n\0",
    }
    many = {f"{number}.{end}": each for number in range(3000) for end, each in (("png", b"x"), ("cls", b"a"))}
    pax = _head("a", tarfile.XHDTYPE, 0) * 5000
    only_json = {name: each for name, each in members.items() if not name.endswith(".cls")}
    deep = {**only_json, first.replace(".cls", ".json"): b'{"label":' + b"[" * 100_000}
    long = {**only_json, first.replace(".cls", ".json"): b'{"label":' + b"9" * 5000 + b"}"}
    return {
        **{what: tar({**members, first: label}) for what, label in labels.items()},
        "a label of 1 MB beside 3,000": tar({**members, **many, "9999.png": b"x", "9999.cls": b"b" * MEGABYTE}),
        "a label in JSON 100,000 deep": tar(deep),
        "a label in JSON of 5,000 digits": tar(long),
        "a member of -512 bytes": content[:-1024] + _head("x", b"0", -512) + bytes(1024),
        "a member of -1024 bytes of no known kind": _head("x", b"Z", -1024) + content,
        "a member of 2**50 bytes": _head("0.png", b"0", 2**33 - 1) + content,
        "5,000 heads for one member": pax + content,
        "a link to a file elsewhere": _head("5.png", tarfile.SYMTYPE, 0) + content,
        "a member in a folder elsewhere": tar({**members, "../../" + MARKER: b"x", "../../5.cls": b"1"}),
    }


def of_parquet(_: bytes) -> dict[str, bytes]:
    """In place of a parquet file."""
    import pyarrow
    import pyarrow.parquet

    def written(images: list[Any], labels: list[Any], metadata: dict[str, str] | None = None) -> bytes:
        table = pyarrow.table({"image": images, "label": labels})
        file = io.BytesIO()
        pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), file)
        return file.getvalue()

    def huggingface(feature: object) -> dict[str, str]:
        return {"huggingface": json.dumps({"info": {"features": feature}})}

    picture = [{"bytes": b"x", "path": MARKER}]
    return {
        "a class with a name of 1 MB": written([b"x"] * 20_000, ["a"] * 19_999 + ["b" * MEGABYTE]),
        "labels of 2**60": written([b"x"] * 2, [2**60, 1]),
        "types of columns that are code": written(picture, [0], huggingface({"image": {"_type": "os.system"}})),
        "types of columns 900 deep": written(picture, [0], huggingface(json.loads("[" * 900 + "]" * 900))),
        "types of columns 50,000 deep": written(
            picture, [0], {"huggingface": '{"info": {"features": ' + "[" * 50_000 + "]" * 50_000 + "}}"}
        ),
        "a picture in a file elsewhere": written([{"bytes": None, "path": "/etc/passwd"}] * 2, [0, 1]),
        "names of control characters": written([b"x"] * 2, ["\x1b[31m", "\n"]),
    }


def png(width: int, height: int, *chunks: tuple[bytes, bytes], bits: int = 8, colour: int = 2) -> bytes:
    """A PNG of these chunks behind its head, with their checksums."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    written = b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in ((b"IHDR", head), *chunks, (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + written


def _zeros(length: int) -> bytes:
    """So many zeros, deflated."""
    return zlib.compress(bytes(length), 9)


def of_pictures(content: bytes) -> dict[str, bytes]:
    """In place of a picture."""
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n"
    comment, plain = _zeros(256 * MEGABYTE), (b"IDAT", _zeros(32 * 97))
    return {
        "a PNG of 60,000 x 60,000": png(60_000, 60_000, (b"IDAT", _zeros(MEGABYTE))),
        "a PNG of 2**31 x 2**31": png(2**31 - 1, 2**31 - 1, (b"IDAT", b"")),
        "a PNG of 3,000 x 3,000, black": png(3000, 3000, (b"IDAT", _zeros(3000 * 9001))),
        "a PNG of 1 x 9,000,000": png(1, 9_000_000, (b"IDAT", _zeros(9_000_000 * 4))),
        "a PNG with a text of 256 MiB, compressed": png(32, 32, (b"zTXt", b"a\0\0" + comment), plain),
        "a PNG with a profile of 256 MiB, compressed": png(32, 32, (b"iCCP", b"a\0\0" + comment), plain),
        "a PNG with 100,000 texts": png(32, 32, *[(b"tEXt", b"a\0b")] * 100_000, plain),
        "a PNG with 256 MiB behind 32 lines": png(32, 32, (b"IDAT", comment)),
        "PostScript": postscript + f"({MARKER}) (w) file closefile\nshowpage\n".encode(),
        "an SVG that includes a file": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>',
        "a GIF of 10,000 pictures": b"GIF89a \0 \0\x80\0\0\0\0\0\xff\xff\xff"
        + b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0" * 10_000
        + b";",
        "a TIFF whose directory follows itself": b"II*\0\x08\0\0\0\x01\0\x00\x01\x04\0\x01\0\0\0 \0\0\0\x08\0\0\0",
        "a BMP of 2**31 lines": b"BM" + struct.pack("<IHHIIiiHH", 60, 0, 0, 54, 40, 32, -(2**31), 1, 24) + bytes(24),
        "nothing": b"",
        "a name of control characters inside": content.replace(b"IHDR", b"\x1b[3m"),
    }


def of_settings(content: bytes) -> dict[str, bytes]:
    """In place of params.yaml or a profile."""
    laughs = ["a0: &a0 [lol]"] + [f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]" for n in range(12)]
    command = f"touch {MARKER}"
    added = {
        "a tag that runs a command": f'x: !!python/object/apply:os.system ["{command}"]',
        "a tag that makes an object": f'x: !!python/object/new:subprocess.Popen [["touch", "{MARKER}"]]',
        "a tag that imports": "x: !!python/module:antigravity",
        "a command in a text": f'x: "$({command})"',
        "aliases of 10**12 values": "\n".join(laughs),
        "an alias that holds itself": "x: &x [*x]",
        "lists 100,000 deep": "x: " + "[" * 100_000,
        "mappings 100,000 deep": "x: " + "{a: " * 50_000,
        "keys 10,000 deep by indentation": "\n".join(" " * n + "a:" for n in range(600)),
        "20,000 unknown keys": "\n".join(f"k{n}: {n}" for n in range(20_000)),
        "20,000 unknown keys of one section": "data:\n" + "\n".join(f"  k{n}: {n}" for n in range(20_000)),
        "a key of 200,000 letters": "k" * 200_000 + ": 1",
        "a text of control characters": 'x: "\\e[31m\\0\\n"',
        "a number of 100,000 digits": "x: " + "9" * 100_000,
        "a merged mapping": "x: {<<: {a: 1}}",
        "100,000 anchors": "\n".join(f"k{n}: &a{n} 1" for n in range(12_000)),
        "100,000 comments": "#\n" * 100_000,
    }
    return {
        **{what: content + b"\n" + text.encode() + b"\n" for what, text in added.items()},
        "50 MB": b"a: " + b"x" * 50_000_000,
        "UTF-16": content.decode().encode("utf-16"),
        "a NUL": content + b"\0",
        "no text": bytes(range(256)),
    }


def _packed(header: object, sections: list[bytes]) -> bytes:
    """A packed file of a header as it is given and these sections, the checksum of its head right."""
    return of_parts(zlib.compress(json.dumps(header).encode()), sections)


def forged_packed(content: bytes, choices: random.Random) -> tuple[str, bytes]:
    """With another header, or another section whose checksum is right."""
    header, sections = parts_of(content)
    where = choices.choice(("network", "tensors", "all", "section"))
    if where == "section":
        number = choices.randrange(len(sections))
        what, sections[number] = damaged(sections[number], choices)
        header["sections"] = [[len(each), zlib.crc32(each)] for each in sections]
        return f"section {number}: {what}", _packed(header, sections)
    if where == "all":
        what, header = forged(header, choices)
    else:
        what, header[where] = forged(header[where], choices)
    return f"{where}: {what}", _packed(header, sections)


SIZES: tuple[Any, ...] = (0, -1, 10**9, 1e308, "x", [], [0, 0])


def of_packed(content: bytes) -> dict[str, bytes]:
    """In place of a packed file."""
    header, sections = parts_of(content)
    tensors, network = header["tensors"], header["network"]

    def with_network(**changes: object) -> bytes:
        return _packed({**header, "network": {**network, **changes}}, sections)

    def with_input(**changes: object) -> bytes:
        return with_network(input={**network["input"], **changes})

    strange = {
        f"{name}, {key} = {value!r}": with_network(timm=name, arguments={key: value})
        for name, keys in (("test_resnet", ARGUMENTS), ("test_vit", ARGUMENTS[:7]))
        for key in keys
        for value in SIZES
    }
    numbers = {f"input.mean = {number}"[:40]: with_input(mean=[number] * 3) for number in (*INTEGERS, 10**400, 1e308)}
    return {
        **strange,
        **numbers,
        "input.std of 10**-400": with_input(std=[1e-320] * 3),
        "a picture of 16,384 x 16,384": with_input(crop=[1 << 14, 1 << 14]),
        "a network from the hub": with_network(timm="hf-hub:owner/name"),
        "a network from a folder": with_network(timm="local-dir:/etc"),
        "weights from elsewhere": with_network(arguments={"pretrained_cfg": {"file": "/etc/passwd"}}),
        "a header of 1 GiB, deflated": of_parts(_zeros(1 << 30), sections),
        "a header of lists 100,000 deep": of_parts(zlib.compress(b"[" * 100_000), sections),
        "2**47 values of one kind": _packed({**header, "tensors": [{**tensors[0], "shape": [2**47]}]}, sections),
        "100,000 tensors": _packed(
            {**header, "tensors": [{"name": str(n), "dtype": "int8", "shape": [0]} for n in range(100_000)]}, sections
        ),
        "names of control characters": _packed({**header, "tensors": [{**tensors[0], "name": "\x1b[31m\n"}]}, sections),
        "a pickle": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x10touch executed  \x85R.",
    }
