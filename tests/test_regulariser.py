import numpy as np
import oracle
import pytest
import torch

from wfn.centres import candidate_centres
from wfn.regulariser import Regulariser

ZERO_THRESHOLD = 2**-7


def log_uniform_weights(count, generator):
    """Both signs, magnitudes 2^-20 to 2^3."""
    size = torch.exp2(torch.rand(count, generator=generator) * 23 - 20)
    return size * torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)


def codebooks():
    rng = np.random.default_rng(0)
    for k in (3, 20, 200, 700):
        yield rng.choice(candidate_centres(0.005, 8, ZERO_THRESHOLD, 8.0), k, replace=False).astype(np.float32)
        yield rng.normal(0, 0.2, k).astype(np.float32)


@pytest.mark.parametrize("distance", ["relative", "euclidean"])
@pytest.mark.parametrize("with_zero", [True, False])
@pytest.mark.parametrize("centres", list(codebooks()), ids=lambda centres: f"k{len(centres)}")
def test_close_to_autograd_of_the_formula(centres, with_zero, distance):
    centres = np.append(centres[centres != 0], np.zeros(int(with_zero), dtype=np.float32))
    weights = log_uniform_weights(3_000, torch.Generator().manual_seed(1))
    weights[: len(centres)] = torch.from_numpy(centres)  # a weight may sit exactly on a centre
    weights[-2:] = torch.tensor([ZERO_THRESHOLD, -ZERO_THRESHOLD])
    regulariser = Regulariser(centres, zero_threshold=ZERO_THRESHOLD, distance=distance)

    loss, grad = regulariser.loss_and_grad(weights)
    exact_loss, exact_grad = oracle.regulariser(weights, centres, zero_threshold=ZERO_THRESHOLD, distance=distance)
    assert abs(float(loss) - exact_loss) <= 1e-4 * exact_loss
    assert np.linalg.norm(grad.numpy() - exact_grad) <= 1e-3 * np.linalg.norm(exact_grad)


def test_same_on_the_path_for_other_devices():
    weights = log_uniform_weights(50_000, torch.Generator().manual_seed(2))
    regulariser = Regulariser(candidate_centres(0.01, 4, ZERO_THRESHOLD, 4.0), zero_threshold=ZERO_THRESHOLD)
    loss, grad = regulariser.loss_and_grad(weights)
    each_loss, each_slope = regulariser._evaluate(weights)
    torch.testing.assert_close(each_loss.mean(), loss)
    torch.testing.assert_close(each_slope / len(weights), grad)


def test_free_weights_only():
    generator = torch.Generator().manual_seed(3)
    weights = log_uniform_weights(1000, generator)
    free = torch.rand(1000, generator=generator) < 0.3
    before = torch.randn(1000, generator=generator)
    regulariser = Regulariser([-0.5, 0.0, 0.25], zero_threshold=ZERO_THRESHOLD)
    expected_loss, expected = regulariser.loss_and_grad(weights[free])

    grad = before.clone()
    loss = regulariser.add_grad_(grad, weights, free=free, scale=2.0)
    assert torch.equal(grad[~free], before[~free])
    torch.testing.assert_close(grad[free], before[free] + 2 * expected)
    torch.testing.assert_close(loss, expected_loss)


def test_the_pull_weighs_alpha_times_the_task():
    weights = log_uniform_weights(1000, torch.Generator().manual_seed(4))
    regulariser = Regulariser([-0.5, 0.0, 0.25], zero_threshold=ZERO_THRESHOLD)
    loss, slope = regulariser.loss_and_grad(weights)
    grad = torch.ones(1000)
    assert torch.equal(regulariser.add_pull_(grad, weights, task_loss=torch.tensor(3.0), alpha=0.4), loss)
    torch.testing.assert_close(grad, 1 + slope * 0.4 * 3.0 / loss)


def test_weights_on_their_only_centre_feel_nothing():
    regulariser = Regulariser([0.5], zero_threshold=ZERO_THRESHOLD)
    grad = torch.zeros(10)
    loss = regulariser.add_pull_(grad, torch.full((10,), 0.5), task_loss=torch.tensor(1.0), alpha=0.4)
    assert float(loss) == 0
    assert torch.equal(grad, torch.zeros(10))


def test_nothing_free_is_no_loss():
    regulariser = Regulariser([0.5], zero_threshold=ZERO_THRESHOLD)
    loss, grad = regulariser.loss_and_grad(torch.empty(0))
    assert float(loss) == 0
    assert len(grad) == 0


def test_the_weights_are_not_changed():
    weights = log_uniform_weights(1000, torch.Generator().manual_seed(5))
    before = weights.clone()
    Regulariser([0.5, 0.0], zero_threshold=ZERO_THRESHOLD).loss_and_grad(weights)
    assert torch.equal(weights, before)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"centres": []}, "centres"),
        ({"centres": [float("nan")]}, "centres"),
        ({"temperature": 0.0}, "temperature = 0.0"),
        ({"zero_threshold": -1.0}, "zero_threshold = -1.0"),
    ],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        Regulariser(**{"centres": [0.5], "zero_threshold": 0.01} | arguments)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_cuda_is_close_to_the_cpu():
    weights = log_uniform_weights(100_000, torch.Generator().manual_seed(6))
    regulariser = Regulariser(candidate_centres(0.01, 4, ZERO_THRESHOLD, 4.0), zero_threshold=ZERO_THRESHOLD)
    loss, grad = regulariser.loss_and_grad(weights)
    cuda_loss, cuda_grad = regulariser.loss_and_grad(weights.cuda())
    torch.testing.assert_close(cuda_loss.cpu(), loss)
    torch.testing.assert_close(cuda_grad.cpu(), grad)
