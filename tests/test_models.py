import pytest
import torch
from safetensors.torch import save_file

from pipeline.base.errors import InputError
from pipeline.base.settings import Model
from pipeline.network.build import build, check_head
from pipeline.network.parameters import fixable_parameters, layers
from pipeline.network.values import check_values
from pipeline.network.weights import load_weights, weight_bytes


def test_same_seed_same_weights(settings):
    one, same, other = (build(settings.model, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_building_leaves_the_global_random_state_alone(settings):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    build(settings.model, seed=0)
    assert torch.equal(torch.rand(1), expected)


def test_unknown_model_is_named(settings):
    with pytest.raises(InputError, match=r"model.name = 'resnet19': timm has no such model; allowed: "):
        build(Model.model_validate(settings.model.model_dump() | {"name": "resnet19"}), seed=0)


def test_unknown_option_is_named(settings):
    with pytest.raises(InputError, match="timm cannot build test_resnet: .*wings"):
        build(Model.model_validate(settings.model.model_dump() | {"options": {"wings": 2}}), seed=0)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_weights_from_a_file(settings, model, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        path.write_bytes(weight_bytes(model))
    else:
        torch.save({"state_dict": model.state_dict()} if suffix == ".pth" else model.state_dict(), path)
    other = build(settings.model, seed=1)
    load_weights(other, path)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


def test_another_networks_file_changes_nothing(model, tmp_path):
    """The pipeline's own file is read strictly: no name, shape or value may differ."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    first = next(iter(state))

    def refused(match, **changes):
        path = tmp_path / "weights.safetensors"
        save_file({name: value for name, value in (state | changes).items() if value is not None}, path)
        with pytest.raises(InputError, match=match):
            load_weights(model, path)
        assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())

    refused(rf"weights.safetensors: {first} \(nan\)", **{first: torch.full_like(state[first], float("nan"))})
    refused(f"of another network, {first} differ", **{first: torch.zeros(2)})
    refused(f"of another network, {first} differ", **{first: None})
    refused("of another network, wings differ", wings=torch.zeros(2))
    with pytest.raises(InputError, match=r"missing.safetensors: not there; stage pretrain writes it"):
        load_weights(model, tmp_path / "missing.safetensors")


def test_roles_of_resnet18(settings):
    model = build(Model.model_validate(settings.model.model_dump() | {"name": "resnet18"}), seed=0)
    roles = {layer.name: layer.roles for layer in layers(model)}
    assert roles["conv1.weight"] == {"first"}
    assert roles["fc.weight"] == roles["fc.bias"] == {"last"}
    assert roles["bn1.bias"] == {"batch_norm"}
    assert roles["layer2.0.downsample.0.weight"] == {"downsample"}
    assert roles["layer2.0.downsample.1.weight"] == {"downsample", "batch_norm"}
    assert roles["layer3.1.conv2.weight"] == set()
    assert sum(len(layer.values) for layer in layers(model)) == 11_175_370
    assert sum(p.numel() for p in fixable_parameters(model, settings.fixing).values()) == 11_175_370
    float_norm = settings.fixing.model_copy(update={"fix_batch_norm": False})
    assert sum(p.numel() for p in fixable_parameters(model, float_norm).values()) == 11_175_370 - 9600


def test_tied_parameters_are_taken_once(model, settings):
    model.layer1[0].conv1.weight = model.layer1[0].conv2.weight
    parameters = fixable_parameters(model, settings.fixing).values()
    assert len({id(parameter) for parameter in parameters}) == len(parameters)


def test_weights_that_are_taken_as_they_are_lack_nothing(settings):
    """A head for other classes, or a stem of one's own, would stay as it began."""
    given = settings.changed(
        {"model.name": "resnet18", "model.pretrained": True, "pretrain.from_weights": False, "model.num_classes": 1000}
    )
    check_head(given)
    stem = {"kernel": 3, "stride": 1, "pool": False}
    for changes, line in (
        ({"model.num_classes": 10}, "the head of resnet18 is for 1000 classes, model.num_classes = 10"),
        ({"model.stem": stem}, "model.stem: timm's weights are taken as they are, and have none for it"),
    ):
        with pytest.raises(InputError, match=line):
            check_head(given.changed(changes))
        check_head(given.changed({**changes, "pretrain.from_weights": True}))


def test_infinite_numbers_where_the_network_has_them():
    """Of a mask that is kept with the weights; anywhere else they are refused."""
    mask = torch.zeros(2, 2).masked_fill(torch.ones(2, 2).triu(1).bool(), -torch.inf)
    assert torch.equal(check_values("key", {"mask": mask}, {"mask": mask})["mask"], mask)
    for found, expected in ((mask, torch.zeros(2, 2)), (mask.T, mask), (torch.full((2, 2), torch.nan), mask)):
        with pytest.raises(InputError, match=r"key: mask \((-inf|nan)\): only finite weights are allowed"):
            check_values("key", {"mask": found}, {"mask": expected})
