import math

import numpy as np
import pytest

from pipeline.base.metrics import (
    Layer,
    entropy_bits,
    top_k_hits,
    unique_count,
    value_counts,
    weight_metrics,
)


def test_counts_and_entropy_by_hand():
    values = np.array([0, 0, 0.5, -0.5], dtype=np.float32)
    assert unique_count(values) == 3
    assert entropy_bits(values) == 1.5
    assert entropy_bits(values, include_zero=False) == 1.0
    assert entropy_bits(np.full(7, 0.25)) == 0
    assert entropy_bits(np.zeros(3), include_zero=False) == 0
    assert entropy_bits([1, 2, 3, 4, 5, 6, 7, 8]) == 3


def test_minus_zero_is_zero():
    assert unique_count(np.array([0.0, -0.0], dtype=np.float32)) == 1


def test_value_counts():
    distinct, counts = value_counts(np.array([0.5, -1, 0.5], dtype=np.float32))
    assert distinct.tolist() == [-1, 0.5]
    assert counts.tolist() == [1, 2]


def test_top_k_hits_by_hand():
    logits = [[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]
    labels = [1, 1, 0, 0]
    assert top_k_hits(logits, labels, 1) == 2
    assert top_k_hits(logits, labels, 2) == 3
    assert top_k_hits(logits, labels, 5) == 4


def test_both_accountings_by_hand():
    def layer(name, roles, *values):
        return Layer(name, frozenset(roles), np.array(values, dtype=np.float32))

    metrics = weight_metrics(
        [
            layer("stem", {"first"}, 0, 1, 1, 2),
            layer("shortcut", {"downsample"}, 8, 0),
            layer("norm", {"batch_norm"}, 4, 1),
            layer("shortcut norm", {"downsample", "batch_norm"}, 16),
            layer("head", {"last"}, 0, 32),
        ]
    )
    assert metrics["parameters"] == 11
    assert metrics["unique"] == 7  # 0 1 2 4 8 16 32
    assert metrics["unique_no_bn"] == 5  # 0 1 2 8 32
    assert metrics["unique_no_bn_first_last"] == 2  # 8 0
    assert metrics["zero_share"] == pytest.approx(3 / 11)
    assert metrics["unique_as_published"] == 4  # 1 2 4 32
    shares = [3 / 6, 1 / 6, 1 / 6, 1 / 6]
    assert metrics["entropy_as_published"] == pytest.approx(-sum(share * math.log2(share) for share in shares))
    shares = [3 / 11, 3 / 11, *[1 / 11] * 5]
    assert metrics["entropy"] == pytest.approx(-sum(share * math.log2(share) for share in shares))
