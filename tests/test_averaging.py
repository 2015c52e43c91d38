"""The moving average of a network: numbers worked out by hand, and what must not move."""

import pytest
import torch
from conftest import changed, fixable_weights, working
from torch import nn

from pipeline.fixing.rounds import fix_network
from pipeline.training.averaging import Average
from pipeline.training.loop import pretrain


def test_by_hand():
    """Begins with 8: 8 * 0.75 + 0 * 0.25 = 6, then 6 * 0.75 + 4 * 0.25 = 5.5."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(8.0)
    average = Average(model, decay=0.75)
    for value in (0.0, 4.0):
        model.weight.data.fill_(value)
        average.update()
    assert model.weight.item() == 4.0
    average.install_()
    assert model.weight.item() == 5.5


def test_tied_weights_count_once_and_counters_are_left_alone():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    model[1].weight = model[0].weight
    model[0].weight.data.fill_(8.0)
    average = Average(model, decay=0.5)
    model[0].weight.data.fill_(0.0)
    model[2].running_mean.fill_(3.0)
    model[2].num_batches_tracked.fill_(7)
    average.update()
    average.install_()
    assert (model[0].weight.item(), model[1].weight.item()) == (4.0, 4.0)
    assert model[2].running_mean.item() == 1.5
    assert model[2].num_batches_tracked.item() == 7


@pytest.mark.slow
@pytest.mark.parametrize("train", [fix_network, pretrain], ids=["fix", "pretrain"])
def test_a_network_ends_as_its_average(train, settings, dataset, monkeypatch):
    """What the optimiser leaves is another network; weights that are fixed are their own average."""
    left = []
    install = Average.install_

    def watched(average):
        left.append([tensor.clone() for tensor in average._current])
        install(average)

    monkeypatch.setattr(Average, "install_", watched)
    settings = changed(settings, fixing__fractions=(0.5, 1.0), finetune__ema=0.9, pretrain__ema=0.9)
    with working(settings, dataset) as work:
        done = train(work)
    (before,) = left
    after = [*(parameter.detach() for parameter in work.model.parameters())]
    assert not all(torch.equal(one, other) for one, other in zip(before, after, strict=False))
    if train is fix_network:
        assert len(fixable_weights(work.model, settings.fixing)) == sum(each.numel() for each in after)
        assert fixable_weights(work.model, settings.fixing).unique().tolist() == done.codebook.tolist()


def test_no_average_where_none_is_wanted(settings, dataset, monkeypatch):
    monkeypatch.setattr(Average, "update", lambda _: pytest.fail("an average"))
    with working(changed(settings, fixing__fractions=(0.5, 1.0)), dataset) as work:
        fix_network(work)
