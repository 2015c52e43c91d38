"""Files whose checksums all hold and that a decoder refuses nevertheless, as docs/format.md says."""

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

TABLE = bytes([128, 64, 128, 64, 0, 0])  # 8,192 twice, and symbol K never occurs
STATE = struct.pack("<I", 65536)
HALVES = struct.pack("<2f", 0.0, 0.5)


def file_of(header: bytes, sections: list[bytes]) -> bytes:
    """A packed file of a header and sections."""
    packed = zlib.compress(header)
    body = b"".join(part + bytes(-len(part) % 8) for part in (packed, *sections))
    prefix = struct.pack("<8sHHIQI", b"\x89WFN\r\n\x1a\n", 1, 0, len(packed), 32 + len(body), 0)
    return prefix + struct.pack("<I", zlib.crc32(prefix + packed)) + body


def coded(**changes: Any) -> bytes:
    """A file of one coded tensor, of 16 values, with changes: of the header's keys, the tensor's, the sections."""
    stream = encoded([0, 1] * 8)
    sections = [HALVES, TABLE, stream, *changes.pop("more", [])]
    for number, content in changes.pop("sections", {}).items():
        sections[number] = content
    sections = [section for section in sections if section is not None]
    tensor = {"name": "a", "dtype": "float32", "shape": [16], "table": 0, "stream": 2} | changes.pop("tensor", {})
    header = {
        "sections": [[len(section), zlib.crc32(section)] for section in sections],
        "codebooks": [{"dtype": "float32", "values": 2}],
        "tables": [0],
        "tensors": [{key: value for key, value in tensor.items() if value is not None}],
        "network": None,
        "metadata": {},
    } | changes
    return file_of(json.dumps(header).encode(), sections)


def encoded(indices: list[int]) -> bytes:
    """Indices as a stream of one state, with TABLE."""
    x, words = 65536, []
    for k in reversed(indices):
        if x >= 8192 << 18:
            words.append(x % 65536)
            x //= 65536
        x = x // 8192 * 16384 + x % 8192 + 8192 * k
    return struct.pack(f"<I{len(words)}H", x, *reversed(words))


def refused() -> list[tuple[str, bytes]]:
    """What is wrong, and the file."""
    return [*_headers(), *_tables_and_streams(), *_tensors()]


def _headers() -> Iterator[tuple[str, bytes]]:
    good = coded()
    yield "another magic", b"\x88" + good[1:]
    yield "nothing", b""
    yield "cut off at its start", good[:20]
    yield "a byte behind it", good + b"\0"
    empty = '{"sections":[[0,0],[0,0]],"codebooks":[],"tables":[],"tensors":[],"network":null,"metadata":{}}'
    yield "JSON in another encoding", file_of(empty.encode("utf-16"), [b"", b""])
    yield "a key twice", file_of(empty.replace("{}", '{"a":1,"\\u0061":2}').encode(), [b"", b""])
    yield "a number that JSON has not", file_of(empty.replace("{}", '{"a":NaN}').encode(), [b"", b""])
    yield "no JSON", file_of(b"{", [])
    yield "a header of another kind", file_of(b"[]", [])
    yield "keys missing", file_of(b"{}", [])
    yield "a header beyond 4 MiB", file_of(b" " * (4 << 20) + empty.encode(), [b"", b""])
    yield "metadata that are no object", coded(metadata=[])
    yield "a network that is no object", coded(network="resnet18")
    yield "a truth value for a number", coded(tables=[False])
    yield "a codebook that is not there", coded(tables=[1])
    many = [{"dtype": "float32", "values": 16384}]
    yield "too many values in a codebook", coded(codebooks=many, sections={0: bytes(65536)})
    yield "a longer codebook section", coded(sections={0: HALVES + b"\0"})
    yield "a shorter codebook section", coded(sections={0: HALVES[:-1]})
    yield "a section of no tensor", coded(more=[b""])


def _tables_and_streams() -> Iterator[tuple[str, bytes]]:
    yield "frequencies that are too few", coded(sections={1: bytes([127, 128, 64, 0, 0])})
    yield "frequencies that are too many", coded(sections={1: bytes([128, 64, 128, 64, 1])})
    yield "too many zeros in a table", coded(sections={1: bytes([128, 64, 128, 64, 0, 1])})
    yield "a table that is cut off", coded(sections={1: TABLE[:-1]})
    yield "more behind the tables", coded(sections={1: TABLE + b"\0"})
    stream = encoded([0, 1] * 8)
    yield "a stream without states", coded(sections={2: b"\0\0"})
    yield "a stream of an odd length", coded(sections={2: stream + b"\0"})
    yield "a stream with a word too many", coded(sections={2: stream + b"\0\0"})
    yield "a stream of more values", coded(tensor={"shape": [15]})
    yield "a stream of fewer values", coded(tensor={"shape": [17]})
    yield "a stream that is missing", coded(tensor={"stream": None}, sections={2: None})
    yield "others that no table speaks of", coded(tensor={"others": 3}, more=[zlib.compress(b"")])
    escapes = {1: bytes([128, 64, 0, 0, 128, 64])}  # 0.0 and what is not in the codebook, half each
    there = escapes | {2: stream}
    yield "others that are missing", coded(sections=there)
    for what, count in (("too few others", 7), ("too many others", 9)):
        yield what, coded(tensor={"others": 3}, sections=there, more=[zlib.compress(bytes(4 * count))])
    large = {"shape": [1 << 13, 1 << 13], "stream": None}
    yield "one value too often", coded(tensor=large, sections={1: bytes([128, 128, 1, 0, 1]), 2: None})


def _tensors() -> Iterator[tuple[str, bytes]]:
    nowhere = {"table": None, "stream": None}
    yield "a negative number", coded(tensor={"shape": [-16, -1]})
    yield "a fraction", coded(tensor={"shape": [16.5]})
    yield "nine dimensions", coded(tensor={"shape": [16] + [1] * 8})
    yield "a shape that is no list", coded(tensor={"shape": ""})
    yield "an impossible shape", coded(tensor=nowhere | {"shape": [1 << 24, 1 << 24, 0]}, sections={2: None})
    yield "an unknown type", coded(tensor={"dtype": "float128"})
    yield "a codebook of another type", coded(tensor={"dtype": "int32"})
    yield "no name", coded(tensor={"name": None})
    yield "a section for the tables and a tensor", coded(tensor={"stream": 1})
    yield "a section that is not there", coded(tensor={"stream": 3})
    yield "a table that is not there", coded(tensor={"table": 1})
    yield "values in two places", coded(tensor={"raw": 2})
    yield "values nowhere", coded(tensor=nowhere)
    yield "a stream without a table", coded(tensor={"table": None, "raw": 2}, sections={2: zlib.compress(bytes(64))})
    raw = nowhere | {"raw": 2}
    for what, section in (
        ("a section with too few values", zlib.compress(bytes(60))),
        ("a section with too many values", zlib.compress(bytes(68))),
        ("a deflated section that is cut off", zlib.compress(bytes(64))[:-1]),
        ("more behind a deflated section", zlib.compress(bytes(64)) + b"\0"),
        ("a section that is not deflated", bytes(64)),
    ):
        yield what, coded(tensor=raw, sections={2: section})
    first = {"name": "a", "dtype": "float32", "shape": [16], "table": 0, "stream": 2}
    second = {"name": "b", "dtype": "float32", "shape": [16], "same": "a"}
    yield "two tensors of a name", coded(tensors=[first, second | {"name": "a"}])
    yield "a section for two tensors", coded(tensors=[first, first | {"name": "b"}])
    yield "the same as a later one", coded(tensors=[second, first])
    yield "the same as one of another shape", coded(tensors=[first, second | {"shape": [4, 4]}])
    yield "the same as itself", coded(tensors=[first, second | {"same": "b"}])
