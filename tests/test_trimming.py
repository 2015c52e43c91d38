"""Convolutions that leave out what meets only padding: the same results as torch's own."""

import copy

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline.network.layout import layer_table
from pipeline.network.trimming import TrimmedConv2d, touching, trim

sides = st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 3), st.integers(0, 4), st.integers(1, 2))
possible = sides.filter(lambda side: side[0] + 2 * side[3] > side[4] * (side[1] - 1))


@given(possible, possible, st.sampled_from([1, 2]), st.booleans())
def test_result_and_gradients_are_those_of_the_whole_kernel(vertical, horizontal, groups, bias):
    sizes, kernel, stride, padding, dilation = zip(vertical, horizontal, strict=True)
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 6, kernel, stride, padding, dilation, groups, bias).double()
    trimmed = trim(copy.deepcopy(plain))
    pictures = torch.randn(2, 4, *sizes, dtype=torch.float64)
    results = []
    for layer in (plain, trimmed):
        inputs = pictures.clone().requires_grad_()
        result = layer(inputs)
        result.square().sum().backward()
        results.append([result, inputs.grad, *(parameter.grad for parameter in layer.parameters())])
    assert isinstance(trimmed, TrimmedConv2d)
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_taps_counted_by_hand():
    assert touching(1, 3, 1, 1, 1) == (1, 2)  # one pixel: the middle tap
    assert touching(2, 3, 2, 1, 1) == (1, 3)  # one place, at the first pixel
    assert touching(2, 3, 1, 1, 1) == (0, 3)
    assert touching(28, 7, 2, 3, 1) == (0, 7)
    assert touching(1, 1, 1, 1, 1) == (0, 1)  # 1 x 1 in padding: its places are kept


def test_what_has_other_padding_or_a_class_of_its_own_stays():
    class Own(nn.Conv2d):
        pass

    layers = [nn.Conv2d(1, 1, 3, padding="same"), nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), Own(1, 1, 3)]
    kinds = [type(layer) for layer in layers]
    trim(nn.Sequential(*layers))
    assert [type(layer) for layer in layers] == kinds


def test_untouched_taps_have_a_gradient_of_zero():
    layer = trim(nn.Conv2d(2, 2, 3, padding=1))
    layer(torch.randn(3, 2, 1, 1)).sum().backward()
    taps = layer.weight.grad.abs().sum((0, 1)) > 0
    assert taps.nonzero().tolist() == [[1, 1]]


def test_weights_that_meet_only_padding_are_counted():
    network = trim(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 4, 3, 2, 1, bias=False)))
    table = layer_table(network, torch.zeros(1, 1, 2, 2)).set_index("parameter")
    assert table["idle"].to_dict() == {"0.weight": 0, "0.bias": 0, "1.weight": 4 * 2 * 5}
