"""Files that are made to harm whoever reads them: to run a program, to fill the memory, to take for ever."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

from benchmarks.faults.damage import damaged, forged

MARKER = "executed"  # the file that a program in one of these would make, in the current folder
GIGABYTE = 1 << 30


class _Runs:
    """An object whose pickle calls a function when it is read."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.called = function, arguments

    def __reduce__(self) -> Any:
        return self.called


def programs() -> dict[str, object]:
    """Objects whose pickles would make the file MARKER."""
    import os
    import runpy
    import subprocess

    script = f"open({MARKER!r}, 'w')"
    return {
        "os.system": _Runs(os.system, f"touch {MARKER}"),
        "exec": _Runs(exec, script),
        "eval": _Runs(eval, script),
        "open": _Runs(open, MARKER, "w"),
        "subprocess": _Runs(subprocess.call, ["touch", MARKER]),
        "runpy": _Runs(runpy.run_path, MARKER),
        "getattr of a function": _Runs(getattr, _Runs(__import__, "os"), "system"),
    }


def _hashed_for_ever(levels: int) -> bytes:
    """A pickle of a dictionary with a key of two tuples that are the same, of two that are the same, and so on."""
    pairs = b"".join((b"h" + bytes([level])) * 2 + b"\x86q" + bytes([level + 1]) for level in range(levels))
    return b"\x80\x02}(K\x00()q\x00" + pairs + b"th" + bytes([levels]) + b"Nu."


# Pickles that are no pickled object: what they ask of whoever reads them.
PICKLES: dict[str, bytes] = {
    "a memo of 4 billion": b"\x80\x02Nr" + struct.pack("<I", 2**32 - 1) + b".",
    "a memo of 200 million": b"\x80\x02Nr" + struct.pack("<I", 200_000_000) + b".",
    "a frame of 2**62 bytes": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
    "a text of 2**40 bytes": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"N.",
    "an array of bytes of 2**33": b"\x80\x05\x96" + struct.pack("<Q", 2**33) + b"N.",
    "a million lists inside of each other": b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".",
    "a key that is hashed for ever": _hashed_for_ever(60),
    "no end": b"\x80\x02" + b"N" * 100_000,
}


def of_pickles() -> dict[str, bytes]:
    """Pickles that run something, and those that take for ever."""
    return {**{name: pickle.dumps(each, protocol=2) for name, each in programs().items()}, **PICKLES}


def _called(module: str, name: str, arguments: bytes) -> bytes:
    """A part of a pickle: a function called with arguments that are a tuple."""
    return b"c" + f"{module}\n{name}\n".encode() + arguments + b"R"


def _part(value: object) -> bytes:
    """A value as a part of a pickle."""
    return pickle.dumps(value, protocol=2)[2:-1]


def _laughs(levels: int) -> bytes:
    """A part of a pickle: a list of ten times the same tuple, and so on; as a text it has 10**levels words."""
    made = [_part("lol"), b"q\x00", b"0"]
    made += [b"(" + (b"h" + bytes([level])) * 10 + b"tq" + bytes([level + 1]) + b"0" for level in range(levels)]
    return b"".join(made) + b"]h" + bytes([levels]) + b"a"


def of_batches(content: bytes) -> dict[str, bytes]:
    """In place of one of CIFAR's batches, or of the names of its classes."""
    known = {key: _part(value) for key, value in pickle.loads(content, encoding="bytes").items()}

    def dtype(text: str) -> bytes:
        return _called("numpy", "dtype", _part((text,)))

    def array(shape: tuple[int, ...], kind: str) -> bytes:
        return _called("numpy", "ndarray", _part(shape) + dtype(kind) + b"\x86")

    def reconstructed(shape: tuple[int, ...]) -> bytes:
        return _called(
            "numpy.core.multiarray", "_reconstruct", b"(cnumpy\nndarray\n" + _part(shape) + _part(b"b") + b"t"
        )

    changes = {
        "labels of 8 GiB that are not there": ("labels", array((8 * GIGABYTE,), "u1")),
        "labels of 8 GiB, reconstructed": ("labels", reconstructed((8 * GIGABYTE,))),
        "labels of 1 GiB that are not there": ("labels", array((GIGABYTE,), "u1")),
        "pixels of 3 GiB that are not there": ("data", array((1 << 20, 3072), "u1")),
        "labels of 10**9 values of no bytes": ("labels", array((10**9,), "V0")),
        "a number of 2 GiB": (
            "labels",
            b"]" + _called("numpy.core.multiarray", "scalar", dtype("V2000000000") + b"\x85") + b"a",
        ),
        "a label of 5,000 digits": ("labels", _part([10**5000, 1, 0, 1])),
        "a label of 2**70": ("labels", _part([2**70, 1, 0, 1])),
        "a label that is no number": ("labels", _part([float("nan"), 1, 0, 1])),
        "labels that are lists in lists": ("labels", b"]" * 100_000 + b"a" * 99_999),
        "a codec that takes for ever": ("labels", _called("_codecs", "encode", _part(("\u4e00" * 80_000, "punycode")))),
        "names of 10**12 words": ("label_names", _laughs(12)),
        "a name of control characters": ("label_names", _part(["\x1b[31m\n", "dog"])),
        "names that are numbers": ("label_names", _part([10**5000, 1])),
        "a key of 10**6 letters": ("x" * 10**6, b"N"),
    }  # fmt: skip
    found = {}
    for what, (key, value) in changes.items():
        pairs = {**known, key.encode(): value}
        found[what] = b"\x80\x02}(" + b"".join(_part(name.decode()) + each for name, each in pairs.items()) + b"u."
    return {**of_pickles(), **found}


def split_safetensors(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and content of a .safetensors file."""
    length = struct.unpack_from("<Q", content)[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined_safetensors(header: object, body: bytes, length: int | None = None) -> bytes:
    """A .safetensors file; length: what it says of its header."""
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def forged_safetensors(content: bytes, choices: random.Random) -> tuple[str, bytes]:
    """With another header."""
    header, body = split_safetensors(content)
    what, changed = forged(header, choices)
    return what, joined_safetensors(changed, body)


def of_safetensors(content: bytes) -> dict[str, bytes]:
    """In place of a .safetensors file."""
    header, body = split_safetensors(content)
    first = next(name for name in header if header[name].get("shape"))

    def with_first(**changes: object) -> bytes:
        return joined_safetensors({**header, first: {**header[first], **changes}}, body)

    return {
        "a header of 2**39 bytes": joined_safetensors(header, body, 2**39),
        "a header of 2**63 bytes": joined_safetensors(header, body, 2**63),
        "a header of lists 100,000 deep": joined_safetensors(b'{"a":' + b"[" * 100_000, body),
        "a header of 20 MB": joined_safetensors({"__metadata__": {"x": "y" * 20_000_000}}, b""),
        "100,000 tensors of no bytes": joined_safetensors(
            {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)}, b""
        ),
        "2**40 values": with_first(shape=[2**20, 2**20]),
        "values beyond the end": with_first(data_offsets=[0, 2**40]),
        "values that overlap": with_first(data_offsets=[0, 4]),
        "a name of control characters": joined_safetensors({**header, "\x1b[31m\n": header[first]}, body),
        "a pickle": pickle.dumps(programs()["os.system"]),
    }


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def _unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def forged_torch(content: bytes, choices: random.Random) -> tuple[str, bytes]:
    """With a damaged pickle in an archive that is whole."""
    members = _unzipped(content)
    (name,) = (name for name in members if name.endswith("data.pkl"))
    what, members[name] = damaged(members[name], choices)
    return f"its pickle: {what}", zipped(members)


def _saved(value: object) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def of_torch(content: bytes) -> dict[str, bytes]:
    """In place of a file of torch.save."""
    import torch

    members = _unzipped(content)
    (name,) = (name for name in members if name.endswith("data.pkl"))
    storage = next(name for name in members if "/data/" in name)
    one = torch.zeros(1)
    nested: object = {"a": None}
    for _ in range(6):
        nested = dict.fromkeys(range(1000), nested)
    return {
        **{what: zipped({**members, name: attack}) for what, attack in of_pickles().items()},
        "a pickle of 1 GiB of zeros, compressed": zipped({**members, name: bytes(GIGABYTE)}, zipfile.ZIP_DEFLATED),
        "a storage of 1 GiB, compressed": zipped({**members, storage: bytes(GIGABYTE)}, zipfile.ZIP_DEFLATED),
        "2**40 values that are one": _saved({"fc.weight": one.expand(2**40)}),
        "a convolution of 2**30 channels that are one": _saved({"conv1.0.weight": one.expand(24, 2**30, 3, 3)}),
        "a convolution of 2**30 channels, in halves": _saved({"conv1.0.weight": one.half().expand(24, 2**30, 3, 3)}),
        "a thousand times the same mapping, six times": _saved(nested),
        "a tensor on no device": _saved({"fc.weight": torch.empty(2**40, device="meta")}),
        "an archive without its pickle": zipped({storage: members[storage]}),
        "an archive that is a thousand archives": zipped({f"{n}/data.pkl": members[name] for n in range(1000)}),
    }


def of_old_torch(content: bytes) -> dict[str, bytes]:
    """In place of the pickle of a file of before version 1.6 of torch."""
    file = io.BytesIO(content)
    for _ in range(3):  # what kind of file it is
        pickle.load(file)
    return {what: content[: file.tell()] + attack for what, attack in of_pickles().items()}
