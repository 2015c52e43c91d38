import numpy as np
import oracle
import pytest
import torch

from wfn.method.centres import candidate_centres
from wfn.method.pull_lookup import anywhere, columns_of
from wfn.method.regulariser import Regulariser
from wfn.method.threads import CHUNK

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


@pytest.mark.parametrize("weights", [torch.ones(3, dtype=torch.float64), torch.ones(3, 1), torch.ones(3).bfloat16()])
def test_other_weights_than_a_float32_vector_are_refused(weights):
    with pytest.raises(ValueError, match="weights: one float32 vector expected, not"):
        Regulariser([0.5], zero_threshold=2**-7).loss_and_grad(weights)


def test_an_unknown_distance_is_refused():
    with pytest.raises(ValueError, match="distance = 'Relative': must be 'relative' or 'euclidean'"):
        Regulariser([0.5], zero_threshold=2**-7, distance="Relative")


def test_same_on_the_path_for_other_devices():
    weights = log_uniform_weights(50_000, torch.Generator().manual_seed(2))
    regulariser = Regulariser(candidate_centres(0.01, 4, ZERO_THRESHOLD, 4.0), zero_threshold=ZERO_THRESHOLD)
    loss, grad = regulariser.loss_and_grad(weights)
    each_loss, each_slope = anywhere(weights, regulariser._table, columns_of(regulariser._table, weights.device))
    torch.testing.assert_close(each_loss.mean(), loss)
    torch.testing.assert_close(each_slope / len(weights), grad)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [1, 7, 64, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_slopes_and_their_sum_are_those_of_the_formula(size, masked):
    generator = torch.Generator().manual_seed(3)
    weights = log_uniform_weights(size, generator)
    free = torch.rand(size, generator=generator) < 0.4 if masked else None
    centres = [-0.5, -0.125, 0.0, 0.25]
    regulariser = Regulariser(centres, zero_threshold=ZERO_THRESHOLD)
    out = torch.full((size,), torch.nan)
    total = regulariser.slopes_(out, weights, free)

    kept = weights if free is None else weights[free]
    exact_loss, exact_grad = oracle.regulariser(kept, centres, zero_threshold=ZERO_THRESHOLD) if len(kept) else (0, [])
    assert total.dtype == torch.float64
    assert total.shape == ()
    assert float(total) == pytest.approx(exact_loss * len(kept), rel=1e-6)
    found = out if free is None else out[free]
    np.testing.assert_allclose(found.numpy(), np.asarray(exact_grad) * len(kept), rtol=1e-4, atol=1e-4)
    assert free is None or torch.equal(out[~free], torch.zeros(int((~free).sum())))


def test_fixed_weights_may_be_anything():
    weights = torch.tensor([0.3, torch.nan, torch.inf, -0.3])
    free = torch.tensor([True, False, False, True])
    regulariser = Regulariser([-0.5, 0.0, 0.25], zero_threshold=ZERO_THRESHOLD)
    out, alone = torch.empty(4), torch.empty(2)
    assert regulariser.slopes_(out, weights, free) == regulariser.slopes_(alone, weights[free])
    assert torch.equal(out, torch.tensor([alone[0], 0, 0, alone[1]]))


def test_the_number_of_threads_changes_no_bit():
    weights = log_uniform_weights(5 * CHUNK + 11, torch.Generator().manual_seed(7))
    regulariser = Regulariser([-0.5, 0.0, 0.25], zero_threshold=ZERO_THRESHOLD)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            out = torch.empty_like(weights)
            results.append((regulariser.slopes_(out, weights), out))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


DENORMAL = float(np.float32(1e-42))
THRESHOLDS = [DENORMAL, ZERO_THRESHOLD, float(np.float32(0.999))]


def weights_of_any_size(zero_threshold):
    weights = log_uniform_weights(2_000, torch.Generator().manual_seed(8))
    special = torch.tensor([0.0, 0.5, 0.50000006, zero_threshold])
    return torch.cat([weights, special, -special])


@pytest.mark.parametrize("zero_threshold", THRESHOLDS)
@pytest.mark.parametrize("distance", ["relative", "euclidean"])
@pytest.mark.parametrize(
    "centres", [[0.0], [0.5], [DENORMAL, -DENORMAL], [0.0, DENORMAL, 2 * DENORMAL, 0.5], [0.5, 0.50000006]], ids=str
)
def test_centres_and_thresholds_of_any_size(centres, distance, zero_threshold):
    weights = weights_of_any_size(zero_threshold)
    regulariser = Regulariser(np.float32(centres), zero_threshold=zero_threshold, distance=distance)
    out = torch.empty_like(weights)
    total = regulariser.slopes_(out, weights)
    exact_loss, exact_grad = oracle.regulariser(
        weights, np.float32(centres), zero_threshold=zero_threshold, distance=distance
    )
    assert float(total) == pytest.approx(exact_loss * len(weights), rel=1e-4, abs=1e-30)
    exact = exact_grad * len(weights)
    assert np.linalg.norm(out.numpy() - exact) <= 1e-3 * np.linalg.norm(exact) + 1e-6
    losses, slopes = anywhere(weights, regulariser._table, columns_of(regulariser._table, weights.device))
    torch.testing.assert_close(losses.double().sum(), total, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(slopes, out)


@pytest.mark.slow
@pytest.mark.parametrize("zero_threshold", THRESHOLDS)
@pytest.mark.parametrize("distance", ["relative", "euclidean"])
def test_a_huge_centre_far_from_all_weights_changes_nothing(distance, zero_threshold):
    weights = weights_of_any_size(zero_threshold)
    without, with_huge, alone = (
        Regulariser(centres, zero_threshold=zero_threshold, distance=distance).loss_and_grad(weights)
        for centres in ([0.0, 0.5], [0.0, 0.5, 3e38], [3e38])
    )
    torch.testing.assert_close(with_huge, without)
    assert not torch.isnan(alone[1]).any()


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
    assert float(regulariser.slopes_(grad, torch.empty(0), torch.empty(0, dtype=torch.bool))) == 0
    assert float(regulariser.add_pull_(grad, torch.empty(0), task_loss=torch.tensor(1.0), alpha=0.4)) == 0


def test_equal_weights_feel_the_same():
    regulariser = Regulariser([-0.5, 0.0, 0.25], zero_threshold=ZERO_THRESHOLD)
    loss, grad = regulariser.loss_and_grad(torch.full((1000,), 0.3))
    one_loss, one_grad = regulariser.loss_and_grad(torch.tensor([0.3]))
    torch.testing.assert_close(loss, one_loss)
    torch.testing.assert_close(grad * 1000, one_grad.expand(1000))


def test_a_parameter_is_taken_as_it_is():
    weights = torch.nn.Parameter(torch.tensor([0.3, -0.1]))
    Regulariser([0.5], zero_threshold=ZERO_THRESHOLD).slopes_(torch.empty(2), weights)
    assert weights.grad is None


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
        ({"centres": [1e39]}, "centres"),
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
    free = torch.rand(100_000, generator=torch.Generator().manual_seed(9)) < 0.3
    out, cuda_out = torch.empty(100_000), torch.empty(100_000, device="cuda")
    total = regulariser.slopes_(out, weights, free)
    torch.testing.assert_close(regulariser.slopes_(cuda_out, weights.cuda(), free.cuda()).cpu(), total)
    torch.testing.assert_close(cuda_out.cpu(), out)
