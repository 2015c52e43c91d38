"""Weights from a hub: a real server on this machine speaks its protocol, cuts connections and sends wrong files."""

import hashlib
import io
import re
import time

import pytest
import timm
import torch
from conftest import changed
from hub_server import running_hub
from huggingface_hub import constants
from safetensors.torch import save
from torch import nn

from pipeline.base.errors import InputError
from pipeline.base.settings import Model
from pipeline.network.build import build as build_network
from pipeline.network.weights import load_checkpoint
from stages.common.baseline import starting_point


@pytest.fixture
def hub():
    with running_hub() as server:
        yield server


@pytest.fixture
def at(monkeypatch, tmp_path):
    """Where the hub is from now on; downloads go into a folder of their own. Waits before retries are left out."""
    path = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(time, "sleep", lambda _: None)

    def move(address):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + path)

    return move


@pytest.fixture
def build(hub, at, settings):
    """Build a network as a stage does, its hub being ours; returns its first weight."""

    def build(address=None, **model):
        at(address or hub.address)
        given = {"name": "test_resnet", "module": None, "in_chans": 3, "num_classes": 1000, "stem": None}
        given |= {"checkpoint": None, "pretrained": False, "options": {}} | model
        chosen = settings.model_copy(update={"model": Model.model_validate(given)})
        network = build_network(chosen.model, seed=0)
        if chosen.model.checkpoint:
            load_checkpoint(network, chosen)
        return first(network.state_dict())

    return build


def weights(scale=1.0, name="test_resnet"):
    torch.manual_seed(5)
    state = timm.create_model(name).state_dict()
    return {name: value * scale if value.is_floating_point() else value for name, value in state.items()}


def first(state):
    return float(next(iter(state.values())).flatten()[0])


def test_what_timm_names_is_downloaded_once(hub, build):
    state = weights()
    hub.files["timm/test_resnet.r160_in1k:model.safetensors"] = save(state)
    assert build(pretrained=True) == first(state)
    assert build(pretrained=True) == first(state)
    assert len([method for method, path, _ in hub.asked if method == "GET" and path.endswith(".safetensors")]) == 1
    assert build(address="http://127.0.0.1:9", pretrained=True) == first(state)  # from the cache


def test_a_repository_by_name(hub, build):
    state = weights()
    hub.files["someone/network:pytorch_model.bin"] = pickled(state)
    assert build(checkpoint="hf-hub:someone/network") == first(state)


def pickled(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def test_a_download_that_was_cut_goes_on_where_it_was(hub, build):
    state = weights(name="resnet10t")  # 22 MB; the library takes 10 at a time
    hub.files["someone/network:model.safetensors"] = save(state)
    hub.cut = 2
    assert build(name="resnet10t", checkpoint="hf-hub:someone/network") == first(state)
    spans = [int(span.split("=")[1].split("-")[0]) for method, _, span in hub.asked if method == "GET" and span]
    assert max(spans) > 0


@pytest.fixture
def refused(build):
    """One line that says all of that."""

    def refuse(*messages, **arguments):
        with pytest.raises(InputError) as error:
            build(**arguments)
        for message in messages:
            assert message in str(error.value)
        assert "\n" not in str(error.value)

    return refuse


def test_a_file_that_is_not_what_the_hub_says(hub, build, refused):
    """The bytes have the right number and the wrong content; another try gets the right ones."""
    state = weights()
    name = "someone/network:model.safetensors"
    hub.files[name], hub.checksums[name] = save(weights(2.0)), hashlib.sha256(save(state)).hexdigest()
    refused("model.safetensors is damaged", "run again", checkpoint="hf-hub:someone/network")
    hub.files[name] = save(state)
    assert build(checkpoint="hf-hub:someone/network") == first(state)


def test_wrong_files_are_named(hub, refused):
    hub.files["someone/page:model.safetensors"] = b"<html>log in first</html>"
    refused("model.safetensors: an HTML page", checkpoint="hf-hub:someone/page")
    hub.files["someone/other:model.safetensors"] = save({"layer.weight": torch.ones(3)})
    refused("not the tensors of test_resnet: lacks ", checkpoint="hf-hub:someone/other")
    hub.files["someone/program:pytorch_model.bin"] = pickled({"weight": print})
    refused("pytorch_model.bin: a pickle that would run builtins.print when read", checkpoint="hf-hub:someone/program")
    hub.files["someone/text:README.md"] = b"no weights"
    refused("someone/text has none of model.safetensors, pytorch_model.bin", checkpoint="hf-hub:someone/text")


def test_no_network(refused):
    """Port 9 of this machine answers nobody."""
    said = "model.safetensors of someone/network cannot be downloaded", "set model.checkpoint to that file"
    refused(*said, address="http://127.0.0.1:9", checkpoint="hf-hub:someone/network")
    refused("model.checkpoint = hf-hub:no one/at all", "owner/name", checkpoint="hf-hub:no one/at all")


@pytest.mark.parametrize("choice", ["stop", "train"])
def test_weights_that_the_hub_no_longer_has(hub, at, settings, capsys, choice):
    """Either one line and the end, or one line and a network to be trained, which says so in its settings."""
    at(hub.address)
    settings = changed(settings, model__checkpoint="hf-hub:someone/gone", pretrain__if_unreachable=choice)
    said = "model.safetensors of someone/gone cannot be downloaded"
    if choice == "stop":
        with pytest.raises(InputError, match=said):
            starting_point(settings)
        return
    model, followed = starting_point(settings)
    assert re.fullmatch(f"pretrain: .*{said}.*; trained here instead, .*\n", capsys.readouterr().err)
    assert isinstance(model, nn.Module)
    assert followed.trains_the_baseline
    assert followed.of_baseline()["model"]["checkpoint"] is None


@pytest.mark.parametrize(
    ("classes", "from_weights", "refused"), [(10, False, True), (1000, False, False), (10, True, False)]
)
def test_a_head_that_nobody_trains_is_refused(hub, at, settings, classes, from_weights, refused):
    """timm leaves out the head of its weights where there are other classes."""
    at(hub.address)
    hub.files["timm/test_resnet.r160_in1k:model.safetensors"] = save(weights())
    chosen = changed(
        settings,
        model__pretrained=True,
        model__in_chans=3,
        data__channels=3,
        model__num_classes=classes,
        pretrain__from_weights=from_weights,
    )
    if refused:
        message = (
            "model.pretrained = true: the head of test_resnet is for 1000 classes, model.num_classes = 10; allowed"
        )
        with pytest.raises(InputError, match=message):
            starting_point(chosen)
    else:
        assert first(starting_point(chosen)[0].state_dict()) == first(weights())
