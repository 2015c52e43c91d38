"""WeightFixer around training loops of every kind: fixed weights do not move by one bit, few values come out."""

import copy
import gc
import io
import math
import subprocess
import sys
import weakref

import pytest
import torch
from clones import ROOT
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.testing._internal.two_tensor import TwoTensor

import wfn
from wfn import Regulariser, WeightFixer
from wfn.method.rounds import FRACTIONS, delta_schedule

SHORT = (0.5, 0.9, 1.0)
IMAGES = torch.randn(64, 1, 12, 12, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(64) % 4


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(144, 32), nn.ReLU(), nn.Linear(32, 4),
    )  # fmt: skip


class Lion(torch.optim.Optimizer):
    """Sign of a momentum, with decoupled decay: every weight moves by the rate at every step."""

    def __init__(self, parameters, lr=1e-3, weight_decay=0.1):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(momentum.lerp(parameter.grad, 0.1).sign(), alpha=-group["lr"])
                momentum.lerp_(parameter.grad, 0.01)


def groups(model):
    two_d = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    return [{"params": two_d}, {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}]


OPTIMISERS = {
    "adamw in groups": lambda model: [torch.optim.AdamW(groups(model), lr=1e-3, weight_decay=0.1)],
    "adam foreach": lambda model: [torch.optim.Adam(model.parameters(), lr=1e-3, foreach=True, weight_decay=0.1)],
    "adam fused": lambda model: [torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)],
    "sgd": lambda model: [torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=0.1)],
    "nesterov": lambda model: [torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, nesterov=True)],
    "rmsprop": lambda model: [torch.optim.RMSprop(model.parameters(), lr=1e-3, momentum=0.5)],
    "lion": lambda model: [Lion(model.parameters())],
    "muon and adamw": lambda model: [
        torch.optim.Muon([p for p in model.parameters() if p.ndim == 2], lr=1e-2),
        torch.optim.AdamW([p for p in model.parameters() if p.ndim != 2], lr=1e-3),
    ],
}


def step(model, fixer, optimizers, schedulers=()):
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss = cross_entropy(model(IMAGES), LABELS)
    loss.backward()
    fixer.pull_(loss)
    nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    for each in [*optimizers, *schedulers]:
        each.step()
    return loss


def pulled(model, fixer, optimizer):
    """What a closure does."""
    optimizer.zero_grad()
    loss = cross_entropy(model(IMAGES), LABELS)
    loss.backward()
    fixer.pull_(loss)
    return loss


def weights_of(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def assert_fixed_weights_are_where_they_were(fixer, model, before):
    for name, index in fixer.indices().items():
        fixed = index >= 0
        now = model.get_parameter(name).detach()[fixed]
        assert torch.equal(now.view(torch.int32), before[name][fixed].view(torch.int32)), name
        assert torch.equal(now, fixer.codebook()[index[fixed].long()])


def distinct(model, fixer):
    return len(torch.cat([model.get_parameter(name).detach().flatten().float() for name in fixer.parameters]).unique())


@pytest.mark.parametrize("make", OPTIMISERS.values(), ids=OPTIMISERS)
def test_one_optimiser_through_all_rounds(make):
    model = network()
    fixer, optimizers = WeightFixer(model, delta=0.02, fractions=SHORT), make(model)
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.95) for optimizer in optimizers]
    for optimizer in optimizers:
        fixer.attach(optimizer)
    for round_ in fixer.rounds():
        before = weights_of(model)
        for _ in range(8 if round_.trains else 0):
            step(model, fixer, optimizers, schedulers)
        assert_fixed_weights_are_where_they_were(fixer, model, before)
        if round_.trains:
            free = torch.cat([(index < 0).flatten() for index in fixer.indices().values()])
            moved = torch.cat([(now != before[name]).flatten() for name, now in weights_of(model).items()])
            assert moved[free].float().mean() > 0.9
            assert not moved[~free].any()
        outcome = fixer.fix_()
        assert outcome.fixed == pytest.approx(round_.fraction, abs=1e-3)
        assert (outcome.index, outcome.delta) == (round_.index, round_.delta)
        assert outcome.seconds > 0
        assert outcome.centres >= 1
    assert distinct(model, fixer) == len(fixer.codebook()) == fixer.outcomes[-1].distinct < 300
    shares = fixer.usage() / fixer.usage().sum()
    assert fixer.outcomes[-1].entropy == pytest.approx(float(-(shares * shares.log2()).sum()), rel=1e-5)
    assert int(fixer.usage().sum()) == sum(parameter.numel() for parameter in model.parameters())


def test_lbfgs_with_a_closure():
    model = network()
    fixer, optimizer = WeightFixer(model, delta=0.02, fractions=SHORT), torch.optim.LBFGS(model.parameters())
    fixer.attach(optimizer)
    fixer.fix_()
    before = weights_of(model)

    def closure():
        return pulled(model, fixer, optimizer)

    for _ in range(3):
        optimizer.step(closure)
    assert_fixed_weights_are_where_they_were(fixer, model, before)
    fixer.fix_()


def test_same_steps_as_masked_gradients_and_the_regulariser_by_hand():
    """Adam does to the free weights what it does when the pull is added by hand and fixed gradients are zero."""
    model, other = network(), network()
    fixer = WeightFixer(model, delta=0.02, alpha=0.7, fractions=SHORT)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    fixer.attach(optimizer)
    fixer.fix_()
    other.load_state_dict(model.state_dict())
    fixed = {name: index >= 0 for name, index in fixer.indices().items()}
    by_hand = Regulariser(fixer.state_dict()["centres"], zero_threshold=2**-7)
    reference = torch.optim.Adam(other.parameters(), lr=1e-3)
    for _ in range(5):
        ours = step(model, fixer, [optimizer])
        reference.zero_grad()
        loss = cross_entropy(other(IMAGES), LABELS)
        loss.backward()
        free = torch.cat([parameter.detach()[~fixed[name]] for name, parameter in other.named_parameters()])
        penalty, slopes = by_hand.loss_and_grad(free)
        parts = slopes.split([int((~fixed[name]).sum()) for name, _ in other.named_parameters()])
        for (name, parameter), part in zip(other.named_parameters(), parts, strict=True):
            parameter.grad[fixed[name]] = 0
            parameter.grad[~fixed[name]] += 0.7 * loss.detach() / penalty * part
        nn.utils.clip_grad_norm_(other.parameters(), 0.5)
        reference.step()
        assert ours.item() == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, other.get_parameter(name), rtol=1e-4, atol=1e-6)


def test_gradient_accumulation_is_one_large_batch():
    whole, parts = network(), network()
    found = []
    for model, pieces in ((whole, 1), (parts, 4)):
        model.eval()  # the statistics of batch-norm would differ
        fixer, optimizer = WeightFixer(model, delta=0.02), torch.optim.SGD(model.parameters(), lr=0.1)
        fixer.attach(optimizer)
        fixer.fix_()
        optimizer.zero_grad(set_to_none=pieces == 1)
        losses = []
        for images, labels in zip(IMAGES.chunk(pieces), LABELS.chunk(pieces), strict=True):
            losses.append(cross_entropy(model(images), labels) / pieces)
            losses[-1].backward()
        found.append(fixer.pull_(sum(losses)))
        optimizer.step()
    assert found[0] == pytest.approx(float(found[1]))
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(parameter, parts.get_parameter(name), rtol=1e-4, atol=1e-6)


def test_a_grad_scaler():
    """Unscaled, then pulled, clipped and stepped: the same as without a scaler."""
    found = []
    for scaled in (False, True):
        model = network()
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)
        fixer, optimizer = WeightFixer(model, delta=0.02), torch.optim.SGD(model.parameters(), lr=0.1)
        fixer.attach(optimizer)
        fixer.fix_()
        for _ in range(3):
            optimizer.zero_grad()
            loss = cross_entropy(model(IMAGES), LABELS)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            fixer.pull_(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            scaler.step(optimizer)
            scaler.update()
        found.append(weights_of(model))
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name])


def test_autocast_in_bf16():
    model = network()
    fixer, optimizer = WeightFixer(model, delta=0.02), torch.optim.AdamW(model.parameters(), lr=1e-3)
    fixer.attach(optimizer)
    fixer.fix_()
    before = weights_of(model)
    for _ in range(3):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = cross_entropy(model(IMAGES), LABELS)
        loss.backward()
        fixer.pull_(loss)
        optimizer.step()
    assert_fixed_weights_are_where_they_were(fixer, model, before)


@pytest.fixture
def started():
    """A model, its fixer after the first round, and an optimiser that is attached."""
    model = network()
    fixer, optimizer = WeightFixer(model, delta=0.02), torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    fixer.attach(optimizer)
    fixer.fix_()
    optimizer.zero_grad()
    loss = cross_entropy(model(IMAGES), LABELS)
    return model, fixer, optimizer, loss


class TestWrongOrder:
    """What would train another thing than it says raises, and says the order."""

    def test_no_gradients_yet(self, started):
        _, fixer, _, loss = started
        with pytest.raises(RuntimeError, match=r"pull_: there are no new gradients; the order is: loss.backward"):
            fixer.pull_(loss)

    def test_after_the_step(self, started):
        _, fixer, optimizer, loss = started
        loss.backward()
        fixer.pull_(loss)
        optimizer.step()
        with pytest.raises(RuntimeError, match="no new gradients"):
            fixer.pull_(loss)

    def test_twice(self, started):
        _, fixer, _, loss = started
        loss.backward()
        fixer.pull_(loss)
        with pytest.raises(RuntimeError, match="no new gradients"):
            fixer.pull_(loss)

    def test_not_at_all(self, started):
        _, _, optimizer, loss = started
        loss.backward()
        with pytest.raises(RuntimeError, match="step: gradients have come since the last pull_"):
            optimizer.step()

    def test_before_the_last_backward(self, started):
        model, fixer, optimizer, loss = started
        loss.backward()
        fixer.pull_(loss)
        cross_entropy(model(IMAGES), LABELS).backward()
        with pytest.raises(RuntimeError, match="step: gradients have come since the last pull_"):
            optimizer.step()

    def test_after_clipping(self, started):
        model, fixer, _, loss = started
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        with pytest.raises(RuntimeError, match="gradients have been changed since"):
            fixer.pull_(loss)

    def test_before_unscaling(self, started):
        """At the second step at the latest: an optimiser is not told that a scaler makes its first."""
        model, fixer, optimizer, _ = started
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

        def scaled_step():
            optimizer.zero_grad()
            loss = cross_entropy(model(IMAGES), LABELS)
            scaler.scale(loss).backward()
            fixer.pull_(loss)
            scaler.step(optimizer)
            scaler.update()

        with pytest.raises(RuntimeError, match="the gradients are still scaled"):
            [scaled_step() for _ in range(2)]

    def test_without_attach(self):
        model = network()
        fixer = WeightFixer(model, delta=0.02)
        cross_entropy(model(IMAGES), LABELS).backward()
        with pytest.raises(RuntimeError, match="no optimiser is attached"):
            fixer.pull_(1.0)

    def test_an_optimiser_that_is_not_attached(self, started):
        model, fixer, _, _ = started
        other = torch.optim.SGD(model.parameters(), lr=0.1)
        cross_entropy(model(IMAGES), LABELS).backward()
        other.step()
        with pytest.raises(RuntimeError, match=r"0.weight: fixed weights have moved since the last fix_"):
            fixer.fix_()

    def test_a_round_without_fix(self):
        fixer = WeightFixer(network(), delta=0.02)
        with pytest.raises(RuntimeError, match="round 0 has ended without fix_"):
            list(fixer.rounds())

    def test_more_rounds_than_there_are(self):
        fixer = wfn.fix(network(), delta=0.02)
        with pytest.raises(RuntimeError, match="all 1 rounds are over"):
            fixer.fix_()

    def test_attaching_what_is_no_optimiser_of_these_parameters(self, started):
        _, fixer, optimizer, _ = started
        with pytest.raises(TypeError, match="a torch.optim.Optimizer is needed, not list"):
            fixer.attach([optimizer])
        with pytest.raises(ValueError, match="none of the parameters"):
            fixer.attach(torch.optim.SGD(network().parameters(), lr=0.1))


def test_alpha_zero_needs_no_pull(started):
    model, _, _, _ = started
    fixer, optimizer = WeightFixer(model, delta=0.02, alpha=0.0), torch.optim.SGD(model.parameters(), lr=0.1)
    fixer.attach(optimizer)
    fixer.fix_()
    before = weights_of(model)
    optimizer.zero_grad()
    cross_entropy(model(IMAGES), LABELS).backward()
    optimizer.step()
    assert_fixed_weights_are_where_they_were(fixer, model, before)


def test_the_pull_weighs_alpha_times_the_loss(started):
    """The regulariser's gradient alone: alpha * loss / L_reg times its slopes, for negative losses by their size."""
    model, _, _, _ = started
    fixer, optimizer = WeightFixer(model, delta=0.02, alpha=0.5), torch.optim.SGD(model.parameters(), lr=0.0)
    fixer.attach(optimizer)
    fixer.fix_()
    pulls = []
    for loss in (2.0, -2.0, 4.0):
        optimizer.zero_grad()
        (cross_entropy(model(IMAGES), LABELS) * 0).backward()
        assert float(fixer.pull_(loss)) > 0
        pulls.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
        optimizer.step()
    torch.testing.assert_close(pulls[0], pulls[1])
    torch.testing.assert_close(2 * pulls[0], pulls[2])
    assert float(pulls[0].abs().sum()) > 0


# Kinds of parameters


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.float16])
def test_other_types_are_fixed_in_their_own(dtype):
    model = network().to(dtype)
    fixer = WeightFixer(model, delta=0.02, fractions=SHORT)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    fixer.attach(optimizer)
    for round_ in fixer.rounds():
        for _ in range(3 if round_.trains else 0):
            optimizer.zero_grad()
            loss = cross_entropy(model(IMAGES.to(dtype)).float(), LABELS)
            loss.backward()
            fixer.pull_(loss)
            optimizer.step()
        outcome = fixer.fix_()
        assert outcome.distinct <= outcome.centres
    assert all(parameter.dtype == dtype for parameter in model.parameters())
    values = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    assert torch.equal(values.unique().float(), fixer.codebook())


def test_mixed_types_share_their_values():
    """A value that bfloat16 cannot hold is rounded for the float32 parameters too: their number does not grow."""
    model = network()
    model[4].to(torch.bfloat16)
    fixer = wfn.fix(model, delta=0.002)
    exact = wfn.fix(network(), delta=0.002)
    assert distinct(model, fixer) == len(fixer.codebook()) <= len(exact.codebook())
    assert torch.equal(fixer.codebook(), fixer.codebook().bfloat16().float())


def test_free_weights_of_float64_keep_their_digits():
    model = network().double()
    before = weights_of(model)
    fixer = WeightFixer(model, delta=0.02)
    fixer.fix_()
    for name, index in fixer.indices().items():
        assert torch.equal(model.get_parameter(name).detach()[index < 0], before[name][index < 0])


def test_tied_parameters_count_once():
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    model[2].weight = model[0].weight
    fixer = wfn.fix(model, delta=0.02)
    assert list(fixer.parameters) == ["0.weight", "0.bias", "2.bias"]
    assert int(fixer.usage().sum()) == 16 * 16 + 32
    weight = model[0].weight
    assert int(wfn.fix([weight, weight, model[0].bias], delta=0.02).usage().sum()) == 16 * 16 + 16


def test_channels_last_and_empty_parameters():
    plain, other = network(), network().to(memory_format=torch.channels_last)
    other.register_parameter("nothing", nn.Parameter(torch.empty(0, 3)))
    one, two = wfn.fix(plain, delta=0.02), wfn.fix(other, delta=0.02, include="all")
    for name, index in one.indices().items():
        assert torch.equal(plain.get_parameter(name), other.get_parameter(name))
        assert torch.equal(index, two.indices()[name])
    assert two.indices()["nothing"].shape == (0, 3)


def test_frozen_parameters_are_fixed_and_not_trained(started):
    model = network()
    model[0].weight.requires_grad_(False)
    fixer, optimizer = WeightFixer(model, delta=0.02, fractions=SHORT), torch.optim.Adam(model.parameters(), lr=1e-2)
    fixer.attach(optimizer)
    for round_ in fixer.rounds():
        before = model[0].weight.clone()
        for _ in range(2 if round_.trains else 0):
            step(model, fixer, [optimizer])
        assert torch.equal(model[0].weight, before)
        fixer.fix_()
    assert set(model[0].weight.flatten().tolist()) <= set(fixer.codebook().tolist())


def trained(fixer, model, optimizer, steps=2):
    """Train in the round after a first `fix_`, and end it; every fixed weight must be where it was."""
    before = weights_of(model)
    for _ in range(steps):
        step(model, fixer, [optimizer])
    assert_fixed_weights_are_where_they_were(fixer, model, before)
    return fixer.fix_()


def still_there(model, fixer, name, before):
    """Whether no weight that is free still has moved."""
    free = fixer.indices()[name] < 0
    return free.any() and torch.equal(model.get_parameter(name)[free], before[name][free])


def test_parameters_may_be_frozen_and_set_free_at_any_time():
    """Gradual unfreezing, and freezing what is fixed mostly: a frozen layer is not pulled, a free one is."""
    model = network()
    model[0].weight.requires_grad_(False)
    fixer = WeightFixer(model, delta=0.02, fractions=(0.3, 0.6, 0.9, 1.0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    fixer.attach(optimizer)
    fixer.fix_()
    before = weights_of(model)
    trained(fixer, model, optimizer)
    assert still_there(model, fixer, "0.weight", before)
    model[0].weight.requires_grad_(True)
    model[9].weight.requires_grad_(False)
    before = weights_of(model)
    trained(fixer, model, optimizer)
    assert not still_there(model, fixer, "0.weight", before)
    assert still_there(model, fixer, "9.weight", before)


def test_a_layer_that_is_set_free_is_pulled_like_the_others():
    """Against a fixer that was made after it had been."""
    found = []
    for late in (False, True):
        model = network()
        model[0].weight.requires_grad_(not late)
        fixer, optimizer = WeightFixer(model, delta=0.02), torch.optim.SGD(model.parameters(), lr=0.1)
        fixer.attach(optimizer)
        fixer.fix_()
        model[0].weight.requires_grad_(True)
        step(model, fixer, [optimizer])
        found.append(weights_of(model))
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


@pytest.mark.parametrize("when", ["before the first round", "after it", "after loading a state"])
def test_a_model_may_be_laid_out_anew(when):
    """With its channels last, the kept values follow into the new order of the memory."""
    model = network()
    fixer, optimizer = WeightFixer(model, delta=0.02, fractions=SHORT), torch.optim.Adam(model.parameters(), lr=1e-2)
    fixer.attach(optimizer)
    if when == "before the first round":
        model.to(memory_format=torch.channels_last)
    fixer.fix_()
    if when == "after loading a state":
        again = WeightFixer(model, delta=0.02, fractions=SHORT)
        again.load_state_dict(fixer.state_dict())
        again.attach(optimizer := torch.optim.Adam(model.parameters(), lr=1e-2))
        fixer = again
    before = {name: index.clone() for name, index in fixer.indices().items()}
    model.to(memory_format=torch.channels_last)
    assert not model[4].weight.is_contiguous()
    assert all(torch.equal(index, before[name]) for name, index in fixer.indices().items())
    trained(fixer, model, optimizer)
    trained(fixer, model, optimizer)
    assert set(model[4].weight.flatten().tolist()) <= set(fixer.codebook().tolist())


def test_a_model_of_another_type_or_shape_needs_a_new_fixer():
    model = network()
    fixer = WeightFixer(model, delta=0.02)
    fixer.fix_()
    model.half()
    with pytest.raises(RuntimeError, match=r"0.weight: is torch.float16 \[8, 1, 3, 3\], and was torch.float32"):
        fixer.fix_()
    model = network()
    fixer = WeightFixer(model, delta=0.02)
    model[9].bias.data = torch.zeros(2)  # as a shard
    with pytest.raises(RuntimeError, match=r"9.bias: is torch.float32 \[2\], and was torch.float32 \[4\]"):
        fixer.fix_()


def test_an_optimiser_may_be_given_more_parameters_later():
    model = network()
    fixer = WeightFixer(model, delta=0.02, fractions=SHORT)
    optimizer = torch.optim.SGD(model[7:].parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    fixer.attach(optimizer)
    fixer.fix_()
    optimizer.add_param_group({"params": list(model[:7].parameters())})
    trained(fixer, model, optimizer)


@pytest.mark.parametrize("closure", [False, True], ids=["a step", "a closure"])
def test_nothing_holds_what_is_dropped(closure):
    """An optimiser of each round, whose moments are larger than the network, and at last that: no garbage is left."""

    def optimised(model, fixer):
        optimizer = torch.optim.LBFGS(model.parameters()) if closure else torch.optim.Adam(model.parameters())
        fixer.attach(optimizer)
        if closure:
            optimizer.step(lambda: pulled(model, fixer, optimizer))
        else:
            step(model, fixer, [optimizer])
        return weakref.ref(optimizer)

    def fixed():
        model = network()
        fixer = WeightFixer(model, delta=0.02, fractions=SHORT)
        for _ in fixer.rounds():
            assert optimised(model, fixer)() is None
            fixer.fix_()
        return [weakref.ref(each) for each in (fixer, model, model[0].weight)]

    gc.disable()
    try:
        assert [each() for each in fixed()] == [None] * 3
    finally:
        gc.enable()


def test_every_scaler_has_to_be_undone():
    model = network()
    fixer = WeightFixer(model, delta=0.02)
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.1) for part in (model[:7], model[7:])]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for optimizer in optimizers:
        fixer.attach(optimizer)
    fixer.fix_()

    def scaled(*unscaled):
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = cross_entropy(model(IMAGES), LABELS)
        scaler.scale(loss).backward()
        for optimizer in unscaled:
            scaler.unscale_(optimizer)
        fixer.pull_(loss)
        for optimizer in optimizers:
            scaler.step(optimizer)
        scaler.update()

    scaled(*optimizers)
    with pytest.raises(RuntimeError, match="still scaled"):
        scaled(optimizers[0])


def test_a_scaler_that_is_no_longer_used_is_forgotten():
    model = network()
    fixer, optimizer = WeightFixer(model, delta=0.02), torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    fixer.attach(optimizer)
    for _ in range(2):
        optimizer.zero_grad()
        scaler.scale(cross_entropy(model(IMAGES), LABELS)).backward()
        scaler.step(optimizer)
        scaler.update()
    optimizer.zero_grad()
    cross_entropy(model(IMAGES), LABELS).backward()
    optimizer.step()
    fixer.fix_()
    step(model, fixer, [optimizer])


def test_a_sparse_gradient_is_named():
    model = nn.Sequential(nn.Embedding(16, 4, sparse=True), nn.Linear(4, 4))
    fixer = WeightFixer(model, delta=0.02, include="all")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    fixer.attach(optimizer)
    fixer.fix_()
    loss = model(torch.arange(4)).square().mean()
    loss.backward()
    with pytest.raises(RuntimeError, match=r"0.weight: its gradient is sparse"):
        fixer.pull_(loss)


def shared():
    first = nn.Parameter(torch.randn(4, 4))
    return [first, nn.Parameter(first.data)]


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"w": nn.Parameter(torch.randn(4, 6)[:, ::2])}, "w: has the strides"),
        ({"w": nn.Parameter(torch.randn(4, 6).t())}, "w: has the strides"),
        ({"w": nn.Parameter(torch.randn(1, 6).expand(4, 6))}, "w: has the strides"),
        ({"w": nn.Parameter(torch.randn(8, 6)[2:4])}, "w: is a view of a larger memory"),
        ({"w": nn.Parameter(torch.randn(4, 4).to_sparse())}, "w: has no dense memory"),
        ({"w": nn.Parameter(torch.randn(4, 4, device="meta"))}, r"w: has no dense memory \(meta"),
        ({"w": nn.Parameter(torch.ones(4, dtype=torch.complex64))}, "w: is of type torch.complex64"),
        ({"w": nn.Parameter(torch.ones(4, dtype=torch.int8), requires_grad=False)}, "w: is of type torch.int8"),
        (shared(), "parameter 1: shares its memory with parameter 0"),
        (
            [*nn.Linear(2, 2).named_parameters(), *nn.Linear(2, 3).named_parameters()],
            "weight: two parameters have this",
        ),
        (nn.Sequential(weight_norm(nn.Conv1d(1, 2, 3))), r"0.parametrizations.weight.original0: a weight is computed"),
        (nn.Sequential(spectral_norm(nn.Linear(2, 3))), r"0.parametrizations.weight.original: a weight is computed"),
        (weight_norm(nn.Linear(2, 3)).named_parameters(), r"parametrizations.weight.original0: a weight is computed"),
        (nn.utils.weight_norm(nn.Linear(2, 3)), "weight_g: a weight is computed from it"),
        (nn.utils.spectral_norm(nn.Linear(2, 3)), "weight_orig: a weight is computed from it"),
        (nn.LazyLinear(3), "weight: has no shape yet"),
        ([], "no parameters to fix"),
        (nn.LayerNorm(3), "no parameters to fix"),
    ],
)
def test_parameters_that_cannot_be_fixed_are_named(parameters, problem):
    with pytest.raises(ValueError, match=problem):
        WeightFixer(parameters, delta=0.01)


def test_what_is_no_parameter_is_named():
    with pytest.raises(TypeError, match="weight: an nn.Parameter is needed, not Tensor"):
        WeightFixer(nn.Linear(2, 3).state_dict(), delta=0.01)


def test_a_parametrised_layer_may_be_left_out():
    model = nn.Sequential(nn.Linear(4, 4), weight_norm(nn.Linear(4, 2)))
    assert list(WeightFixer(model, delta=0.01, exclude="1.*").parameters) == ["0.weight", "0.bias"]


def test_weights_that_are_not_finite_are_named():
    model = network()
    with torch.no_grad():
        model[7].weight[0, 0] = math.nan
    fixer = WeightFixer(model, delta=0.01)
    before = weights_of(model)
    with pytest.raises(ValueError, match="7.weight: holds NaN or infinite weights"):
        fixer.fix_()
    assert all(torch.equal(value, before[name]) for name, value in weights_of(model).items() if name != "7.weight")


def test_which_parameters():
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.LayerNorm(4), nn.Linear(4, 2), nn.Embedding(3, 2))
    names = [name for name, _ in model.named_parameters()]

    def taken(**options):
        return list(WeightFixer(model, delta=0.01, **options).parameters)

    assert taken() == [name for name in names if name[0] in "013"]
    assert taken(include="all") == names
    assert taken(include=nn.Linear) == ["3.weight", "3.bias"]
    assert taken(include=(nn.Linear, nn.LayerNorm)) == [name for name in names if name[0] in "23"]
    assert taken(include=lambda name, parameter: parameter.ndim > 1 and name != "3.weight") == ["0.weight", "4.weight"]
    assert taken(exclude="1.weight") == [name for name in names if name[0] in "013" and name != "1.weight"]
    assert taken(include="all", exclude=["0.*", "*.bias"]) == ["1.weight", "2.weight", "3.weight", "4.weight"]
    assert list(WeightFixer(model.named_parameters(), delta=0.01).parameters) == names
    assert len(WeightFixer(model.parameters(), delta=0.01).parameters) == len(names)
    with pytest.raises(ValueError, match="exclude = 'haed': matches no parameter"):
        taken(exclude="haed")
    with pytest.raises(ValueError, match="include = 'everything'"):
        taken(include="everything")
    with pytest.raises(TypeError, match="module types need a module"):
        WeightFixer(model.parameters(), delta=0.01, include=nn.Linear)
    with pytest.raises(TypeError, match="parameter 0: an nn.Parameter is needed, not Tensor"):
        WeightFixer([torch.ones(3)], delta=0.01)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"delta": 0.0}, "delta = 0.0"),
        ({"delta": 0.1}, "delta = 0.1: must lie between 0 and 0.1"),
        ({"delta": math.nan}, "delta = nan"),
        ({"alpha": -1.0}, "alpha = -1.0"),
        ({"alpha": math.inf}, "alpha = inf"),
        ({"fractions": (0.5, 0.4, 1.0)}, "fractions"),
        ({"fractions": (0.0, 1.0)}, "fractions"),
        ({"fractions": (0.5,)}, "end at 1"),
        ({"fractions": ()}, "fractions"),
        ({"zero_threshold": 0.0}, "zero_threshold = 0.0"),
        ({"temperature": 0.0}, "temperature = 0.0"),
        ({"mode": "other"}, "mode = 'other'"),
        ({"distance": "other"}, "distance = 'other'"),
    ],
)
def test_bad_settings_are_named(options, problem):
    with pytest.raises(ValueError, match=problem):
        WeightFixer(network(), **{"delta": 0.01} | options)


def test_the_budget_shrinks_to_delta():
    assert delta_schedule(0.01, 4) == [0.04, 0.03, 0.02, 0.01]
    rounds = WeightFixer(network(), delta=0.01)
    assert len(FRACTIONS) == 10
    first = next(rounds.rounds())
    assert (first.index, first.fraction, first.delta, first.trains) == (0, 0.3, 0.1, False)


# Going on


def run(model, rounds, fixer, optimizer):
    for round_ in rounds:
        for _ in range(3 if round_.trains else 0):
            step(model, fixer, [optimizer])
        fixer.fix_()


@pytest.mark.parametrize("mode", ["recluster", "incremental"])
@pytest.mark.parametrize("steps", [0, 2])
def test_resume_ends_with_the_same_bits(mode, steps):
    """Broken off between two rounds, or after some steps of one; the caller keeps the other states."""
    options = {"delta": 0.02, "fractions": (0.3, 0.6, 0.9, 1.0), "mode": mode}

    def start():
        model = network()
        fixer, optimizer = WeightFixer(model, **options), torch.optim.Adam(model.parameters(), lr=1e-3)
        fixer.attach(optimizer)
        return model, fixer, optimizer

    whole, fixer, optimizer = start()
    run(whole, fixer.rounds(), fixer, optimizer)

    model, fixer, optimizer = start()
    rounds = fixer.rounds()
    run(model, [next(rounds)], fixer, optimizer)
    run(model, [next(rounds)], fixer, optimizer)
    for _ in range(steps):
        step(model, fixer, [optimizer])
    content = io.BytesIO()
    torch.save([model.state_dict(), fixer.state_dict(), optimizer.state_dict()], content)

    model, fixer, optimizer = start()
    content.seek(0)
    for each, state in zip((model, fixer, optimizer), torch.load(content, weights_only=True), strict=True):
        each.load_state_dict(state)
    assert [outcome.index for outcome in fixer.outcomes] == [0, 1]
    for round_ in fixer.rounds():
        done = steps if round_.index == 2 else 0
        for _ in range(3 - done):
            step(model, fixer, [optimizer])
        fixer.fix_()
    assert all(torch.equal(value, whole.get_parameter(name)) for name, value in weights_of(model).items())
    assert fixer.outcomes[-1].distinct == len(fixer.codebook())


def test_a_state_of_something_else_is_refused():
    fixer = WeightFixer(network(), delta=0.02)
    fixer.fix_()
    state = fixer.state_dict()
    with pytest.raises(ValueError, match="other fractions or another delta"):
        WeightFixer(network(), delta=0.01).load_state_dict(state)
    with pytest.raises(ValueError, match="is not among the parameters"):
        WeightFixer(nn.Sequential(nn.Linear(3, 3)), delta=0.02).load_state_dict(state)
    moved = WeightFixer(network(seed=1), delta=0.02)
    moved.load_state_dict(state)  # of a model whose own state was forgotten
    with pytest.raises(RuntimeError, match="fixed weights have moved"):
        moved.fix_()


PROCESSES = """
import os, sys
import torch
from torch import distributed, nn
from torch.nn.functional import cross_entropy
sys.path[:0] = [{root!r}, {tests!r}]
from test_fixer import IMAGES, LABELS, network
from wfn import WeightFixer

rank, world = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
if world > 1:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
model = network().eval()  # batch-norm by its running statistics: those of a batch would differ
wrapped = nn.parallel.DistributedDataParallel(model) if world > 1 else model
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
fixer = WeightFixer(model, delta=0.02, fractions=(0.5, 0.9, 1.0))
fixer.attach(optimizer)
for round_ in fixer.rounds():
    for _ in range(3 if round_.trains else 0):
        optimizer.zero_grad()
        loss = cross_entropy(wrapped(IMAGES[rank::world]), LABELS[rank::world])
        loss.backward()
        fixer.pull_(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    fixer.fix_()
torch.save([model.state_dict(), fixer.state_dict()], f"{folder}/{{rank}}-of-{{world}}.pt")
for broken in range(world if world > 1 else 0):  # an error of one process is one of all
    model = network()
    with torch.no_grad():
        if rank == broken:
            model[0].weight[0] = float("nan")
    try:
        WeightFixer(model, delta=0.02).fix_()
    except ValueError as error:
        print(error)
"""


@pytest.mark.slow
def test_two_processes_hold_the_same_result(tmp_path):
    """With plain torch.distributed and DDP: the bits of one another, and what one process finds but for rounding."""
    text = PROCESSES.format(root=str(ROOT), tests=str(ROOT / "tests"), folder=tmp_path)
    for world in (1, 2):
        started = [
            subprocess.Popen([sys.executable, "-c", text, str(rank), str(world)], stdout=subprocess.PIPE, text=True)
            for rank in range(world)
        ]
        said = [process.communicate(timeout=900)[0] for process in started]
        assert [process.returncode for process in started] == [0] * world
    assert [each.count("0.weight: holds NaN or infinite weights") for each in said] == [2, 2]
    (one, state), (other, again), (alone, _) = (
        torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("0-of-2", "1-of-2", "0-of-1")
    )
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
        torch.testing.assert_close(value, alone[name], rtol=0.05, atol=0.01)
    assert torch.equal(state["codebook"], again["codebook"])
    assert torch.equal(state["centres"], again["centres"])


def test_one_shot():
    model = network()
    fixer = wfn.fix(model, delta=0.01)
    assert distinct(model, fixer) == len(fixer.codebook())
    assert all((index >= 0).all() for index in fixer.indices().values())
    for name, index in fixer.indices().items():
        assert index.dtype == torch.int32
        assert torch.equal(fixer.codebook()[index.long()], model.get_parameter(name).detach())


def test_the_model_stays_an_ordinary_one():
    """It can be copied and saved while it is being fixed, and nothing keeps a dropped optimiser alive."""
    model = network()
    fixer = WeightFixer(model, delta=0.02)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    fixer.attach(optimizer)
    fixer.fix_()
    twin = copy.deepcopy(model)
    assert all(torch.equal(value, twin.get_parameter(name)) for name, value in weights_of(model).items())
    content = io.BytesIO()
    torch.save(model, content)
    dropped = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert dropped() is None


def test_a_second_fixer_takes_an_optimiser_over():
    """The first one has ended: its values are no longer put back, and its order of a step not asked for."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(2):
        fixer = WeightFixer(model, delta=0.02, fractions=(0.5, 1.0))
        fixer.attach(optimizer)
        fixer.fix_()
        before = weights_of(model)
        trained(fixer, model, optimizer)
        assert not still_there(model, fixer, "0.weight", before)
    assert fixer.outcomes[-1].fraction == 1
    assert len(model[0].weight._post_accumulate_grad_hooks) == 1  # those of the first one are gone


def test_two_fixers_of_other_parameters_watch_one_optimiser():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    fixers = [WeightFixer(model[place], delta=0.02, alpha=0, fractions=(0.5, 1.0)) for place in (0, 7)]
    for fixer in fixers:
        fixer.attach(optimizer)
        fixer.fix_()
    before = weights_of(model)
    cross_entropy(model(IMAGES), LABELS).backward()
    optimizer.step()
    for place, fixer in zip((0, 7), fixers, strict=True):
        fixed = fixer.indices()["weight"] >= 0
        moved = model[place].weight.detach() != before[f"{place}.weight"]
        assert not moved[fixed].any()
        assert moved[~fixed].any()


def test_training_goes_on_after_the_last_round():
    """Without `pull_`: nothing is pulled any more. Once detached, the optimiser moves the weights again."""
    model = network()
    fixer, optimizer = WeightFixer(model, delta=0.02, exclude="9.*"), torch.optim.SGD(model.parameters(), lr=0.05)
    fixer.attach(optimizer)
    for round_ in fixer.rounds():
        if round_.trains:
            step(model, fixer, [optimizer])
        fixer.fix_()
    before = weights_of(model)
    cross_entropy(model(IMAGES), LABELS).backward()
    optimizer.step()
    assert_fixed_weights_are_where_they_were(fixer, model, before)
    assert not torch.equal(model[9].weight, before["9.weight"])
    assert step(model, fixer, [optimizer]).isfinite()
    fixer.detach(optimizer)
    optimizer.zero_grad()
    cross_entropy(model(IMAGES), LABELS).backward()
    optimizer.step()
    assert not torch.equal(model[0].weight, before["0.weight"])


def replaced_layer(model):
    model[7] = nn.Linear(144, 32)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda model: model.load_state_dict(network(1).state_dict(), assign=True), "0.weight"),
        (replaced_layer, "7.weight"),
        (lambda model: weight_norm(model[7]), "7.weight"),
    ],
    ids=["assign=True", "a layer", "weight_norm"],
)
def test_parameters_that_were_replaced_are_named(change, name):
    model = network()
    fixer = WeightFixer(model, delta=0.02)
    change(model)
    for call in (fixer.fix_, lambda: fixer.attach(torch.optim.SGD(model.parameters(), lr=0.1))):
        with pytest.raises(RuntimeError, match=f"{name}: is another parameter than when the fixer was made"):
            call()


def test_an_optimiser_that_goes_up_is_refused(started):
    model, fixer, optimizer, loss = started
    up = torch.optim.SGD(model.parameters(), lr=0.1, maximize=True)
    with pytest.raises(ValueError, match="maximize=True"):
        fixer.attach(up)
    loss.backward()
    fixer.pull_(loss)
    optimizer.param_groups[0]["maximize"] = True
    with pytest.raises(ValueError, match="maximize=True"):
        optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_any_default_type(dtype):
    model, same = network(), network()
    expected = wfn.fix(same, delta=0.03).codebook()
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        assert torch.equal(wfn.fix(model, delta=0.03).codebook(), expected)
    finally:
        torch.set_default_dtype(before)


def test_a_loss_is_one_number(started):
    _, fixer, _, loss = started
    loss.reshape(1).backward()
    with pytest.raises(ValueError, match=r"pull_: loss: one number is needed, not \(2,\)"):
        fixer.pull_(torch.ones(2))
    assert fixer.pull_(loss.reshape(1)).shape == ()


def test_a_parameter_of_a_tensor_class_is_named():
    """Shards (DTensor), quantised weights: their memory is somewhere else."""
    kind = nn.Parameter(TwoTensor(torch.randn(3), torch.randn(3)))
    with pytest.raises(ValueError, match="weight: is a TwoTensor; only a plain parameter can be fixed"):
        WeightFixer({"weight": kind}, delta=0.02)
