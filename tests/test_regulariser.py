import numpy as np
import oracle
import pytest
import torch

from pipeline.wfn.centres import candidate_centres
from pipeline.wfn.regulariser import Regulariser

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
    weights = log_uniform_weights(6_000, torch.Generator().manual_seed(1))
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
