"""Weights from a hub: a real server on this machine speaks its protocol, cuts connections and sends wrong files."""

import hashlib
import io
import subprocess
import sys

import pytest
import timm
import torch
from conftest import ROOT, clean_environment
from hub_server import running_hub
from safetensors.torch import save


@pytest.fixture
def hub():
    with running_hub() as server:
        yield server


@pytest.fixture
def build(hub, tmp_path):
    """Build a network in a process of its own, whose hub is ours; prints its first weight, or the error."""

    def build(address=None, **model):
        program = (
            "import sys\nfrom pipeline import models\nfrom pipeline.config import InputError, Model\n"
            "given = {'name': 'test_resnet', 'in_chans': 3, 'num_classes': 1000, 'stem': None, 'checkpoint': None,"
            f"         'pretrained': False, 'options': {{}}}} | {model!r}\n"
            "settings = Model.model_validate(given)\n"
            "try:\n"
            "    model = models.build(settings, seed=0)\n"
            "    if settings.checkpoint:\n"
            "        models.load_checkpoint(model, settings.checkpoint)\n"
            "except InputError as error:\n    sys.exit(f'error: {error}')\n"
            "print(float(next(model.parameters()).detach().flatten()[0]))\n"
        )
        environment = clean_environment() | {
            "HF_ENDPOINT": address or hub.address, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1",
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
        )

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
    done = build(pretrained=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == first(state)
    assert float(build(pretrained=True).stdout) == first(state)
    assert len([method for method, path, _ in hub.asked if method == "GET" and path.endswith(".safetensors")]) == 1
    assert float(build(address="http://127.0.0.1:9", pretrained=True).stdout) == first(state)  # from the cache


def test_a_repository_by_name(hub, build):
    state = weights()
    hub.files["someone/network:pytorch_model.bin"] = pickled(state)
    done = build(checkpoint="hf-hub:someone/network")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == first(state)


def pickled(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def test_a_download_that_was_cut_goes_on_where_it_was(hub, build):
    state = weights(name="resnet10t")  # 22 MB; the library takes 10 at a time
    hub.files["someone/network:model.safetensors"] = save(state)
    hub.cut = 2
    done = build(name="resnet10t", checkpoint="hf-hub:someone/network")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == first(state)
    spans = [int(span.split("=")[1].split("-")[0]) for method, _, span in hub.asked if method == "GET" and span]
    assert max(spans) > 0


def refused(done, *messages):
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: "), done.stderr
    for message in messages:
        assert message in last
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_what_the_hub_says(hub, build):
    """The bytes have the right number and the wrong content; another try gets the right ones."""
    state = weights()
    name = "someone/network:model.safetensors"
    hub.files[name], hub.checksums[name] = save(weights(2.0)), hashlib.sha256(save(state)).hexdigest()
    refused(build(checkpoint="hf-hub:someone/network"), "model.safetensors is damaged", "run again")
    hub.files[name] = save(state)
    assert float(build(checkpoint="hf-hub:someone/network").stdout) == first(state)


def test_wrong_files_are_named(hub, build):
    hub.files["someone/page:model.safetensors"] = b"<html>log in first</html>"
    refused(build(checkpoint="hf-hub:someone/page"), "model.safetensors: not a file of weights")
    hub.files["someone/other:model.safetensors"] = save({"layer.weight": torch.ones(3)})
    refused(build(checkpoint="hf-hub:someone/other"), "model.safetensors: lacks ", "the model's own names are needed")
    hub.files["someone/program:pytorch_model.bin"] = pickled({"weight": print})
    refused(build(checkpoint="hf-hub:someone/program"), "pytorch_model.bin: not a file of weights")
    hub.files["someone/text:README.md"] = b"no weights"
    refused(build(checkpoint="hf-hub:someone/text"), "someone/text has none of model.safetensors, pytorch_model.bin")


def test_no_network(build):
    """Port 9 of this machine answers nobody."""
    done = build(address="http://127.0.0.1:9", checkpoint="hf-hub:someone/network")
    refused(done, "model.safetensors of someone/network cannot be downloaded", "set model.checkpoint to that file")
    refused(build(checkpoint="hf-hub:no one/at all"), "model.checkpoint = hf-hub:no one/at all", "owner/name")
