"""A decoder of packed files written from docs/format.md alone: Python as it comes, no packages."""

import json
import math
import struct
import zlib

SIZES = dict.fromkeys(("bool", "uint8", "int8", "float8_e4m3fn", "float8_e5m2"), 1)
SIZES |= dict.fromkeys(("float16", "bfloat16", "int16"), 2) | dict.fromkeys(("float32", "int32"), 4)
SIZES |= dict.fromkeys(("float64", "int64", "complex64"), 8)
WRONG = (KeyError, TypeError, IndexError, AttributeError, StopIteration, RecursionError, struct.error, zlib.error)


def decode(content: bytes) -> dict:
    """The "header", and as "tensors" by name (type, shape, bit patterns). ValueError for what is to be refused."""
    try:
        header, sections = container(content)
        return {"header": header, "tensors": tensors_of(header, sections, (128 << 20) + 32 * len(content))}
    except WRONG as error:
        raise ValueError(f"damaged: {error!r}") from None


def need(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"damaged: {what}")


def number(value: object, below: int) -> int:
    need(type(value) is int and 0 <= value < below, f"{value!r} is no whole number below {below}")
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
    header = json.loads(inflate(content[32 : 32 + length], 4 << 20).decode(), object_pairs_hook=unique)
    sections, end = [], 32 + length
    for length, checksum in header["sections"]:
        start = end + -end % 8
        sections.append(content[start : start + number(length, total)])
        need(zlib.crc32(sections[-1]) == number(checksum, 1 << 32), f"section {len(sections) - 1}")
        need(not any(content[end:start]), "between sections")
        end = start + length
    need(end + -end % 8 == total and not any(content[end:]), "behind the last section")
    return header, sections


def tables_of(header: dict, values: bytes, varints: bytes) -> list[tuple]:
    """Of each table the type and the values of its codebook, and the frequencies."""
    codebooks, tables, at, stream = [], [], 0, iter(varints)
    for book in header["codebooks"]:
        start, size = at, SIZES[book["dtype"]]
        at += size * number(book["values"], 16384)
        patterns = [int.from_bytes(values[i : i + size], "little") for i in range(start, at, size)]
        codebooks.append((book["dtype"], patterns))
    for dtype, codebook in (codebooks[number(book, len(codebooks))] for book in header["tables"]):
        frequencies: list[int] = []
        while len(frequencies) <= len(codebook):
            frequencies.append(varint(stream))
            if frequencies[-1] == 0:
                frequencies += [0] * number(varint(stream), len(codebook) + 2 - len(frequencies))
        need(sum(frequencies) == 16384, "frequencies that do not add up")
        tables.append((dtype, codebook, frequencies))
    need(at == len(values) and not [*stream], "codebooks or tables")
    return tables


def varint(stream) -> int:
    byte = next(stream)
    return byte if byte < 128 else byte - 128 + 128 * varint(stream)


def tensors_of(header: dict, sections: list[bytes], limit: int) -> dict[str, tuple]:
    tables, tensors, own = tables_of(header, *sections[:2]), {}, dict(enumerate(sections[2:], 2))
    for entry in header["tensors"]:
        name, dtype, shape, bits = entry["name"], entry["dtype"], entry["shape"], []
        need(type(name) is str and name not in tensors and len(shape) <= 8, f"{name}: its name or shape")
        count, size = math.prod(number(side, 1 << 48) for side in shape), SIZES[dtype]
        need(sum(way in entry for way in ("same", "raw", "table")) == (count > 0), f"{name}: its values are nowhere")
        if "same" in entry:
            *like, bits = tensors[entry["same"]]
            need(like == [dtype, shape], f"{name} is not like {entry['same']}")
        else:
            limit -= count * size
            need(limit >= 0, f"{name} takes more memory than is allowed")
        if "raw" in entry:
            bits = grouped(own.pop(number(entry["raw"], 1 << 32)), count, size)
        if "table" in entry:
            of, codebook, table = tables[number(entry["table"], len(tables))]
            need(of == dtype and ("others" in entry) == (table[-1] > 0), f"{name}: its table")
            stream = own.pop(number(entry["stream"], 1 << 32)) if "stream" in entry else None
            indices = [table.index(16384)] * count if stream is None else indices_of(stream, table, count)
            missing = indices.count(len(codebook))
            others = iter(grouped(own.pop(number(entry["others"], 1 << 32)), missing, size) if table[-1] else [])
            bits = [next(others) if k == len(codebook) else codebook[k] for k in indices]
        tensors[name] = dtype, shape, bits
    need(not own, "a section without a tensor")
    return tensors


def indices_of(section: bytes, table: list[int], count: int) -> list[int]:
    lanes, indices = 8 if count >= 4096 else 1, []
    states, words = [*struct.unpack_from(f"<{lanes}I", section)], struct.iter_unpack("<H", section[4 * lanes :])
    symbol = [k for k, frequency in enumerate(table) for _ in range(frequency)]
    start = [symbol.index(k) if frequency else 0 for k, frequency in enumerate(table)]
    for i in range(count):
        high, slot = divmod(states[i % lanes], 16384)
        k = symbol[slot]
        x = table[k] * high + slot - start[k]
        states[i % lanes] = x if x >= 65536 else 65536 * x + next(words)[0]
        indices.append(k)
    need(set(states) == {65536} and not [*words], "a stream that ends elsewhere")
    return indices
