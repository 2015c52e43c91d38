"""Fixed weights do not move, by not one bit, whatever the optimiser."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from wfn.free import FreeWeights, read_weights, write_weights_

from pipeline.base.settings import Finetune
from pipeline.network.parameters import fixable_parameters
from pipeline.training.loop import optimizer_for

OPTIMISERS = [
    {"optimizer": "adam", "lr": 0.01, "weight_decay": 0.0},
    {"optimizer": "adam", "lr": 0.01, "weight_decay": 0.1},
    {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
]


def train(model, free, optimizer, batches):
    """Steps of the optimiser on the free weights, as in a round of fixing."""
    for batch in batches:
        model.zero_grad()
        cross_entropy(model(batch.pixels), batch.labels).backward()
        free.pull_gradients_()
        optimizer.step()
        free.push_values_()


@pytest.mark.parametrize("changes", OPTIMISERS, ids=lambda changes: f"{changes['optimizer']}-{changes['weight_decay']}")
def test_fixed_weights_do_not_move(changes, model, dataset, settings, generator):
    finetune = Finetune.model_validate(settings.finetune.model_dump() | changes)
    parameters = fixable_parameters(model, batch_norm=True)
    before = read_weights(parameters)
    fixed = torch.rand(len(before), generator=generator) < 0.7
    free = FreeWeights(parameters, fixed)
    optimizer = optimizer_for([free.values], finetune)
    train(model, free, optimizer, dataset.training_batches(32, generator))
    after = read_weights(parameters)
    assert torch.equal(after[fixed].view(torch.int32), before[fixed].view(torch.int32))
    assert (after != before)[~fixed].float().mean() > 0.3
    assert torch.equal(after[~fixed], free.values)


def test_same_steps_as_training_the_whole_network_with_masked_gradients(model, dataset, settings, generator):
    """Adam on the free weights alone does to them what it does when the gradients of all others are zero."""
    parameters = fixable_parameters(model, batch_norm=True)
    start = read_weights(parameters)
    fixed = torch.rand(len(start), generator=generator) < 0.5
    batches = list(dataset.training_batches(32, generator))

    free = FreeWeights(parameters, fixed)
    optimizer = torch.optim.Adam([free.values], lr=0.001)
    train(model, free, optimizer, batches)
    ours = read_weights(parameters)

    write_weights_(parameters, start)
    parts = fixed.split([each.numel() for each in parameters])
    masks = [part.view_as(each) for part, each in zip(parts, parameters, strict=True)]
    optimizer = torch.optim.Adam(parameters, lr=0.001)
    for batch in batches:
        model.zero_grad()
        cross_entropy(model(batch.pixels), batch.labels).backward()
        for parameter, mask in zip(parameters, masks, strict=True):
            parameter.grad[mask] = 0
        optimizer.step()
    torch.testing.assert_close(ours, read_weights(parameters))


def test_weights_come_back_where_they_were(model):
    parameters = fixable_parameters(model, batch_norm=True)
    before = [parameter.detach().clone() for parameter in parameters]
    write_weights_(parameters, read_weights(parameters) * 2)
    for parameter, was in zip(parameters, before, strict=True):
        assert torch.equal(parameter, was * 2)


def test_nothing_free(model):
    parameters = fixable_parameters(model, batch_norm=True)
    before = read_weights(parameters)
    free = FreeWeights(parameters, torch.ones(len(before), dtype=torch.bool))
    free.pull_gradients_()
    free.push_values_()
    assert len(free.values) == 0
    assert torch.equal(read_weights(parameters), before)
