"""The packed file: every bit comes back, few values take few bytes, and nothing that is damaged or hostile gets in."""

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Mapping
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from clones import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_parts import of_text, with_header
from safetensors import SafetensorError
from torch.testing._internal.two_tensor import TwoTensor

import wfn
from wfn.files.writing import write_safetensors
from wfn.packed.errors import PackedError
from wfn.packed.tables import TOTAL, frequencies, from_bytes, shared_tables, to_bytes
from wfn.packed.types import TYPES, to_bits
from wfn.packed.values import distinct_values, symbols


def of_bits(patterns, dtype, shape=None):
    """A tensor of any type with these bit patterns."""
    width = dtype.itemsize
    raw = np.array(patterns, dtype=np.uint64).astype(f"<u{width}")
    tensor = torch.from_numpy(raw.view(np.uint8).copy()).view(dtype) if len(raw) else torch.empty(0, dtype=dtype)
    return tensor if shape is None else tensor.reshape(shape)


def same_bits(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and np.array_equal(to_bits(one), to_bits(other))


def packed(state, **options):
    """What comes back, and the bytes of the file."""
    content = io.BytesIO()
    assert wfn.pack(state, content, **options) == len(content.getvalue())
    return wfn.unpack(content), content.getvalue()


shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)


@st.composite
def tensors(draw):
    dtype = TYPES[draw(st.sampled_from(sorted(TYPES)))]
    shape = draw(shapes)
    count = int(np.prod(shape, dtype=np.int64))
    most = 1 if dtype == torch.bool else 2 ** (8 * dtype.itemsize) - 1
    palette = draw(st.lists(st.integers(0, most), min_size=1, max_size=draw(st.sampled_from([1, 3, 200]))))
    return of_bits(draw(st.lists(st.sampled_from(palette), min_size=count, max_size=count)), dtype, shape)


@settings(deadline=None)  # the first example compiles
@given(st.dictionaries(st.text(max_size=8), tensors(), max_size=5))
def test_every_bit_comes_back(state):
    again, _ = packed(state)
    assert list(again) == list(state)
    assert all(same_bits(state[name], again[name]) for name in state)


SPECIAL = {
    "one value": torch.full((5000,), 0.5),
    "no values": torch.empty(0, 7),
    "scalar": torch.tensor(3.0),
    "not a number, with payloads": of_bits([0x7FC00001, 0x7FC00002, 0xFFC00001] * 2000, torch.float32),
    "zeros with signs": of_bits([0, 0x80000000] * 3000, torch.float32),
    "denormals": of_bits([1, 2, 3, 0x80000001] * 1500, torch.float32),
    "65,537 values": torch.arange(65_537, dtype=torch.float32),
    "65,537 values, many times": torch.arange(65_537, dtype=torch.float32).repeat(4),
    "16,383 values": torch.arange(16_383, dtype=torch.float32).repeat(9),
    "16,384 values": torch.arange(16_384, dtype=torch.float32).repeat(9),
    "noise": torch.randn(20_000, generator=torch.Generator().manual_seed(0)),
    "half": torch.randn(6000, generator=torch.Generator().manual_seed(0)).half(),
    "brain": torch.randn(6000, generator=torch.Generator().manual_seed(0)).bfloat16(),
    "double": torch.tensor([0.25, -0.5], dtype=torch.float64).repeat(3000),
    "complex": torch.tensor([1 + 2j, 3 - 1j]).repeat(3000),
    "counter": torch.tensor(2**62),
    "mask": torch.arange(5000) % 3 == 0,
    "channels last": torch.randint(0, 9, (8, 6, 5, 5)).float().to(memory_format=torch.channels_last),
    "every second": torch.randint(0, 9, (6000,)).float()[::2],
    "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 3000),
    "4095 values": torch.randint(0, 3, (4095,)).float(),
    "4096 values": torch.randint(0, 3, (4096,)).float(),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_tensors(name):
    again, _ = packed({name: SPECIAL[name]})
    assert same_bits(SPECIAL[name], again[name])


def test_all_of_them_in_one_file():
    again, _ = packed(SPECIAL)
    assert all(same_bits(SPECIAL[name], again[name]) for name in SPECIAL)


def test_few_values_take_about_their_entropy():
    """A skewed choice of 130 values, with its table; and it is decoded by what the page says, see test_format.py."""
    drawn = torch.from_numpy(np.random.default_rng(0).geometric(0.03, 200_000).clip(max=130)).float() / 64
    _, content = packed({"weight": drawn})
    _, counts = drawn.unique(return_counts=True)
    least = float((counts * (len(drawn) / counts).log2()).sum()) / 8
    assert least < len(content) < 1.005 * least + 1500


def test_layers_of_one_kind_share_a_table_and_others_do_not():
    generator = np.random.default_rng(0)
    narrow, wide = (generator.geometric(p, 60_000).clip(max=100) for p in (0.5, 0.04))
    counts = [np.bincount(part, minlength=101) for half in (narrow, wide) for part in np.split(half, 2)]
    assert shared_tables(counts) == [0, 0, 1, 1]


def test_a_partly_fixed_tensor_keeps_its_free_weights():
    generator = torch.Generator().manual_seed(0)
    fixed = torch.tensor([0.25, -0.5, 0.0])[torch.randint(0, 3, (90_000,), generator=generator)]
    state = {"weight": torch.cat([fixed, torch.randn(10_000, generator=generator)])}
    again, content = packed(state)
    assert same_bits(again["weight"], state["weight"])
    assert len(content) < 90_000 * 1.6 / 8 + 10_000 * (4 + 4 / 8) + 6000
    (layer,) = wfn.inspect(io.BytesIO(content)).layers
    assert (layer.coding, layer.distinct) == ("coded", 10_003)


def test_a_float_network_is_kept_as_it_is():
    state = {"weight": torch.randn(50_000, generator=torch.Generator().manual_seed(0))}
    again, content = packed(state)
    assert same_bits(again["weight"], state["weight"])
    assert len(content) < state["weight"].nbytes
    assert wfn.inspect(io.BytesIO(content)).layers[0].coding == "as it is"


def test_values_of_each_layer():
    """Sixteen values in each of 64 layers, as k-means gives them: 1,024 in all, and no layer pays for the others'."""
    generator = np.random.default_rng(0)
    state = {
        f"{i}.weight": torch.from_numpy(generator.normal(size=16).astype(np.float32)[generator.integers(0, 16, 20_000)])
        for i in range(64)
    }
    again, content = packed(state)
    assert all(same_bits(state[name], again[name]) for name in state)
    assert len(content) < 64 * (20_000 * 4 / 8 + 16 * 4 + 300)


def test_tied_tensors_are_kept_once():
    weight = torch.randint(0, 5, (300, 40)).float()
    linear = torch.nn.Linear(40, 300)
    linear.weight = torch.nn.Parameter(weight)
    embedding = torch.nn.Embedding(300, 40)
    embedding.weight = linear.weight
    again, content = packed(torch.nn.Sequential(embedding, linear))
    assert again["0.weight"] is again["1.weight"]
    assert len(content) < 1.2 * len(packed(torch.nn.Sequential(linear))[1])
    layers = {layer.name: layer.coding for layer in wfn.inspect(io.BytesIO(content)).layers}
    assert layers["1.weight"] == "same as 0.weight"


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ({"a": [1.0]}, "a: names and tensors"),
        ({3: torch.ones(1)}, "3: names and tensors"),
        ({"a": torch.ones(2, 2).to_sparse()}, "a: only a dense tensor"),
        ({"a": torch.empty(2, device="meta")}, "a: only a dense tensor"),
        ({"a": torch.ones(1, dtype=torch.complex128)}, "a: the type torch.complex128"),
        ({"a": torch.ones((1,) * 9)}, "a: 9 dimensions; at most 8"),
        ({"a": TwoTensor(torch.ones(2), torch.ones(2))}, "a: is a TwoTensor; only a plain tensor"),
    ],
)
def test_what_cannot_be_packed_is_named(tmp_path, state, named):
    with pytest.raises(ValueError, match=named):
        wfn.pack(state, tmp_path / "x.wfn")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("metadata", [{"a": object()}, {"a": float("nan")}, {"a": "x" * (5 << 20)}])
def test_metadata_that_cannot_be_kept(tmp_path, metadata):
    with pytest.raises(ValueError, match="network and metadata"):
        wfn.pack({}, tmp_path / "x.wfn", metadata=metadata)
    assert list(tmp_path.iterdir()) == []


class OnAccess(Mapping):
    """Tensors that are made when they are asked for, as lazy readers do; the memory of one is the next one's."""

    def __init__(self, values):
        self.values_ = values

    def __getitem__(self, name):
        return torch.full((50,), self.values_[name])

    def __iter__(self):
        return iter(self.values_)

    def __len__(self):
        return len(self.values_)


def test_tensors_that_are_made_on_access_are_not_tied():
    values = {name: float(place) for place, name in enumerate("abcdefgh")}
    content = io.BytesIO()
    wfn.pack(OnAccess(values), content)
    assert {name: tensor[0].item() for name, tensor in wfn.unpack(content).items()} == values


def test_a_link_keeps_its_place_and_a_pipe_is_no_file(tmp_path):
    (tmp_path / "real.wfn").write_bytes(b"older")
    (tmp_path / "link.wfn").symlink_to("real.wfn")
    wfn.pack({"a": torch.ones(3)}, tmp_path / "link.wfn")
    assert (tmp_path / "link.wfn").is_symlink()
    assert wfn.unpack(tmp_path / "real.wfn")["a"].tolist() == [1, 1, 1]
    os.mkfifo(tmp_path / "pipe.wfn")
    with pytest.raises(FileExistsError, match=r"pipe\.wfn: is no file"):
        wfn.pack({"a": torch.ones(3)}, tmp_path / "pipe.wfn")
    assert (tmp_path / "pipe.wfn").is_fifo()


def test_safetensors_errors_are_those_of_the_system(tmp_path, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("I/O error: File too large")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match=r"x\.safetensors: I/O error: File too large"):
        write_safetensors({"a": torch.ones(3)}, tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("default", [torch.float64, torch.device("meta")], ids=str)
def test_unpacking_does_not_follow_defaults(default):
    content = packed({"a": torch.ones(3), "b": torch.arange(3000.0)})[1]
    with torch.device("meta") if isinstance(default, torch.device) else nullcontext():
        state = wfn.unpack(io.BytesIO(content))
    assert (state["a"].device.type, state["a"].dtype) == ("cpu", torch.float32)
    assert state["b"].tolist() == list(range(3000))


def test_a_file_that_is_there_survives_a_full_disk(tmp_path, monkeypatch):
    path = tmp_path / "x.wfn"
    wfn.pack({"a": torch.ones(3)}, path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        wfn.pack({"a": torch.zeros(3)}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# Parts


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=300).filter(any))
def test_frequencies_add_up_and_come_back(counts):
    table = frequencies(np.array(counts))
    assert table.sum() == TOTAL
    assert ((table > 0) == (np.array(counts) > 0)).all()
    (again,) = from_bytes(to_bytes(table), [len(table)])
    assert np.array_equal(again, table)


def test_a_table_of_as_many_values_as_there_can_be():
    assert (frequencies(np.arange(1, TOTAL + 1) ** 3) == 1).all()


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_values_are_counted_and_found(width):
    generator = np.random.default_rng(0)
    palette = generator.integers(0, 2 ** (8 * width), 9000, dtype=np.uint64).astype(f"u{width}")
    bits = palette[generator.integers(0, len(palette), 40_000)]
    distinct, counts = distinct_values(bits)
    expected = np.unique(bits, return_counts=True)
    assert np.array_equal(distinct, expected[0])
    assert np.array_equal(counts, expected[1])
    found = symbols(bits, distinct[::2].copy())
    known = np.isin(bits, distinct[::2])
    assert np.array_equal(distinct[::2][found[known]], bits[known])
    assert (found[~known] == len(distinct[::2])).all()


# Damage


def small():
    generator = torch.Generator().manual_seed(0)
    few = torch.tensor([0.5, 0.25, -1.0])[torch.randint(0, 3, (60,), generator=generator)]
    return {"a": few, "b": torch.randn(6, generator=generator), "c": torch.ones(9), "d": few}


def test_every_flipped_bit_is_noticed():
    _, content = packed(small(), metadata={"top1": 98.0})
    for place in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(PackedError):
            wfn.unpack(io.BytesIO(damaged))


def test_every_cut_is_noticed():
    _, content = packed(small())
    for length in range(len(content)):
        with pytest.raises(PackedError):
            wfn.unpack(io.BytesIO(content[:length]))
    with pytest.raises(PackedError, match="damaged or cut off"):
        wfn.unpack(io.BytesIO(content + bytes(8)))


def test_what_is_wrong_names_the_file(tmp_path):
    path = tmp_path / "x.wfn"
    path.write_bytes(b"something else")
    with pytest.raises(PackedError, match=r"x\.wfn: is no packed file"):
        wfn.unpack(path)
    with pytest.raises(FileNotFoundError):
        wfn.unpack(tmp_path / "none.wfn")


def at(key, value):
    def change(header, _):
        place = header
        for part in key[:-1]:
            place = place[part]
        place[key[-1]] = value

    return change


HOSTILE = {
    "more dimensions": at(("tensors", 0, "shape"), [1] * 9),
    "a vast tensor of one value": at(("tensors", 2, "shape"), [2**40]),
    "a shape beyond all numbers": at(("tensors", 2, "shape"), [2**62, 2**62]),
    "vast and empty": at(("tensors", 2, "shape"), [2**62, 0]),
    "negative": at(("tensors", 0, "shape"), [-60]),
    "a truth value for a number": at(("tensors", 0, "shape"), [True]),
    "a fraction": at(("tensors", 0, "shape"), [60.0]),
    "another shape": at(("tensors", 0, "shape"), [61]),
    "a smaller shape": at(("tensors", 0, "shape"), [59]),
    "unknown type": at(("tensors", 0, "dtype"), "float3"),
    "other type": at(("tensors", 0, "dtype"), "float64"),
    "name twice": at(("tensors", 1, "name"), "a"),
    "name is no text": at(("tensors", 1, "name"), 7),
    "same as one that comes later": at(("tensors", 0), {"name": "a", "dtype": "float32", "shape": [60], "same": "d"}),
    "a section of two": at(("tensors", 1, "raw"), 2),
    "the tables as values": at(("tensors", 1, "raw"), 1),
    "no such section": at(("tensors", 1, "raw"), 99),
    "no such table": at(("tensors", 0, "table"), 99),
    "values nowhere": at(("tensors", 1), {"name": "b", "dtype": "float32", "shape": [6]}),
    "raw and coded": at(("tensors", 0, "raw"), 2),
    "no stream": lambda header, _: header["tensors"][0].pop("stream") and None,
    "others that are not wanted": lambda header, sections: (
        header["tensors"][0].update(others=len(sections)) or sections.append(zlib.compress(bytes(4)))
    ),
    "a section of nobody": lambda _, sections: sections.append(b"1234"),
    "no sections": lambda _, sections: sections.clear(),
    "a larger codebook": at(("codebooks", 0, "values"), 2**14),
    "a codebook with too many": at(("codebooks", 0, "values"), 9),
    "a codebook with too few": at(("codebooks", 0, "values"), 1),
    "a table for no codebook": at(("tables", 0), 5),
    "a table that does not add up": lambda _, sections: sections.__setitem__(1, sections[1][:-1] + b"\7"),
    "endless varint": lambda _, sections: sections.__setitem__(1, b"\xff" * 40),
    "a stream cut": lambda _, sections: sections.__setitem__(2, sections[2][:-2]),
    "a stream with more": lambda _, sections: sections.__setitem__(2, sections[2] + b"12"),
    "a stream of another": lambda _, sections: sections.__setitem__(2, bytes(len(sections[2]))),
    "a stream too short": lambda _, sections: sections.__setitem__(2, b"123"),
    "inflates to more": lambda _, sections: sections.__setitem__(3, zlib.compress(bytes(25))),
    "inflates to gigabytes": lambda _, sections: sections.__setitem__(3, zlib.compress(bytes(1 << 28), 9)),
    "not deflated": lambda _, sections: sections.__setitem__(3, b"abc"),
    "deflated and more": lambda _, sections: sections.__setitem__(3, sections[3] + b"1"),
    "deflated and cut": lambda _, sections: sections.__setitem__(3, sections[3][:-1]),
    "a list for a header": lambda *_: [],
    "no tensors": lambda header, _: {key: header[key] for key in header if key != "tensors"},
    "many codebooks": lambda header, _: header.update(
        codebooks=[{"dtype": "float32", "values": 16_000}] * 9000, tables=list(range(9000))
    ),
    "many tables of one codebook": lambda header, sections: (
        header.update(codebooks=[{"dtype": "float32", "values": 16_000}], tables=[0] * 8000)
        or sections.__setitem__(0, bytes(64_000))
        or sections.__setitem__(1, b"\x80\x80\x01\x00\xff\x7c" * 8000)
    ),
    "network is a list": at(("network",), [1]),
    "metadata is a text": at(("metadata",), "1"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hand_made_files_are_refused(name):
    content = with_header(small(), HOSTILE[name])
    with pytest.raises(PackedError) as caught:
        wfn.unpack(io.BytesIO(content))
    assert "\n" not in str(caught.value)


PLAIN = {
    "no JSON": b"{",
    "not UTF-8": b'{"a": "\xff"}',
    "deep": b"[" * 200_000,
    "a key twice": b'{"sections": [], "sections": []}',
    "not a number": b'{"sections": NaN}',
    "a number that is infinite": b'{"sections": 1e999}',
    "half a character": b'{"sections": "\\ud800"}',
    "a number without end": b'{"sections": ' + b"9" * 1_000_000 + b"}",
    "as large as can be": b"[" + b"{}," * 1_390_000 + b"{}]",
    "larger than can be": b" " * ((4 << 20) + 1),
    "empty": b"",
}


@pytest.mark.parametrize("name", PLAIN)
def test_headers_that_are_none(name):
    with pytest.raises(PackedError) as caught:
        wfn.unpack(io.BytesIO(of_text(PLAIN[name])))
    assert "\n" not in str(caught.value)


def test_a_later_major_version_is_refused_and_a_later_minor_one_read():
    header = {"sections": [[0, 0], [0, 0]], "codebooks": [], "tables": [], "tensors": [], "more": 1}
    content = json.dumps(header | {"network": None, "metadata": {}}).encode()
    assert wfn.unpack(io.BytesIO(of_text(content, [b"", b""], version=(1, 7)))) == {}
    with pytest.raises(PackedError, match="has version 2 of the format"):
        wfn.unpack(io.BytesIO(of_text(content, [b"", b""], version=(2, 0))))


def test_a_limit_can_be_raised(tmp_path):
    path = tmp_path / "x.wfn"
    wfn.pack({"a": torch.ones(1).expand(50_000_000)}, path)
    with pytest.raises(PackedError, match=r"unfolds to 200000000 bytes; allowed: 1342\d+"):
        wfn.unpack(path)
    assert wfn.unpack(path, limit=200_000_000)["a"].shape == (50_000_000,)


@pytest.mark.parametrize("seed", range(4))
def test_fuzzed_files(seed):
    """Bytes changed, put in, taken out, swapped; checksums made right again in half of the cases."""
    generator = np.random.default_rng(seed)
    _, content = packed(small(), metadata={"top1": 98.0})
    for _ in range(1000):
        problem = ""
        try:
            wfn.unpack(io.BytesIO(fuzzed(content, generator)))
        except PackedError as error:
            problem = str(error)
        assert "\n" not in problem


def fuzzed(content, generator):
    """A damaged copy; where only sections are damaged, with the checksums of what they hold now."""
    if generator.random() < 0.5:
        damaged = bytearray(content)
        for _ in range(int(generator.integers(1, 6))):
            place = int(generator.integers(0, len(damaged)))
            damaged[place : place + int(generator.integers(0, 3))] = generator.bytes(int(generator.integers(0, 3)))
        return bytes(damaged)
    length = struct.unpack_from("<I", content, 12)[0]
    text = zlib.decompress(content[32 : 32 + length])
    header, sections, position = json.loads(text), [], 32 + length + -length % 8
    for size, _ in header["sections"]:
        sections.append(bytearray(content[position : position + size]))
        position += size + -size % 8
    for section in sections:
        if section and generator.random() < 0.4:
            section[int(generator.integers(0, len(section)))] = int(generator.integers(0, 256))
    header["sections"] = [[len(section), zlib.crc32(section)] for section in sections]
    text = bytearray(json.dumps(header).encode())
    if generator.random() < 0.5:
        digits = [place for place, byte in enumerate(text) if chr(byte).isdigit()]
        text[int(generator.choice(digits))] = ord("0") + int(generator.integers(0, 10))
    return of_text(bytes(text), [bytes(section) for section in sections])


MEMORY = """
import resource, sys, torch, wfn
wfn.unpack(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    state = wfn.unpack(sys.argv[2], limit=int(sys.argv[3]) or None)
    size = sum(tensor.nbytes for tensor in state.values())
except ValueError as error:
    size = 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before * 1024, size)
"""


def memory_beyond(tmp_path, path, limit=0):
    """Bytes that unpacking takes beyond its result, in a process of its own."""
    first = tmp_path / "first.wfn"
    wfn.pack({"a": torch.randint(0, 3, (5000,)).float(), "b": torch.randn(10)}, first)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, first, path, str(limit)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    grown, size = (int(number) for number in done.stdout.split())
    return grown - size


@pytest.mark.slow
def test_unpacking_takes_little_more_than_its_result(tmp_path):
    path = tmp_path / "x.wfn"
    generator = torch.Generator().manual_seed(0)
    coded = torch.randint(0, 100, (20_000_000,), generator=generator).float()
    wfn.pack({"a": coded, "b": torch.randn(2_000_000, generator=generator)}, path)
    assert memory_beyond(tmp_path, path, 1 << 30) < 64 << 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["inflates to gigabytes", "many codebooks", "many tables of one codebook", "a vast tensor of one value"]
)
def test_a_bomb_takes_little_memory(tmp_path, name):
    path = tmp_path / "bomb.wfn"
    path.write_bytes(with_header(small(), HOSTILE[name]))
    assert memory_beyond(tmp_path, path) < 256 << 20


@pytest.mark.slow
def test_the_largest_header_takes_little_memory(tmp_path):
    path = tmp_path / "bomb.wfn"
    path.write_bytes(of_text(PLAIN["as large as can be"]))
    assert memory_beyond(tmp_path, path) < 256 << 20
