"""One result type for all methods: codebooks, both views of entropy, bytes."""

import numpy as np
import pytest

from pipeline.base.metrics import Layer
from pipeline.measuring.codebooks import Quantised
from pipeline.measuring.coding import lzw_bytes


def layer(name, *values, roles=()):
    return Layer(name, frozenset(roles), np.array(values, dtype=np.float32))


# Two layers on the levels -1, 0, 1 with scales 0.5 and 2, a batch-norm that stays float.
LAYERS = [
    layer("a", *[0.5] * 4, *[0] * 2, *[-0.5] * 2),
    layer("norm", 1.25, 3, roles={"batch_norm"}),
    layer("b", 2, -2, 0, 0, roles={"last"}),
]


def test_both_views_by_hand():
    metrics = Quantised(LAYERS, [["a"], ["b"]], buffer_bytes=100).metrics()
    assert metrics["parameters"] == 14
    assert metrics["quantised_parameters"] == 12
    assert metrics["codebooks"] == 2
    assert metrics["unique"] == 7  # -2 -0.5 0 0.5 1.25 2 3
    assert metrics["index_entropy"] == pytest.approx((8 * 1.5 + 4 * 1.5) / 12)  # shares 1/2, 1/4, 1/4 in both
    assert metrics["entropy"] > metrics["index_entropy"]


def test_bytes_by_hand():
    quantised = Quantised(LAYERS, [["a"], ["b"]], buffer_bytes=100)
    metrics = quantised.metrics()
    assert metrics["float_bytes"] == 14 * 4 + 100
    floats = 2 * 4 + (3 + 3) * 4 + 100  # batch-norm, two codebooks, buffers
    coded = lzw_bytes([book.indices for book in quantised.codebooks], [3, 3])
    assert coded > 0
    assert metrics["lzw_bytes"] == coded + floats


def test_a_codebook_gives_the_weights_back():
    shared, alone = Quantised(LAYERS, [["a", "norm"], ["b"]], 0).codebooks
    assert shared.names == ("a", "norm")
    assert np.array_equal(shared.values[shared.indices], np.concatenate([LAYERS[0].values, LAYERS[1].values]))
    assert np.array_equal(alone.values[alone.indices], LAYERS[2].values)


def test_a_float_network_is_not_coded():
    metrics = Quantised(LAYERS, [], buffer_bytes=100).metrics()
    assert metrics["index_entropy"] is None
    assert metrics["lzw_bytes"] == metrics["float_bytes"] == 156
    assert metrics["quantised_parameters"] == 0


def test_codebook_table():
    table = Quantised(LAYERS, [["b"], ["a"]], 0).codebook_table()
    assert table["codebook"].tolist() == ["b"] * 3 + ["a"] * 3
    assert table["value"].tolist() == [-2, 0, 2, -0.5, 0, 0.5]
    assert table["count"].tolist() == [1, 2, 1, 2, 2, 4]


def test_one_codebook_for_everything_has_one_entropy():
    """WFN: the values are the codebook, so both views agree."""
    metrics = Quantised(LAYERS, [["a", "norm", "b"]], 0).metrics()
    assert metrics["index_entropy"] == pytest.approx(metrics["entropy"])
