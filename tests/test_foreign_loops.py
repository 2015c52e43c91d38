"""What others' loops do beside the plain order of a step: closures, hooks, forks, writes past the optimiser."""

import copy
import multiprocessing
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import prune

import wfn
from wfn import WeightFixer

INPUTS = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(64) % 4
OPTIMISERS = {
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
    "lbfgs": lambda model: torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe"),
}


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))


def begun(optimiser, **options):
    """A fixer after its first of two rounds, with its model and optimiser."""
    model = network()
    fixer = WeightFixer(model, delta=0.02, fractions=(0.5, 1.0), **options)
    optimizer = optimiser(model)
    fixer.attach(optimizer)
    fixer.fix_()
    return model, optimizer, fixer


def backward(model, optimizer):
    optimizer.zero_grad()
    loss = cross_entropy(model(INPUTS), LABELS)
    loss.backward()
    return loss


@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS)
class TestClosures:
    def test_fixed_weights_stay_within_the_step_as_well(self, optimiser):
        model, optimizer, fixer = begun(optimiser)
        indices = fixer.indices()

        def closure():
            fixer.check()
            loss = backward(model, optimizer)
            fixer.pull_(loss)
            return loss

        before = float(cross_entropy(model(INPUTS), LABELS).detach())
        for _ in range(3):
            optimizer.step(closure)
            fixer.check()
        assert float(cross_entropy(model(INPUTS), LABELS).detach()) < before
        assert all(torch.equal(found, indices[name]) for name, found in fixer.indices().items())

    def test_without_pull(self, optimiser):
        model, optimizer, _ = begun(optimiser)
        with pytest.raises(RuntimeError, match="gradients have come since the last pull_"):
            optimizer.step(lambda: backward(model, optimizer))

    def test_gradients_from_before_the_step(self, optimiser):
        """The closure may go on with what came before, and pull only then; or have the backward pass alone in it."""
        model, optimizer, fixer = begun(optimiser)
        cross_entropy(model(INPUTS), LABELS).backward()

        def second():
            loss = cross_entropy(model(INPUTS), LABELS)
            loss.backward()
            fixer.pull_(loss)
            return loss

        optimizer.step(second)
        if not isinstance(optimizer, torch.optim.LBFGS):  # which asks more than once
            optimizer.zero_grad()
            loss = cross_entropy(model(INPUTS), LABELS)
            optimizer.step(lambda: (loss.backward(), fixer.pull_(loss))[1])
        fixer.check()

    def test_where_there_is_no_pull(self, optimiser):
        """What the optimiser ends with is what it has seen: the fixed weights were fixed all along."""
        model, optimizer, fixer = begun(optimiser, alpha=0.0)
        seen = []

        def closure():
            seen.append(backward(model, optimizer))
            return seen[-1]

        for _ in range(3):
            optimizer.step(closure=closure)
        fixer.check()
        assert float(cross_entropy(model(INPUTS), LABELS).detach()) <= float(seen[0].detach())


def sgd(model):
    return OPTIMISERS["sgd"](model)


def test_another_optimiser_is_noticed_at_the_next_step():
    model, optimizer, fixer = begun(sgd, alpha=0.0)
    other = sgd(model)
    backward(model, other)
    other.step()
    backward(model, optimizer)
    with pytest.raises(RuntimeError, match="fixed weights have moved since the last fix_"):
        optimizer.step()
    with pytest.raises(RuntimeError, match="fixed weights have moved"):
        fixer.check()


def test_other_weights_are_noticed_after_the_last_round():
    model = network()
    before = copy.deepcopy(model.state_dict())
    fixer = wfn.fix(model, delta=0.02)
    fixer.check()
    model.load_state_dict(before)
    with pytest.raises(RuntimeError, match="fixed weights have moved"):
        fixer.check()


def test_hooks_of_others_see_what_the_step_has_come_to():
    model, optimizer, fixer = begun(sgd, alpha=0.0)
    fixer.detach(optimizer)
    optimizer.register_step_post_hook(lambda *_: fixer.check())
    fixer.attach(optimizer)
    for _ in range(3):
        backward(model, optimizer)
        optimizer.step()


def test_an_optimiser_that_does_not_begin_as_torchs_do():
    class Plain(torch.optim.SGD):
        def __init__(self, parameters):
            self.__dict__.update(torch.optim.SGD(parameters, lr=0.1, momentum=0.9).__dict__)

        def step(self, closure=None):
            return super().step.__wrapped__(self, closure)

    model, optimizer, fixer = begun(lambda model: Plain(model.parameters()), alpha=0.0)
    for _ in range(2):
        backward(model, optimizer)
        optimizer.step()
    fixer.check()


@pytest.mark.slow
def test_a_compiled_step():
    model, optimizer, fixer = begun(sgd)

    @torch.compile(backend="aot_eager")
    def step(loss):
        fixer.pull_(loss)
        optimizer.step()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about its own code
        for _ in range(2):
            step(backward(model, optimizer))
    fixer.check()


def _values(delta):
    return len(wfn.fix(network(), delta=delta).codebook())


def test_in_a_fork_of_a_process_that_has_used_it():
    here = _values(0.01)
    begun(sgd)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(_values, [0.01, 0.01]).get(900) == [here, here]


def test_fixing_between_forward_and_backward():
    model = network()
    fixer = WeightFixer(model, delta=0.02, fractions=(0.5, 1.0))
    loss = cross_entropy(model(INPUTS), LABELS)
    fixer.fix_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_step_that_is_left_out_is_no_fault():
    """As where its loss is an outlier; and the next backward pass misses a branch."""
    model, optimizer, fixer = begun(sgd)
    fixer.pull_(backward(model, optimizer))
    optimizer.zero_grad(set_to_none=False)
    loss = cross_entropy(model[2](torch.randn(64, 32)), LABELS)
    loss.backward()
    fixer.pull_(loss)
    optimizer.step()
    fixer.check()


def test_a_model_made_in_inference_mode():
    with torch.inference_mode():
        model = network()
        fixer = wfn.fix(model, delta=0.01)
        fixer.check()
    assert len(model[0].weight.unique()) <= len(fixer.codebook())


def test_going_back_within_a_round():
    model = network()
    fixer = WeightFixer(model, delta=0.01, fractions=(0.3, 0.6, 1.0))
    optimizer = sgd(model)
    fixer.attach(optimizer)
    kept, seen = None, []
    for round_ in fixer.rounds():
        seen.append(round_.index)
        if round_.index == 1 and kept is None:
            kept = copy.deepcopy((model.state_dict(), fixer.state_dict()))
        elif seen in ([0, 1, 2], [0, 1, 2, 1]):  # from a later round, and from the same one
            model.load_state_dict(kept[0])
            fixer.load_state_dict(kept[1])
            continue
        fixer.fix_()
    assert seen == [0, 1, 2, 1, 1, 2]


def test_a_parameter_that_becomes_a_view_is_named():
    model = network()
    fixer = WeightFixer(model, delta=0.02, fractions=(0.5, 1.0))
    larger = torch.full((32, 32), 7.0)
    larger[:, :16] = model[0].weight.data
    model[0].weight.data = larger[:, :16]
    with pytest.raises(ValueError, match=r"0.weight: has the strides \(32, 1\)"):
        fixer.fix_()
    assert bool((larger[:, 16:] == 7).all())


@pytest.mark.parametrize("masked", [False, True], ids=["pruned", "computed by a hook of one's own"])
def test_what_a_hook_computes_weights_from_is_named(masked):
    model = network()
    if masked:
        layer = model[0]
        layer.weight_raw = nn.Parameter(layer.weight.detach().clone())
        del layer.weight
        layer.weight = layer.weight_raw * 2
        layer.register_forward_pre_hook(lambda module, _: setattr(module, "weight", module.weight_raw * 2))
    else:
        prune.l1_unstructured(model[0], "weight", 0.8)
    with pytest.raises(ValueError, match=r"0.weight_(orig|raw): a weight is computed from it"):
        WeightFixer(model, delta=0.02)


def test_an_embedding_that_changes_when_it_is_used():
    with pytest.raises(ValueError, match=r"weight: its embedding changes it when it is used \(max_norm\)"):
        WeightFixer(nn.Embedding(10, 4, max_norm=1.0), delta=0.02, include="all")


def test_linear_layers_of_attention_are_linear_layers():
    layer = nn.TransformerEncoderLayer(32, 4, 64)
    taken = WeightFixer(layer, delta=0.02).parameters
    assert {"self_attn.in_proj_weight", "self_attn.in_proj_bias", "self_attn.out_proj.weight"} <= set(taken)


def test_a_layer_that_becomes_zero_is_told():
    small = nn.Linear(16, 16, bias=False)
    nn.init.normal_(small.weight, std=1e-4)
    with pytest.warns(UserWarning, match=r"weight: all of its weights are zero now, below zero_threshold = 0.0078125"):
        wfn.fix(small, delta=0.01)
    nn.init.normal_(small.weight, std=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wfn.fix(small, delta=0.01, zero_threshold=2**-20)


def test_a_state_with_values_that_another_type_cannot_have():
    model = network()
    fixer = wfn.fix(model, delta=0.0005)
    with pytest.raises(ValueError, match=r"state: has values that 0.weight, of torch.bfloat16, cannot have"):
        WeightFixer(network().bfloat16(), delta=0.0005, fractions=(1.0,)).load_state_dict(fixer.state_dict())


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"include": ("0.weight",)}, "include = "),
        ({"include": nn.Linear(2, 2)}, "include = "),
        ({"include": []}, "include = "),
        ({"exclude": None}, "exclude = None"),
        ({"exclude": [1]}, "exclude = "),
        ({"fractions": 1.0}, "fractions = 1.0"),
        ({"fractions": ("a",)}, "fractions = "),
        ({"delta": "small"}, "delta = 'small'"),
    ],
)
def test_arguments_of_another_kind_are_named(options, problem):
    with pytest.raises(ValueError, match=problem):
        WeightFixer(network(), **{"delta": 0.01, **options})


def test_what_holds_numbers_may_be_of_any_kind():
    fixer = WeightFixer(network(), delta=torch.tensor(0.01), fractions=torch.tensor([0.5, 1.0]), include=[nn.Linear])
    assert [(type(round_.delta), round_.fraction) for round_ in fixer._plan] == [(float, 0.5), (float, 1.0)]
    with pytest.raises(ValueError, match="state: has no outcomes"):
        fixer.load_state_dict({})
    with pytest.raises(TypeError, match="1: the name of a parameter must be a text"):
        WeightFixer({1: nn.Parameter(torch.ones(3))}, delta=0.01)
