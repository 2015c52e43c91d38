"""Packed networks on a hub: the real client publishes to a server on this machine, and has them from there."""

import json
import re
import subprocess
import sys

import pytest
import timm
import torch
import yaml
from clones import ROOT, clean_environment
from conftest import fixed_network
from hub_uploads import TOKEN, running_upload_hub
from huggingface_hub import constants
from safetensors.torch import load

import wfn
from wfn import hub

NAME = "someone/small-network"


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A hub that this process's client uses, with a folder of its own for downloads."""
    with running_upload_hub() as running:
        path = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.address + path)
        yield running


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A fixed network of 4 classes as a packed file, with what its run would say of it."""
    model = fixed_network(num_classes=4)
    path = tmp_path_factory.mktemp("packed") / "small.wfn"
    wfn.pack(model, path, network="test_resnet", metadata={"data": "insects | pets", "top1": 91.3, "delta": 0.03})
    return path


def pictures(count=2):
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_published_and_loaded(server, packed):
    """One commit; the file that comes back is the file that went, and gives the network."""
    address = hub.push(packed, NAME, token=TOKEN, licence="apache-2.0", private=True)
    assert address == f"{server.address}/{NAME}"
    assert server.private == {NAME: True}
    assert server.commits == [["README.md", "config.json", "network.wfn"]]
    assert server.files[f"{NAME}:network.wfn"] == packed.read_bytes()
    assert list(server.objects.values()) == [packed.read_bytes()]
    with torch.no_grad():
        assert torch.equal(wfn.load(f"hf-hub:{NAME}")(pictures()), wfn.load(packed)(pictures()))
    assert wfn.inspect(f"hf-hub:{NAME}@main").bytes == packed.stat().st_size
    got = [path for method, path, _ in server.asked if method == "GET" and "/resolve/" in path]
    assert len(got) == 1, "downloaded once"


def test_published_again(server, packed):
    """Into the same repository, which is there already."""
    hub.push(packed, NAME, token=TOKEN)
    hub.push(packed, NAME, token=TOKEN, metadata={"top1": 92.5})
    assert len(server.commits) == 2
    assert "| top-1 | 92.5 |" in server.files[f"{NAME}:README.md"].decode()


def test_the_page(server, packed):
    hub.push(packed, NAME, token=TOKEN, licence="cc-by-4.0")
    page = server.files[f"{NAME}:README.md"].decode()
    head = yaml.safe_load(page.split("---\n")[1])
    assert head == {
        "license": "cc-by-4.0",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "timm", "weight-fixing"],
    }
    contents = wfn.inspect(packed)
    for row in (
        r"| data set | insects \| pets |",
        "| top-1 | 91.3 |",
        "| licence | cc-by-4.0 |",
        f"| values | {len(contents.codebook):,} for {int(contents.usage.sum()):,} weights |",
        f"| entropy | {contents.entropy:.3f} bits a weight |",
        f"| size | {packed.stat().st_size:,} bytes, {contents.unpacked_bytes:,} unpacked |",
    ):
        assert row in page.splitlines()


def test_the_code_on_the_page(server, packed, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (80, 60), "red").save("picture.jpg")
    hub.push(packed, NAME, token=TOKEN)
    names = {}
    exec(re.search(r"```python\n(.*?)```", server.files[f"{NAME}:README.md"].decode(), re.DOTALL)[1], names)
    assert names["probabilities"].shape == (1, 4)


def test_timm_alone_loads_it(server, packed):
    """With the weights beside it: the same logits, and the same picture from the same file."""
    hub.push(packed, NAME, token=TOKEN, with_weights=True)
    assert load(server.files[f"{NAME}:model.safetensors"]).keys() == wfn.unpack(packed).keys()
    theirs, ours = timm.create_model(f"hf-hub:{NAME}", pretrained=True).eval(), wfn.load(packed)
    with torch.no_grad():
        assert torch.equal(theirs(pictures()), ours(pictures()))
    from PIL import Image
    from timm.data import create_transform, resolve_data_config

    picture = Image.effect_noise((300, 200), 90).convert("RGB")
    transform = create_transform(**resolve_data_config({}, model=theirs))
    torch.testing.assert_close(transform(picture), ours.transform(picture))


def test_a_grey_network_of_pictures_squashed(server, tmp_path):
    """Arguments, class names and the other way to resize reach timm."""
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3, in_chans=1)
    told = {
        "timm": "test_resnet", "arguments": {"in_chans": 1, "num_classes": 3}, "classes": ["ant", "bee", "cat"],
        "input": {"channels": 1, "squash": [40, 40], "interpolation": "bilinear", "crop": [33, 33], "mean": [0.2],
                  "std": [0.5]},
    }  # fmt: skip
    wfn.pack(model, tmp_path / "grey.wfn", network=told)
    hub.push(tmp_path / "grey.wfn", NAME, token=TOKEN, with_weights=True)
    theirs, ours = timm.create_model(f"hf-hub:{NAME}", pretrained=True).eval(), wfn.load(tmp_path / "grey.wfn")
    assert theirs.pretrained_cfg["label_names"] == ["ant", "bee", "cat"]
    with torch.no_grad():
        assert torch.equal(theirs(pictures()[:, :1]), ours(pictures()[:, :1]))
    from PIL import Image
    from timm.data import create_transform, resolve_data_config

    config = resolve_data_config({}, model=theirs)
    picture = Image.effect_noise((90, 60), 90)
    torch.testing.assert_close(create_transform(**config)(picture), ours.transform(picture))


def test_what_is_refused(server, packed, tmp_path):
    with pytest.raises(ValueError, match="no slash: owner/name is needed"):
        hub.push(packed, "no slash", token=TOKEN)
    with pytest.raises(OSError, match="the hub did not take it .*401") as refused:
        hub.push(packed, NAME, token="hf_of_someone_else")
    assert "\n" not in str(refused.value)
    wfn.pack({"weight": torch.zeros(3)}, tmp_path / "tensors.wfn")
    with pytest.raises(ValueError, match="timm alone cannot build"):
        hub.push(tmp_path / "tensors.wfn", NAME, token=TOKEN, with_weights=True)
    assert server.files == {}
    hub.push(tmp_path / "tensors.wfn", NAME, token=TOKEN)
    assert server.commits == [["README.md", "network.wfn"]]
    assert f'wfn.unpack("hf-hub:{NAME}")' in server.files[f"{NAME}:README.md"].decode()


@pytest.mark.parametrize("name", ["hf-hub:someone/nothing", "hf-hub:owner", "hf-hub:../../x/y"])
def test_what_the_hub_does_not_have(server, name):
    with pytest.raises(OSError, match=f"^{re.escape(name)}: ") as error:
        wfn.load(name)
    assert "\n" not in str(error.value)


def test_a_damaged_download(server, packed):
    server.files[f"{NAME}:network.wfn"] = packed.read_bytes()[:-8]
    with pytest.raises(ValueError, match="damaged or cut off"):
        wfn.inspect(f"hf-hub:{NAME}")


@pytest.mark.long
def test_the_command(server, packed, tmp_path):
    """With HF_ENDPOINT and HF_TOKEN from the environment, in a process of its own."""
    environment = clean_environment() | {
        "HF_ENDPOINT": server.address, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"
    }  # fmt: skip

    def run(*arguments):
        command = [sys.executable, "-m", "wfn.cli", *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    pushed = run("push", packed, NAME, "--licence", "mit")
    assert pushed.returncode == 0, pushed.stderr
    assert f'wfn.load("hf-hub:{NAME}")' in pushed.stdout
    shown = run("inspect", f"hf-hub:{NAME}", "--json")
    assert json.loads(shown.stdout)["bytes"] == packed.stat().st_size
    missing = run("inspect", "hf-hub:someone/else")
    assert (missing.returncode, missing.stdout, len(missing.stderr.splitlines())) == (2, "", 1)
    assert missing.stderr.startswith("error: hf-hub:someone/else: network.wfn cannot be downloaded")
