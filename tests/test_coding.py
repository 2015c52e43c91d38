"""Bytes of coded indices: what is counted can be decoded, and comes near the entropy."""

import io
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.base.metrics import entropy_bits
from pipeline.measuring.coding import COUNT_BYTES, ans_decode, ans_encode, entropy_coded_bytes, lzw_bytes


@given(arrays(np.int64, st.integers(0, 300), elements=st.integers(0, 700)))
def test_what_is_encoded_can_be_decoded(indices):
    counts = np.bincount(indices, minlength=701)
    assert np.array_equal(ans_decode(ans_encode(indices, counts), counts), indices)


@pytest.mark.parametrize("values", [2, 130, 1000])
def test_the_coder_comes_near_the_entropy(values):
    indices = np.random.default_rng(0).geometric(min(0.8, 3 / values), 200_000).clip(max=values) - 1
    size = entropy_coded_bytes(indices, np.bincount(indices, minlength=values))
    least = entropy_bits(indices) * len(indices) / 8 + COUNT_BYTES * values
    assert least < size < least * 1.0005 + 8


def test_one_value_costs_its_table_only():
    assert entropy_coded_bytes(np.zeros(1000, np.int64), np.array([1000])) == COUNT_BYTES


def test_lzw_is_that_of_the_compress_program():
    """gzip reads what `compress` writes, whichever program wrote it."""
    import ncompress

    indices = np.random.default_rng(0).integers(0, 16, 100_000)
    stream = ncompress.compress(indices.astype(np.uint8).tobytes())
    assert lzw_bytes([indices], [16]) == len(stream)
    unpacked = subprocess.run(["gzip", "--decompress", "--stdout"], input=stream, capture_output=True, check=True)
    assert np.array_equal(np.frombuffer(unpacked.stdout, np.uint8), indices)
    assert ncompress.decompress(io.BytesIO(stream).read()) == unpacked.stdout


def test_lzw_takes_two_bytes_an_index_where_one_is_not_enough():
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 256, 50_000)
    assert lzw_bytes([indices], [256]) < lzw_bytes([indices], [257])
    assert lzw_bytes([indices[:100], indices[100:]], [256, 256]) == lzw_bytes([indices], [256])
    assert lzw_bytes([], []) == 0
