"""One small member of each family of networks: fixed, written, read back, and measured the same."""

import pytest
import torch
from conftest import changed
from torch import nn
from wfn.free import FreeWeights, read_weights, write_weights_

from pipeline.base.settings import Model
from pipeline.data.memory import prepare
from pipeline.fixing.rounds import fix_network
from pipeline.measuring.evaluation import measure
from pipeline.network.build import build
from pipeline.network.parameters import fixable_parameters, names_of, trainable_besides
from pipeline.network.weights import load_weights, weight_bytes
from pipeline.training.device import set_up

# name -> further arguments of timm.create_model, and the least share of its parameters in convolution, linear and
# batch-norm modules
FAMILIES = {
    "test_resnet": ({}, 1.0),
    "test_vit": ({"img_size": 32}, 0.97),
    "test_vit_relpos": ({"img_size": 32}, 0.95),
    "test_efficientnet": ({}, 1.0),
    "test_convnext": ({}, 0.98),
    "test_byobnet": ({}, 0.99),
    "test_nfnet": ({}, 0.98),
    "test_maxvit": ({"img_size": 32}, 0.95),
    "mobilenetv3_small_050": ({}, 1.0),
    "mixer_s32_224": ({"img_size": 32, "mlp_ratio": [0.1, 0.1]}, 0.98),
}


@pytest.mark.parametrize("which", ["layers", "all"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family(name, which, settings, fabric, tmp_path):
    options, least = FAMILIES[name]
    settings = changed(
        settings, model__name=name, model__options=options, fixing__fractions=(0.6, 1.0), fixing__parameters=which,
        data__pixels=32, data__mini=10, finetune__batch_size=40, alpha=0.4,
    )  # fmt: skip
    dataset = prepare(settings.data, seed=0)
    model = build(settings.model, seed=0)
    network = set_up(fabric, model, settings.hardware)
    rounds = fix_network(fabric, network, dataset, settings, torch.Generator().manual_seed(0), lambda *_: None)
    chosen = fixable_parameters(model, which, batch_norm=True)
    metrics, _ = measure(fabric, network, dataset, [names_of(model, chosen)])

    assert metrics["parameters"] == sum(each.numel() for each in model.parameters())
    share = metrics["quantised_parameters"] / metrics["parameters"]
    assert share == 1 if which == "all" else least <= share <= 1
    assert len(read_weights(chosen).unique()) == rounds[-1]["centres"]

    (tmp_path / "model.safetensors").write_bytes(weight_bytes(model))
    again = build(settings.model, seed=1)
    load_weights(again, tmp_path / "model.safetensors")
    names = names_of(again, fixable_parameters(again, which, batch_norm=True))
    assert measure(fabric, again.to(fabric.device), dataset, [names])[0] == metrics


class Unusual(nn.Module):
    """Tied, frozen, depthwise, without batch-norm, with parameters of one element and of none of the usual modules."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.one = nn.Linear(1, 1)
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(4, 4)
        self.frozen.requires_grad_(False)
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        x = self.depthwise(x).mean((2, 3))
        x = self.second(self.first(x)) + self.token[:, 0] * self.scale
        return self.frozen(x) + self.one(x.mean(1, keepdim=True))


def test_tied_frozen_and_single_parameters():
    torch.manual_seed(0)
    model = Unusual()
    layers, everything = (fixable_parameters(model, which, batch_norm=True) for which in ("layers", "all"))
    assert sum(each.numel() for each in layers) == 36 + 4 + 2 + 16 + 4 + 4 + 20
    assert sum(each.numel() for each in everything) == 86 + 5
    assert trainable_besides(model, layers) == [model.token, model.scale]

    frozen = model.frozen.weight.clone()
    free = FreeWeights(everything, torch.zeros(91, dtype=torch.bool))
    assert len(free.values) == 91 - 20
    optimizer = torch.optim.Adam([free.values], lr=0.1)
    model(torch.randn(3, 4, 5, 5)).square().mean().backward()
    free.pull_gradients_()
    optimizer.step()
    free.push_values_()
    assert torch.equal(model.frozen.weight, frozen)
    assert model.first.weight is model.second.weight
    assert float(model.scale.detach()) != 0.5

    write_weights_(everything, torch.arange(91.0))
    assert torch.equal(read_weights(everything), torch.arange(91.0))
    assert float(model.scale.detach()) == float(read_weights([model.scale])) != 0.5


def test_channels_last_parameters_are_read_and_written_where_they_are():
    model = nn.Conv2d(3, 5, 2).to(memory_format=torch.channels_last)
    parameters = list(model.parameters())
    before = model.weight.detach().clone()
    weights = read_weights(parameters)
    write_weights_(parameters, weights * 2)
    assert torch.equal(model.weight.detach(), before * 2)
    model(torch.randn(1, 3, 4, 4)).sum().backward()
    model.weight.grad = torch.arange(60.0).view(5, 3, 2, 2)  # of another layout than the weight
    free = FreeWeights(parameters, torch.zeros(65, dtype=torch.bool))
    free.pull_gradients_()
    expected = model.weight.grad.permute(0, 2, 3, 1).flatten()
    assert torch.equal(free.gradients[:60], expected)


def test_a_stem_for_small_images():
    def with_stem(**stem):
        given = {"name": "resnet18", "in_chans": 3, "num_classes": 10, "checkpoint": None, "pretrained": False}
        return build(Model.model_validate(given | {"options": {}, "stem": stem or None}), seed=0)

    image = torch.zeros(1, 3, 32, 32)
    shapes = {}
    for name, model in {"cifar": with_stem(kernel=3, stride=1, pool=False), "own": with_stem()}.items():
        model.layer1.register_forward_hook(lambda _, inputs, __, name=name: shapes.update({name: inputs[0].shape[2:]}))
        model.eval()(image)
    assert shapes == {"cifar": (32, 32), "own": (8, 8)}
