"""What the header of a packed file must not say (docs/format.md): rules for the decoder in plain_decoder.py."""

import math
import zlib

SIZES = dict.fromkeys(("bool", "uint8", "int8", "float8_e4m3fn", "float8_e5m2"), 1)
SIZES |= dict.fromkeys(("float16", "bfloat16", "int16"), 2) | dict.fromkeys(("float32", "int32"), 4)
SIZES |= dict.fromkeys(("float64", "int64", "complex64"), 8)


def need(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"damaged: {what}")


def number(value: object, below: int) -> int:
    need(type(value) is int and 0 <= value < below, f"{str(value)[:20]} is no whole number below {below}")
    return value


def unique(pairs: list[tuple[str, object]]) -> dict:
    need(len(dict(pairs)) == len(pairs), "a key twice")
    return dict(pairs)


def levels(value: object) -> int:
    """How many objects and lists lie inside of each other."""
    inner = value.values() if type(value) is dict else value if type(value) is list else None
    return 0 if inner is None else 1 + max(map(levels, inner), default=0)


def inflate(data: bytes, most: int) -> bytes:
    stream = zlib.decompressobj()
    content = stream.decompress(data, most + 1)
    need(len(content) <= most and stream.eof and not stream.unused_data, "a deflated part that ends elsewhere")
    return content


def check(header: dict, limit: int) -> None:
    """Refuse what does not fit together, and tensors that take more than `limit` bytes."""
    need(levels(header) <= 100, "too deep")
    need(type(header["metadata"]) is dict and type(header["network"] or {}) is dict, "network or metadata")
    for length, checksum in header["sections"]:
        need(number(length, 1 << 63) >= 0 and number(checksum, 1 << 32) >= 0, "sections")
    types = [book["dtype"] for book in header["codebooks"] if number(book["values"], 16384) >= 0]
    of_table = [types[number(book, len(types))] for book in header["tables"]]
    like: dict[str, tuple] = {}
    own = set(range(2, len(header["sections"])))
    for entry in header["tensors"]:
        name, dtype, shape, ways = entry["name"], entry["dtype"], entry["shape"], {"same", "raw", "table"} & {*entry}
        need(type(name) is str and name not in like, f"{name} twice")
        need(type(shape) is list and len(shape) <= 8, f"{name}: shape")
        need(math.prod(max(1, number(side, 1 << 48)) for side in shape) < 1 << 48, f"{name}: shape")
        count = math.prod(shape)
        need(len(ways) == (count > 0) or ways == {"same"}, f"{name}: its values are nowhere")
        need(ways == {"table"} or not {"stream", "others"} & {*entry}, f"{name}: a stream without a table")
        need("stream" in entry or "others" not in entry, f"{name}: others without a stream")
        limit -= 0 if ways == {"same"} else count * SIZES[dtype]
        need(limit >= 0, f"{name} takes more memory than is allowed")
        if ways == {"same"}:
            need(like[entry["same"]] == (dtype, shape), f"{name} is not like {entry['same']}")
        if ways == {"table"}:
            need(of_table[number(entry["table"], len(of_table))] == dtype, f"{name}: its table is of another type")
        for key in {"raw", "stream", "others"} & {*entry}:
            need(number(entry[key], 1 << 32) in own, f"{name}: section {entry[key]} is not its own")
            own.remove(entry[key])
        like[name] = dtype, shape
    need(not own, "a section without a tensor")
