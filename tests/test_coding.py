"""Bytes of indices coded by LZW, the paper's kind of figure."""

import io
import subprocess

import ncompress
import numpy as np

from pipeline.measuring.coding import lzw_bytes


def test_lzw_is_that_of_the_compress_program():
    """gzip reads what `compress` writes, whichever program wrote it."""

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
