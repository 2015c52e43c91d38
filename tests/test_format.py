"""The packed file is what docs/format.md says: a decoder written from that page alone agrees with ours."""

import io
import json
import random

import make_vectors
import pytest
import torch
from hypothesis import given, settings, strategies
from make_vectors import FOLDER, held, patterns, read, states, written
from packed_parts import any_network
from plain_decoder import decode
from refused import coded, encoded, refused

import wfn
from wfn.packed.types import TYPES

VECTORS = sorted(FOLDER.glob("*.wfn"))


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_vectors_hold_what_is_beside_them(path):
    content, expected = path.read_bytes(), json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert len(content) < 2048
    assert expected["version"] == make_vectors.VERSION == f"{content[8]}.{content[10]}"
    plain = decode(content)
    tensors = {
        name: (tensor["dtype"], tensor["shape"], read(tensor["bits"])) for name, tensor in expected["tensors"].items()
    }
    assert plain["tensors"] == tensors == as_patterns(wfn.unpack(path))
    contents = wfn.inspect(path)
    for key in ("network", "metadata"):
        assert plain["header"][key] == getattr(contents, key) == expected[key]


def as_patterns(state):
    """Tensors as the plain decoder gives them."""
    return {
        name: (str(tensor.dtype).removeprefix("torch."), list(tensor.shape), patterns(tensor))
        for name, tensor in state.items()
    }


def test_vectors_are_those_of_the_script(tmp_path):
    for name, state, arguments in states():
        expected = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        assert held(state, arguments) == expected
        with any_network():
            wfn.pack(state, tmp_path / "again.wfn", **arguments)
        assert as_patterns(wfn.unpack(tmp_path / "again.wfn")) == as_patterns(state)
    assert {path.stem for path in VECTORS} == {name for name, _, _ in states()}


def test_vectors_have_everything_that_the_page_speaks_of():
    headers = [decode(path.read_bytes())["header"] for path in VECTORS]
    ways = {frozenset(tensor) - {"name", "dtype", "shape"} for header in headers for tensor in header["tensors"]}
    table = {"table"}, {"table", "stream"}, {"table", "stream", "others"}
    assert ways == {frozenset(way) for way in (set(), {"same"}, {"raw"}, *table)}
    assert {tensor["dtype"] for header in headers for tensor in header["tensors"]} == set(TYPES)
    assert any(len(header["codebooks"]) > 1 for header in headers)
    assert any(len(header["tables"]) > len(header["codebooks"]) for header in headers)
    assert any(header["network"] and header["network"]["classes"] and header["metadata"] for header in headers)


# The same few values again and again, and any others: NaN, infinities, zeros of both signs and denormals among them.
TENSORS = strategies.tuples(
    strategies.sampled_from(sorted(TYPES)),
    strategies.lists(strategies.binary(min_size=8, max_size=8), min_size=1, max_size=6),
    strategies.integers(0, 300) | strategies.integers(4090, 4200),
    strategies.integers(0, 60),
    strategies.integers(0, 2**32).map(random.Random),
)


@given(strategies.lists(TENSORS, max_size=4))
@settings(max_examples=25, deadline=None)
def test_both_decoders_agree(tmp_path_factory, drawn):
    state = {str(i): tensor_of(*each) for i, each in enumerate(drawn)}
    path = tmp_path_factory.mktemp("packed") / "some.wfn"
    wfn.pack(state, path)
    assert decode(path.read_bytes())["tensors"] == as_patterns(wfn.unpack(path)) == as_patterns(state)


def tensor_of(dtype, values, count, own, generator):
    """A tensor of these values, the first one most often, and of values of its own."""
    size = TYPES[dtype].itemsize
    chosen = generator.choices(values, [1, *(0.1,) * (len(values) - 1)], k=count)
    chosen += [generator.randbytes(8) for _ in range(own)]
    if dtype == "bool":
        chosen = [bytes([value[0] % 2]) for value in chosen]
    generator.shuffle(chosen)
    content = torch.tensor([list(value[:size]) for value in chosen], dtype=torch.uint8).reshape(-1)
    return content.view(TYPES[dtype])


def unpack(content):
    return wfn.unpack(io.BytesIO(content))


@pytest.mark.parametrize("decoder", [decode, unpack])
def test_a_file_written_from_the_page_alone(decoder):
    """The good one that the refused ones are made of."""
    found = decoder(coded())
    expected = {"a": ("float32", [16], [0, 0x3F000000] * 8)}
    assert expected == (found["tensors"] if decoder is decode else as_patterns(found))


@pytest.mark.parametrize("decoder", [decode, unpack])
@pytest.mark.parametrize(("what", "content"), refused(), ids=lambda value: value if isinstance(value, str) else "")
def test_what_does_not_fit_is_refused(decoder, what, content):
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
        decoder(content)


@pytest.mark.parametrize("decoder", [decode, unpack])
def test_no_byte_can_change(decoder):
    content = (FOLDER / "few_values.wfn").read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
            decoder(bytes(changed))
        with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
            decoder(content[:place])


def test_a_later_minor_version_may_say_more():
    content = bytearray(coded(later={"of": "a later version"}))
    assert decode(bytes(content))["tensors"] == as_patterns(unpack(bytes(content)))


@pytest.mark.parametrize("count", [1, 2, 4095])
def test_streams_of_one_state_can_be_written_from_the_page(count):
    indices = [i % 3 % 2 for i in range(count)]
    content = coded(tensor={"shape": [count]}, sections={2: encoded(indices)})
    expected = {"a": ("float32", [count], [[0, 0x3F000000][k] for k in indices])}
    assert decode(content)["tensors"] == as_patterns(unpack(content)) == expected


@pytest.mark.parametrize("bits", [[], [5], [1, 2], [1, 1], [7, 7, 7, 8, 9, 10, 3], [255, 256, 257, 257]])
def test_bits_are_written_as_they_are_read(bits):
    assert read(written(bits)) == bits
