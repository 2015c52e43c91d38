"""A decoder of packed files from docs/format.md alone, without packages; plain_rules.py has what it refuses."""

import json
import math
import struct
import zlib
from itertools import accumulate

from plain_rules import SIZES, check, inflate, need, number, unique


def decode(content: bytes) -> dict:
    """The "header", and as "tensors" by name (type, shape, bit patterns). ValueError for what is to be refused."""
    try:
        header, sections = container(content)
        check(header, (128 << 20) + 32 * len(content))
        return {"header": header, "tensors": tensors_of(header, sections)}
    except (LookupError, TypeError, StopIteration, RecursionError, struct.error, zlib.error) as error:
        raise ValueError(f"damaged: {error!r}") from None


def grouped(data: bytes, count: int, size: int) -> list[int]:
    content = inflate(data, count * size)
    need(len(content) == count * size, "too few values")
    return [int.from_bytes(content[i::count], "little") for i in range(count)]


def container(content: bytes) -> tuple[dict, list[bytes]]:
    magic, major, _, length, total, zero, checksum = struct.unpack_from("<8sHHIQII", content)
    need((magic, major, zero, total) == (b"\x89WFN\r\n\x1a\n", 1, 0, len(content)), "no whole file of version 1")
    need(zlib.crc32(content[:28] + content[32 : 32 + length]) == checksum, "the header")
    text = inflate(content[32 : 32 + length], 4 << 20).decode()
    header = json.loads(text, object_pairs_hook=unique, parse_constant=lambda word: need(False, word))
    sections, end = [], 32 + length
    for length, checksum in header["sections"]:
        start = end + -end % 8
        need(not any(content[end:start]), "between sections")
        sections.append(content[start : start + length])
        need(type(length) is int and zlib.crc32(sections[-1]) == checksum, f"section {len(sections) - 1}")
        end = start + length
    need(end + -end % 8 == total and not any(content[end:]), "behind the last section")
    return header, sections


def varint(stream) -> int:
    byte = next(stream)
    return byte if byte < 128 else byte - 128 + 128 * varint(stream)


def tables_of(header: dict, values: bytes, varints: bytes) -> list[tuple]:
    codebooks, tables, end, stream = [], [], 0, iter(varints)
    for book in header["codebooks"]:
        start, size = end, SIZES[book["dtype"]]
        end += size * book["values"]
        codebooks.append([int.from_bytes(values[i : i + size], "little") for i in range(start, end, size)])
    for codebook in (codebooks[book] for book in header["tables"]):
        frequencies = []
        while len(frequencies) <= len(codebook):
            frequencies.append(varint(stream))
            if frequencies[-1] == 0:
                frequencies += [0] * number(varint(stream), len(codebook) + 2 - len(frequencies))
        need(sum(frequencies) == 16384, "frequencies that do not add up")
        tables.append((codebook, frequencies))
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


def tensors_of(header: dict, sections: list[bytes]) -> dict[str, tuple]:
    tables, tensors = tables_of(header, *sections[:2]), {}
    for entry in header["tensors"]:
        count, size, bits = math.prod(entry["shape"]), SIZES[entry["dtype"]], []
        if "same" in entry:
            bits = tensors[entry["same"]][2]
        elif "raw" in entry:
            bits = grouped(sections[entry["raw"]], count, size)
        elif "table" in entry:
            codebook, table = tables[entry["table"]]
            need(("others" in entry) == ("stream" in entry and table[-1] > 0), "a table and its sections")
            stream = sections[entry["stream"]] if "stream" in entry else None
            indices = indices_of(stream, table, count) if stream is not None else [table.index(16384)] * count
            missing = indices.count(len(codebook))
            others = iter(grouped(sections[entry["others"]], missing, size) if "others" in entry else [])
            bits = [next(others) if k == len(codebook) else codebook[k] for k in indices]
        tensors[entry["name"]] = entry["dtype"], entry["shape"], bits
    return tensors
