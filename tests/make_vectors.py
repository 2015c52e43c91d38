"""Packed files of version 1.0, for whoever writes a decoder, each with a .json of what it holds.

    python tests/make_vectors.py

Bits are those of the values in row-major order, as hexadecimal numbers: `3f800000`; `0*12` is twelve equal ones, `7f+3`
three ones that rise by one: 7f, 80, 81.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from packed_parts import any_network
from torch import Tensor

import wfn

FOLDER = Path(__file__).parent / "vectors"
VERSION = "1.0"
UNSIGNED = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def drawn(values: Sequence[float], shares: Sequence[int], count: int) -> Tensor:
    """Values by their shares, in an order that is the same on every machine and with every version of torch."""
    wheel = [value for value, share in zip(values, shares, strict=True) for _ in range(share)]
    state, chosen = 1, []
    for _ in range(count):
        state = (1103515245 * state + 12345) % 2**31
        chosen.append(wheel[(state >> 8) % len(wheel)])
    return torch.tensor(chosen)


def floats(*patterns: int) -> Tensor:
    """float32 with these bit patterns."""
    return torch.tensor([pattern - (pattern >> 31 << 32) for pattern in patterns], dtype=torch.int32).view(
        torch.float32
    )


def own(first: int, count: int) -> Tensor:
    """float32 values of which no two are the same, whose bit patterns rise by one."""
    return torch.arange(first, first + count, dtype=torch.int32).view(torch.float32)


def states() -> Iterator[tuple[str, dict[str, Tensor], dict]]:
    """Name, tensors and further arguments of `pack` of every file."""
    few = drawn([0.0, 0.5, -0.25, 1.0], [5, 2, 2, 1], 120)
    yield "few_values", {"weight": few.reshape(4, 5, 6)}, {}
    yield "one_value", {"weight": torch.full((300, 1000), 0.125), "bias": torch.zeros(7)}, {}
    yield "eight_states", {"just": drawn([0.0, 0.5], [63, 1], 4096), "below": drawn([0.0, 0.5], [63, 1], 4095)}, {}
    tables = {"a": few, "b": few.flip(0), "c": drawn([8.0, 4.0, 2.0, 1.5], [1, 1, 1, 1], 600), "d": 1 + 0 * few}
    yield "shared_tables", tables, {}
    # Beyond 4,096 distinct values those that occur once are kept as `others`.
    partly = torch.cat([own(0x3F800000, 2100), torch.zeros(200), own(0x3F900000, 2100)])
    yield "partly_fixed", {"large": partly, "small": torch.cat([torch.zeros(90), own(0x40000000, 10)])}, {}
    yield "types", dict(_types()), {}
    special = floats(0x7FC00000, 0x7F800001, 0xFFC12345, 0x80000000, 0, 1, 0x807FFFFF, 0x7F800000, 0xFF800000)
    others = floats(0x7FC00002, 0x7F800003, 0xFFC54321, 0x80000000, 2, 0x807FFFFE, 0x00800000)
    yield "bit_patterns", {"coded": special.repeat(20).reshape(20, 9), "raw": others}, {}
    tied = few.reshape(12, 10)
    shapes = {"empty": torch.empty(3, 0, 2), "scalar": torch.tensor(0.1), "tied": tied, "tied_too": tied}
    yield "shapes", shapes | {"eight": few.reshape(2, 1, 2, 1, 5, 1, 2, 3)}, {}
    yield "nothing", {}, {}
    pictures = {"channels": 1, "squash": [28, 28], "interpolation": "bilinear", "crop": [28, 28]}
    network = {
        "timm": "resnet18",
        "arguments": {"in_chans": 1, "num_classes": 3},
        "stem": {"kernel": 3, "stride": 1, "pool": False},
        "classes": ["zero", "<b>one</b>", "zwei – 二"],
        "input": pictures | {"mean": [0.5], "std": [0.25]},
    }
    metadata = {"top1": 98.5, "delta": 0.01, "alpha": 0.4, "commit": "0123abc", "more": {"seeds": [0, 1], "é": None}}
    yield "network", {"conv1.weight": few.reshape(10, 1, 3, 4)}, {"network": network, "metadata": metadata}


def _types() -> Iterator[tuple[str, Tensor]]:
    """Every type, once with values of its own and once with many of few."""
    values = drawn([0.0, 1.0, 2.0, 0.5], [4, 2, 1, 1], 200)
    kinds = (
        *(torch.bool, torch.uint8, torch.int8, torch.float8_e4m3fn, torch.float8_e5m2, torch.float16, torch.bfloat16),
        *(torch.int16, torch.int32, torch.float64, torch.int64, torch.complex64),
    )
    for kind in kinds:
        name = str(kind).removeprefix("torch.")
        yield f"{name}.own", torch.tensor([3.0, 5.0, 6.0]).to(kind)
        yield f"{name}.few", values.to(kind)


def patterns(tensor: Tensor) -> list[int]:
    """The bit patterns of a tensor's values."""
    size = tensor.element_size()
    signed = tensor.contiguous().reshape(-1).view(torch.uint8).view(UNSIGNED[size])
    return [value % 2 ** (8 * size) for value in signed.tolist()]


def written(bits: Sequence[int]) -> str:
    """Bit patterns as in the .json files."""
    words, at = [], 0
    while at < len(bits):
        equal, rising = (_run(bits, at, step) for step in (0, 1))
        length, sign = max((equal, "*"), (rising, "+"))
        words.append(f"{bits[at]:x}" + (f"{sign}{length}" if length > 1 else ""))
        at += length
    return " ".join(words)


def _run(bits: Sequence[int], start: int, step: int) -> int:
    """How many patterns, each so much larger than the one before, begin here."""
    end = start + 1
    while end < len(bits) and bits[end] == bits[end - 1] + step:
        end += 1
    return end - start


def read(text: str) -> list[int]:
    """Bit patterns that are written so."""
    bits: list[int] = []
    for word in text.split():
        for sign, step in (("*", 0), ("+", 1)):
            if sign in word:
                first, count = word.split(sign)
                bits += [int(first, 16) + step * i for i in range(int(count))]
                break
        else:
            bits.append(int(word, 16))
    return bits


def held(state: dict[str, Tensor], arguments: dict) -> dict:
    """What a .json says of a file."""
    tensors = {
        name: {
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": list(tensor.shape),
            "bits": written(patterns(tensor)),
        }
        for name, tensor in state.items()
    }
    described = {"network": arguments.get("network"), "metadata": arguments.get("metadata", {})}
    return {"version": VERSION, **described, "tensors": tensors}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, state, arguments in states():
        with any_network():
            wfn.pack(state, FOLDER / f"{name}.wfn", **arguments)
        text = json.dumps(held(state, arguments), indent=1, ensure_ascii=False)
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
