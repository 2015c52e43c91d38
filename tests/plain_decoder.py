"""A decoder of packed files written from docs/format.md alone: Python as it comes, no packages."""

import json
import math
import struct
import zlib
from itertools import accumulate

SIZES = dict.fromkeys(("bool", "uint8", "int8", "float8_e4m3fn", "float8_e5m2"), 1)
SIZES |= dict.fromkeys(("float16", "bfloat16", "int16"), 2) | dict.fromkeys(("float32", "int32"), 4)
SIZES |= dict.fromkeys(("float64", "int64", "complex64"), 8)


def decode(content: bytes) -> dict:
    """The "header", and as "tensors" by name (type, shape, bit patterns). ValueError for what is to be refused."""
    try:
        header, sections = container(content)
        return {"header": header, "tensors": tensors_of(header, sections, (128 << 20) + 32 * len(content))}
    except (LookupError, TypeError, StopIteration, RecursionError, struct.error, zlib.error) as error:
        raise ValueError(f"damaged: {error!r}") from None


def need(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"damaged: {what}")


def number(value: object, below: int) -> int:
    need(type(value) is int and 0 <= value < below, f"{str(value)[:20]} is no whole number below {below}")
    return value


def inflate(data: bytes, most: int) -> bytes:
    stream = zlib.decompressobj()
    content = stream.decompress(data, most + 1)
    need(len(content) <= most and stream.eof and not stream.unused_data, "a deflated part that ends elsewhere")
    return content


def grouped(data: bytes, count: int, size: int) -> list[int]:
    content = inflate(data, count * size)
    need(len(content) == count * size, "too few values")
    return [int.from_bytes(content[i::count], "little") for i in range(count)]


def unique(pairs: list[tuple[str, object]]) -> dict:
    need(len(dict(pairs)) == len(pairs), "a key twice")
    return dict(pairs)


def container(content: bytes) -> tuple[dict, list[bytes]]:
    magic, major, _, length, total, zero, checksum = struct.unpack_from("<8sHHIQII", content)
    need(magic == b"\x89WFN\r\n\x1a\n" and major == 1, "no packed file of version 1")
    need(total == len(content) and zero == 0, "its length")
    need(zlib.crc32(content[:28] + content[32 : 32 + length]) == checksum, "the header")
    text = inflate(content[32 : 32 + length], 4 << 20).decode()
    header = json.loads(text, object_pairs_hook=unique, parse_constant=lambda word: need(False, word))
    need(type(header["metadata"]) is dict and type(header["network"] or {}) is dict, "network or metadata")
    sections, end = [], 32 + length
    for length, checksum in header["sections"]:
        start = end + -end % 8
        sections.append(content[start : start + number(length, total)])
        need(zlib.crc32(sections[-1]) == number(checksum, 1 << 32), f"section {len(sections) - 1}")
        need(not any(content[end:start]), "between sections")
        end = start + length
    need(end + -end % 8 == total and not any(content[end:]), "behind the last section")
    return header, sections


def varint(stream) -> int:
    byte = next(stream)
    return byte if byte < 128 else byte - 128 + 128 * varint(stream)


def tables_of(header: dict, values: bytes, varints: bytes) -> list[tuple]:
    """Of each table the type and the values of its codebook, and the frequencies."""
    codebooks, tables, end, stream = [], [], 0, iter(varints)
    for book in header["codebooks"]:
        start, size = end, SIZES[book["dtype"]]
        end += size * number(book["values"], 16384)
        patterns = [int.from_bytes(values[i : i + size], "little") for i in range(start, end, size)]
        codebooks.append((book["dtype"], patterns))
    for dtype, codebook in (codebooks[number(book, len(codebooks))] for book in header["tables"]):
        frequencies = []
        while len(frequencies) <= len(codebook):
            frequencies.append(varint(stream))
            if frequencies[-1] == 0:
                frequencies += [0] * number(varint(stream), len(codebook) + 2 - len(frequencies))
        need(sum(frequencies) == 16384, "frequencies that do not add up")
        tables.append((dtype, codebook, frequencies))
    need(end == len(values) and not [*stream], "codebooks or tables")
    return tables


def indices_of(section: bytes, table: list[int], count: int) -> list[int]:
    lanes, indices = 8 if count >= 4096 else 1, []
    states, words = [*struct.unpack_from(f"<{lanes}I", section)], struct.iter_unpack("<H", section[4 * lanes :])
    symbols, start = [k for k, frequency in enumerate(table) for _ in range(frequency)], [*accumulate(table, initial=0)]
    for i in range(count):
        high, slot = divmod(states[i % lanes], 16384)
        k = symbols[slot]
        x = table[k] * high + slot - start[k]
        states[i % lanes] = x if x >= 65536 else 65536 * x + next(words)[0]
        indices.append(k)
    need(set(states) == {65536} and not [*words], "a stream that ends elsewhere")
    return indices


def tensors_of(header: dict, sections: list[bytes], limit: int) -> dict[str, tuple]:
    tables, tensors, own = tables_of(header, *sections[:2]), {}, dict(enumerate(sections[2:], 2))
    for entry in header["tensors"]:
        name, dtype, shape, ways = entry["name"], entry["dtype"], entry["shape"], {"same", "raw", "table"} & {*entry}
        need(type(name) is str and name not in tensors, f"{name} twice")
        need(type(shape) is list and len(shape) <= 8, f"{name}: shape")
        need(math.prod(max(1, number(side, 1 << 48)) for side in shape) < 1 << 48, f"{name}: shape")
        count, size, bits = math.prod(shape), SIZES[dtype], []
        need(len(ways) == (count > 0) or ways == {"same"}, f"{name}: its values are nowhere")
        need(ways == {"table"} or not {"stream", "others"} & {*entry}, f"{name}: a stream without a table")
        limit -= 0 if ways == {"same"} else count * size
        need(limit >= 0, f"{name} takes more memory than is allowed")
        where = {key: number(entry[key], 1 << 32) for key in ("raw", "table", "stream", "others") if key in entry}
        if ways == {"same"}:
            *like, bits = tensors[entry["same"]]
            need(like == [dtype, shape], f"{name} is not like {entry['same']}")
        elif ways == {"raw"}:
            bits = grouped(own.pop(where["raw"]), count, size)
        elif ways == {"table"}:
            of, codebook, table = tables[where["table"]]
            need(of == dtype and ("others" in where) == ("stream" in where and table[-1] > 0), f"{name}: its table")
            if "stream" in where:
                indices = indices_of(own.pop(where["stream"]), table, count)
            else:
                indices = [table[:-1].index(16384)] * count
            missing = indices.count(len(codebook))
            others = iter(grouped(own.pop(where["others"]), missing, size) if "others" in where else [])
            bits = [next(others) if k == len(codebook) else codebook[k] for k in indices]
        tensors[name] = dtype, shape, bits
    need(not own, "a section without a tensor")
    return tensors
