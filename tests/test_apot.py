"""APoT against its paper: level sets, projection, and the gradient of the clipping value."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline.comparing.fake_quantisation import Project
from pipeline.methods import apot
from pipeline.methods.apot import ActivationProjection, AdditiveLevels, Normalise, WeightProjection, magnitudes

LEVELS = {
    1: "0 1",
    2: "0 1/4 1/2 1",
    3: "0 1/10 1/5 3/10 2/5 3/5 4/5 1",
    4: "0 1/48 1/24 1/16 1/12 1/8 1/6 3/16 1/4 1/3 3/8 1/2 2/3 11/16 3/4 1",
}


@pytest.mark.parametrize("bits", LEVELS)
def test_levels_are_the_papers(bits):
    assert magnitudes(bits) == [Fraction(text) for text in LEVELS[bits].split()]


def test_five_bits():
    levels = magnitudes(5)
    assert len(levels) == 32
    assert levels[-1] == 1
    assert Fraction(1, 2) / Fraction(25, 32) in levels  # one term alone, over the largest sum
    assert levels[1] == Fraction(1, 128) / Fraction(25, 32)


@pytest.mark.parametrize("bits", [0, 6, 8])
def test_other_widths_are_refused(bits):
    with pytest.raises(ValueError, match=f"{bits} bits: APoT levels are defined for 1 to 5 bits"):
        magnitudes(bits)


@given(st.integers(1, 5), st.booleans(), st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=50))
def test_the_nearest_level_is_that_of_a_search(bits, signed, numbers):
    levels = [float(level) for level in magnitudes(bits)]
    levels = sorted({*levels, *(-level for level in levels)}) if signed else levels
    numbers = [abs(number) for number in numbers] if not signed else numbers
    found = AdditiveLevels(bits, signed).nearest(torch.tensor(numbers)).tolist()
    for number, level in zip(numbers, found, strict=True):
        assert abs(level - number) <= min(abs(each - number) for each in levels) + 1e-6
        assert min(abs(each - level) for each in levels) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", LEVELS)
def test_what_is_no_number_stays_none(bits, signed, dtype):
    found = AdditiveLevels(bits, signed).nearest(torch.tensor([[torch.nan, 1.0], [0.0, torch.nan]], dtype=dtype))
    assert found.isnan().tolist() == [[True, False], [False, True]]
    assert (found[0, 1], found[1, 0]) == (1, 0)


def projected(x, alpha, signed=True, clipped=True):
    x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
    result = Project.apply(x, alpha, AdditiveLevels(3, signed), clipped)
    weights = torch.linspace(1, 2, len(x), dtype=torch.float64)
    (result * weights).sum().backward()
    return result.tolist(), x.grad.tolist(), float(alpha.grad), weights.tolist()


def test_projection_by_hand():
    result, to_x, to_alpha, g = projected([-5.0, -0.9, 0.0, 0.45, 1.1, 2.0, 3.0], 2.0)
    assert result == pytest.approx([-2, -0.8, 0, 0.4, 1.2, 2, 2])
    assert to_x == pytest.approx([0, *g[1:6], 0])
    errors = [-1, -0.4 + 0.45, 0, 0.2 - 0.225, 0.6 - 0.55, 0, 1]
    assert to_alpha == pytest.approx(sum(a * b for a, b in zip(errors, g, strict=True)))


def test_straight_through_beyond_the_clip():
    _, to_x, _, g = projected([-5.0, 0.3, 5.0], 2.0, clipped=False)
    assert to_x == pytest.approx(g)


def test_unsigned_levels_end_at_zero():
    result, to_x, to_alpha, _ = projected([-1.0, -0.1], 2.0, signed=False)
    assert result == [0, 0]
    assert to_x == [0, 0]
    assert to_alpha == 0


def test_alpha_gradient_agrees_with_finite_differences():
    """Where they exist: everywhere for what is cut off; within range for the straight-through surrogate of q."""
    step = 1e-6
    for x in (5.0, -5.0):  # cut off: the projection itself
        _, _, gradient, _ = projected([x], 2.0)
        higher, lower = (projected([x], 2.0 + sign * step)[0][0] for sign in (1, -1))
        assert gradient == pytest.approx((higher - lower) / (2 * step), rel=1e-6)
    for x in (0.33, -1.21, 1.9):  # q(u) = u + (q0 - u0), its error held constant
        result, _, gradient, _ = projected([x], 2.0)
        error = result[0] / 2 - x / 2
        higher, lower = ((2.0 + sign * step) * (x / (2.0 + sign * step) + error) for sign in (1, -1))
        assert gradient == pytest.approx((higher - lower) / (2 * step), abs=1e-6)


def test_normalising_passes_gradients_as_autograd_does():
    weight = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    torch.testing.assert_close(Normalise.apply(weight, True), (weight - weight.mean()) / weight.std())
    assert torch.autograd.gradcheck(lambda w: Normalise.apply(w, True), weight)
    Normalise.apply(weight, False).sum().backward()
    torch.testing.assert_close(weight.grad, torch.ones_like(weight) / weight.std())


@pytest.mark.parametrize(("bits", "values"), [(2, 3), (3, 7), (4, 15), (5, 31)])
def test_weights_have_so_many_values(bits, values):
    projection = WeightProjection("imagenet")
    projection.set_width(bits)
    weight = torch.randn(100_000, generator=torch.Generator().manual_seed(0)) * 0.02 + 0.01
    result = projection(weight).detach()
    assert len(result.unique()) == values
    assert float(result.max()) == apot.WEIGHT_CLIP


def test_activations_of_two_signs_have_levels_of_two_signs():
    x = torch.rand(100_000, generator=torch.Generator().manual_seed(0)) * 10
    for signed, inputs, values in ((False, x, 8), (True, 2 * x - 10, 7)):
        projection = ActivationProjection("imagenet", signed)
        projection.set_width(3)
        assert len(projection(inputs).unique()) == values


def test_narrow_networks_start_from_wider_ones():
    assert apot.widths(5) == [5]
    assert apot.widths(4) == [4]
    assert apot.widths(2) == [4, 3, 2]
    assert apot.shares(9, 2) == [4, 5]
    assert apot.shares(2, 3) == [0, 1, 1]


def test_the_input_of_a_layer_is_seen_with_its_signs(task):
    chosen = task(method="apot", bits=4)
    outcome = apot.quantise(chosen)
    assert outcome.activation_bits == 4
    signs = {name: module.input_quantiser.signed for name, module in chosen.model.named_modules()
             if isinstance(module, nn.Conv2d | nn.Linear) and hasattr(module, "input_quantiser")}  # fmt: skip
    assert signs
    assert not any(signs.values())  # a ResNet's inner convolutions see what ReLU lets through
