import math

import numpy as np
import pytest
import torch

from pipeline.base.metrics import Layer, weight_metrics
from pipeline.measuring.evaluation import hits


def layer(name, roles, *values, acting=None):
    mask = None if acting is None else np.array(acting, dtype=bool)
    return Layer(name, frozenset(roles), np.array(values, dtype=np.float32), mask)


@pytest.mark.parametrize(
    ("values", "unique", "entropy", "nonzero"),
    [
        ((0, 0, 0.5, -0.5), 3, 1.5, 1.0),
        ((0.25,) * 7, 1, 0, 0),
        ((0, 0, 0), 1, 0, 0),
        ((0.0, -0.0), 1, 0, 0),
        ((1, 2, 3, 4, 5, 6, 7, 8), 8, 3, 3),
        ((), 0, 0, 0),
    ],
)
def test_counts_and_entropy_by_hand(values, unique, entropy, nonzero):
    metrics = weight_metrics([layer("one", (), *values)])
    assert (metrics["parameters"], metrics["unique"]) == (len(values), unique)
    assert (metrics["entropy"], metrics["entropy_nonzero"]) == (entropy, nonzero)


def test_weights_that_never_act_are_told_apart():
    layers = [layer("some act", (), 1, 1, 2, 4, acting=[True, False, True, False]), layer("all act", (), 1, 2)]
    assert weight_metrics(layers)["entropy_acting"] == 1  # of 1 2 1 2


def test_hits_by_hand():
    logits = [
        [0.1, 0.7, 0.2, 0, 0, 0],
        [0.5, 0.3, 0.2, 0, 0, 0.1],
        [0.2, 0.3, 0.5, 0.4, 0.6, 0.7],
        [0.6, 0.6, 0.1, 0, 0, 0],
    ]
    assert hits(torch.tensor(logits), torch.tensor([1, 1, 0, 0])) == (2, 3)
    assert hits(torch.tensor([[1.0, 2.0], [2.0, 2.0]]), torch.tensor([0, 1])) == (0, 2)


def test_both_accountings_by_hand():
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
