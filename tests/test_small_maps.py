"""Convolutions that are matrix products on small maps: the same results as torch's own."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline.network.layout import acting_weights, layer_table
from pipeline.network.small_maps import SmallMapConv2d, met_along, suit_small_maps

sides = st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 3), st.integers(0, 4), st.integers(1, 2))
possible = sides.filter(lambda side: side[0] + 2 * side[3] > side[4] * (side[1] - 1))


@given(possible, possible, st.sampled_from([1, 2]), st.booleans(), st.booleans(), st.booleans())
def test_result_and_gradients_are_torchs(vertical, horizontal, groups, bias, single, channels_last):
    sizes, kernel, stride, padding, dilation = zip(vertical, horizontal, strict=True)
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 6, kernel, stride, padding, dilation, groups, bias).double()
    if channels_last:
        plain.to(memory_format=torch.channels_last)
    own = suit_small_maps(copy.deepcopy(plain))
    pictures = torch.randn(*([] if single else [2]), 4, *sizes, dtype=torch.float64)
    results = []
    for layer in (plain, own):
        inputs = pictures.clone().requires_grad_()
        result = layer(inputs)
        (result.square() * torch.arange(result.numel()).reshape(result.shape)).sum().backward()
        results.append([result, inputs.grad, *(parameter.grad for parameter in layer.parameters())])
    assert isinstance(own, SmallMapConv2d)
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-10)


def test_it_is_a_product_on_maps_of_no_more_pixels_than_taps(monkeypatch):
    """And an ordinary convolution on larger ones, and in groups."""

    def forbidden(*_):
        raise AssertionError

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", forbidden)
    layer = suit_small_maps(nn.Conv2d(2, 4, 3, padding=1))
    for sizes in ((1, 1), (2, 2), (3, 3), (1, 9)):
        assert layer(torch.randn(5, 2, *sizes)).shape == (5, 4, *sizes)
    for other, sizes in ((layer, (2, 5)), (suit_small_maps(nn.Conv2d(2, 4, 3, padding=1, groups=2)), (2, 2))):
        with pytest.raises(AssertionError):
            other(torch.randn(5, 2, *sizes))


def test_a_map_smaller_than_the_kernel_is_refused_as_torch_does():
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        suit_small_maps(nn.Conv2d(1, 1, 5))(torch.randn(1, 1, 3, 3))


def test_meetings_counted_by_hand():
    assert met_along(1, 3, 1, 1, 1) == ({0: 1},)  # one pixel: the middle tap
    assert met_along(2, 3, 2, 1, 1) == ({0: 1, 1: 2},)
    assert met_along(2, 3, 1, 1, 1) == ({0: 1, 1: 2}, {0: 0, 1: 1})
    assert met_along(3, 2, 1, 1, 2) == ({1: 1}, {0: 0, 2: 1}, {1: 0})
    assert met_along(1, 1, 1, 1, 1) == ({}, {0: 0}, {})


def test_what_has_other_padding_or_a_class_of_its_own_stays():
    class Own(nn.Conv2d):
        pass

    layers = [nn.Conv2d(1, 1, 3, padding="same"), nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), Own(1, 1, 3)]
    kinds = [type(layer) for layer in layers]
    suit_small_maps(nn.Sequential(*layers))
    assert [type(layer) for layer in layers] == kinds


def test_untouched_taps_have_a_gradient_of_zero():
    layer = suit_small_maps(nn.Conv2d(2, 2, 3, padding=1))
    layer(torch.randn(3, 2, 1, 1)).sum().backward()
    taps = layer.weight.grad.abs().sum((0, 1)) > 0
    assert taps.nonzero().tolist() == [[1, 1]]


def test_weights_that_meet_only_padding_are_counted():
    network = suit_small_maps(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 4, 3, 2, 1, bias=False)))
    table = layer_table(network, torch.zeros(1, 1, 2, 2)).set_index("parameter")
    assert table["idle"].to_dict() == {"0.weight": 0, "0.bias": 0, "1.weight": 4 * 2 * 5}
    assert {name: mask.sum() for name, mask in acting_weights(network, torch.zeros(1, 1, 2, 2)).items()} == {
        "0.weight": 2 * 9,
        "1.weight": 4 * 2 * 4,
    }


def test_the_weights_that_act_are_those_whose_change_changes_the_result():
    torch.manual_seed(0)
    network = suit_small_maps(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 3, 3, 2, 1, bias=False)))
    image = torch.rand(1, 1, 2, 2) + 1
    network(image).square().sum().backward()
    for name, mask in acting_weights(network, image).items():
        gradient = network.get_parameter(name).grad
        assert ((gradient != 0).numpy().ravel() == mask).all()


def test_any_module_with_a_weight_is_counted():
    """A learned scale of no dimension, and a module that gives back more than a tensor."""

    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(2.0))

        def forward(self, x):
            return self.weight * x

    class Pair(nn.Linear):
        def forward(self, x):
            return super().forward(x), {"and": "more"}

    class First(nn.Module):
        def forward(self, pair):
            return pair[0]

    network = nn.Sequential(nn.Flatten(), Scale(), Pair(4, 3), First())
    assert layer_table(network, torch.zeros(1, 1, 2, 2)).set_index("parameter")["uses"].to_dict() == {
        "1.weight": 4,
        "2.weight": 1,
        "2.bias": 1,
    }
