"""A packed network in MLflow: it loads by its run, and a real server of MLflow answers with what it says."""

import base64
import io
import json
import os
import subprocess
import sys
import time
import urllib.request

import mlflow
import pandas as pd
import pytest
import torch
from clones import clean_environment
from conftest import fixed_network
from logged_runs import LABEL, finished_run
from PIL import Image
from ports import free_port
from test_tracking import client, runs

import wfn
from pipeline.watching.completing import Result, complete
from pipeline.watching.store import PACKED

NETWORK = {
    "timm": "test_resnet",
    "arguments": {"in_chans": 1, "num_classes": 10},
    "classes": [f"digit {i}" for i in range(10)],
    "input": {
        **{"channels": 1, "squash": [28, 28], "interpolation": "bilinear", "crop": [28, 28]},
        **{"mean": [0.13], "std": [0.3]},
    },
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A small network with weights of some effect, packed."""
    path = tmp_path_factory.mktemp("packed") / "fix.wfn"
    wfn.pack(fixed_network(in_chans=1, num_classes=10), path, network=NETWORK)
    return path


@pytest.fixture(scope="module")
def pictures(dataset):
    """Real digits, as the content of PNG files."""
    contents = []
    for pixels in dataset.test[:3].pixels:
        content = io.BytesIO()
        Image.fromarray(pixels[0].numpy()).save(content, "PNG")
        contents.append(content.getvalue())
    return contents


@pytest.fixture
def expected(packed, pictures):
    network = wfn.load(packed)
    with torch.inference_mode():
        pixels = torch.stack([network.transform(Image.open(io.BytesIO(content))) for content in pictures])
        return pd.DataFrame(network(pixels).softmax(-1).numpy(), columns=NETWORK["classes"])


@pytest.fixture
def logged(repository, packed):
    """The id of a run that has the network."""
    run = finished_run(repository / "run")
    assert [complete([Result(LABEL, run, packed)]).networks_logged for _ in range(2)] == [1, 0]
    (found,) = runs(repository)
    assert found.data.tags[PACKED]
    return found.info.run_id


def test_it_loads_by_its_run(repository, logged, pictures, expected, monkeypatch):
    artifacts = {artifact.path for artifact in client(repository).list_artifacts(logged, "network")}
    assert {"network/MLmodel", "network/artifacts"} <= artifacts
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{repository / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model(f"runs:/{logged}/network")
    found = model.predict(pd.DataFrame({"image": pictures}))
    pd.testing.assert_frame_equal(found, expected)
    with pytest.raises(Exception, match="not a picture that Pillow can read"):
        model.predict(pd.DataFrame({"image": [b"nothing"]}))


def test_another_file_takes_its_place(repository, packed, tmp_path):
    run = finished_run(repository / "run")
    other = tmp_path / "other.wfn"
    wfn.pack(wfn.unpack(packed), other, network=NETWORK, metadata={"of": "another day"})
    done = [complete([Result(LABEL, run, each)]) for each in (packed, other, other)]
    assert [(each.networks_logged, each.fault) for each in done] == [(1, ""), (1, ""), (0, "")]


def test_it_is_served(repository, logged, pictures, expected, tmp_path):
    """`mlflow models serve`, in a folder where nothing of this project is."""
    port = free_port()
    command = ["mlflow", "models", "serve", "--model-uri", f"runs:/{logged}/network", "--env-manager", "local"]
    environment = clean_environment() | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{repository / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",  # noqa: PTH120
    }
    log = (tmp_path / "log").open("w+")
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", server)
        rows = [[base64.b64encode(content).decode()] for content in pictures]
        asked = json.dumps({"dataframe_split": {"columns": ["image"], "data": rows}}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", asked, {"Content-Type": "application/json"}
        )
        answer = json.load(urllib.request.urlopen(request, timeout=300))
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)
    found = pd.DataFrame(answer["predictions"])
    pd.testing.assert_frame_equal(found[expected.columns], expected, check_dtype=False, atol=1e-6)


def wait_for(address, server, seconds=600):
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        assert server.poll() is None
        try:
            urllib.request.urlopen(address, timeout=5)
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(f"no answer in {seconds} s")
