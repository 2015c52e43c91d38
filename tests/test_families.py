"""One small member of each family of networks: fixed, written, read back, and measured the same."""

import pytest
import torch
from conftest import changed, fixable_weights, working
from torch import nn

from pipeline.base.settings import Model
from pipeline.data.memory import prepare
from pipeline.fixing.rounds import fix_network
from pipeline.measuring.evaluation import measure
from pipeline.network.build import build
from pipeline.network.parameters import fixable_parameters, trainable_besides
from pipeline.network.weights import load_weights, weight_bytes
from wfn import WeightFixer, fix
from wfn.method.part import FREE

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


@pytest.mark.long
@pytest.mark.parametrize("which", ["layers", "all"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family(name, which, settings, tmp_path):
    options, least = FAMILIES[name]
    settings = changed(
        settings, model__name=name, model__options=options, fixing__fractions=(0.6, 1.0), fixing__parameters=which,
        data__pixels=32, data__mini=10, finetune__batch_size=40, alpha=0.4,
    )  # fmt: skip
    dataset = prepare(settings.data, seed=0)
    with working(settings, dataset) as work:
        fixed = fix_network(work)
    model, fabric = work.model, work.fabric
    metrics, _ = measure(fabric, work.network, dataset, [fixed.names])

    assert metrics["parameters"] == sum(each.numel() for each in model.parameters())
    share = metrics["quantised_parameters"] / metrics["parameters"]
    assert share == 1 if which == "all" else least <= share <= 1
    assert fixable_weights(model, settings.fixing).unique().tolist() == fixed.codebook.tolist()
    assert len(fixed.codebook) == fixed.rounds[-1]["centres"]

    (tmp_path / "model.safetensors").write_bytes(weight_bytes(model))
    again = build(settings.model, seed=1)
    load_weights(again, tmp_path / "model.safetensors")
    names = list(fixable_parameters(again, settings.fixing))
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


def assert_decoded(fixer, parameters):
    """Every weight is the value that its index says, at its own place."""
    indices, codebook = fixer.indices(), fixer.codebook()
    assert indices.keys() == parameters.keys()
    for name, parameter in parameters.items():
        assert torch.equal(codebook[indices[name].long()], parameter.detach()), name


def test_tied_frozen_and_single_parameters(settings):
    torch.manual_seed(0)
    model = Unusual()
    layers, everything = (
        fixable_parameters(model, settings.fixing.model_copy(update={"parameters": which}))
        for which in ("layers", "all")
    )
    assert sum(each.numel() for each in layers.values()) == 36 + 4 + 2 + 16 + 4 + 4 + 20
    assert sum(each.numel() for each in everything.values()) == 86 + 5
    assert trainable_besides(model, list(layers.values())) == [model.token, model.scale]

    fixer = WeightFixer(everything, delta=0.01, fractions=(0.3, 1.0))
    before = {name: parameter.detach().clone() for name, parameter in everything.items()}
    optimizer = torch.optim.Adam(trainable_besides(model, []), lr=0.1)
    fixer.attach(optimizer)
    loss = model(torch.randn(3, 4, 5, 5)).square().mean()
    loss.backward()
    fixer.pull_(loss)
    optimizer.step()
    moved = {name for name, parameter in everything.items() if not torch.equal(parameter, before[name])}
    assert moved == {name for name in everything if not name.startswith("frozen.")}
    assert model.first.weight is model.second.weight

    for _ in range(2):
        fixer.fix_()
    assert_decoded(fixer, everything)
    assert model.first.weight is model.second.weight
    assert fixer.usage().sum() == 91


def test_channels_last_parameters_are_read_and_written_where_they_are():
    torch.manual_seed(0)
    model = nn.Conv2d(3, 5, 2).to(memory_format=torch.channels_last)
    before = model.weight.detach().clone()
    assert_decoded(fix(model, delta=0.01), dict(model.named_parameters()))
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    assert (model.weight - before).abs().mean() < 0.005 < (model.weight - before.flip(0)).abs().mean() / 10


def test_gradients_of_another_layout_than_their_weights():
    torch.manual_seed(0)
    model = nn.Conv2d(3, 5, 2).to(memory_format=torch.channels_last)
    fixer = WeightFixer(model, delta=0.01, alpha=0.0, fractions=(0.5, 1.0))
    fixer.fix_()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    fixer.attach(optimizer)
    free = fixer.indices()["weight"] == FREE
    assert 0 < free.sum() < 60
    before, gradient = model.weight.detach().clone(), torch.arange(60.0).view(5, 3, 2, 2) + 1
    model(torch.randn(1, 3, 4, 4)).sum().backward()
    model.weight.grad = gradient.clone()
    optimizer.step()
    assert torch.equal(model.weight.detach(), torch.where(free, before - gradient, before))


def test_a_stem_for_small_images():
    def with_stem(**stem):
        given = {
            "name": "resnet18",
            "module": None,
            "in_chans": 3,
            "num_classes": 10,
            "checkpoint": None,
            "pretrained": False,
        }
        return build(Model.model_validate(given | {"options": {}, "stem": stem or None}), seed=0)

    image = torch.zeros(1, 3, 32, 32)
    shapes = {}
    for name, model in {"cifar": with_stem(kernel=3, stride=1, pool=False), "own": with_stem()}.items():
        model.layer1.register_forward_hook(lambda _, inputs, __, name=name: shapes.update({name: inputs[0].shape[2:]}))
        model.eval()(image)
    assert shapes == {"cifar": (32, 32), "own": (8, 8)}


@pytest.mark.parametrize("channels_last", [False, True])
def test_tied_weights_are_written(tmp_path, channels_last):
    """As those of two layers that share one parameter."""
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3))
    model[1].weight = model[0].weight
    model.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    (tmp_path / "model.safetensors").write_bytes(weight_bytes(model))
    again = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3))
    load_weights(again, tmp_path / "model.safetensors")
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
