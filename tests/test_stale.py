"""What an edit makes out of date, room by room, and that a changed setting reaches the images."""

import json

import pytest
import yaml
from clones import edited
from own_images import plant

FIXING = {"fix", "repeats", "sweep", "variants", "explore"}
PACKED = {"pack", "home"}
TRAINING = {*FIXING, "pretrain", "baselines", "quantise"}
EDITS = {
    "wfn/compiling.py": {*FIXING, *PACKED},
    "wfn/method/clustering.py": FIXING,
    "wfn/method/parameters.py": TRAINING,
    "wfn/stem.py": {*TRAINING, *PACKED},
    "wfn/packed/encode.py": PACKED,
    "wfn/picture.py": {*TRAINING, "data"},
    "wfn/files/tensors/read.py": TRAINING,
    "wfn/files/writing.py": set(),
    "wfn/files/compare.py": PACKED,
    "wfn/export/onnx_file.py": set(),
    "wfn/hub/card.py": set(),
    "wfn/cli/app.py": set(),
    "pipeline/base/metrics.py": {*TRAINING, "data", *PACKED, "report"},
    "pipeline/ahead/forecast.py": set(),
    "pipeline/watching/labels.py": set(),
    "pipeline/watching/progress.py": set(),
    "pipeline/watching/tracking.py": set(),
    "pipeline/data/images.py": {*TRAINING, "data", *PACKED},
    "pipeline/network/build.py": TRAINING,
    "pipeline/training/loop.py": TRAINING,
    "pipeline/measuring/coding.py": TRAINING,
    "pipeline/fixing/rounds.py": FIXING,
    "pipeline/network/small_maps.py": TRAINING,
    "pipeline/comparing/task.py": {"quantise"},
    "pipeline/methods/apot.py": {"quantise"},
    "pipeline/methods/uniform.py": set(),  # of which the small profile has no network
    "pipeline/packing/network.py": PACKED,
    "pipeline/packing/names.py": {*PACKED, "report"},
    "pipeline/report/style.py": {"home", "report"},
    "pipeline/paper/plan.py": set(),
    "pipeline/spreading/cell.py": set(),
    "stages/common/cli.py": {*TRAINING, "data", *PACKED, "report"},
    "stages/fix.py": FIXING - {"explore"},
    "stages/explore.py": {"explore"},
    "stages/rates.py": set(),
    "profiles/rates/mnist5k.csv": {"report"},
    "stages/pack.py": {"pack"},
    "stages/home.py": {"home"},
    "stages/own.py": set(),
    "stages/repro.py": set(),
    "stages/track.py": set(),
    # What others leave beside the code.
    "wfn/method/__pycache__/walk.cpython-313.pyc": set(),
    "wfn/method/__pycache__/walk.walk-34.py313.nbi": set(),
    "pipeline/training/.loop.py.swp": set(),
    "pipeline/training/loop.py~": set(),
}
STATUS = """
import json, sys
from pathlib import Path
from dvc.repo import Repo

found = {}
for name in [None, *json.loads(sys.argv[1])]:
    path, before = name and Path(name), None
    if path:
        path.parent.mkdir(exist_ok=True)
        before = path.read_bytes() if path.exists() else None
        path.write_bytes((before or b"") + b"\\n# a comment\\n")
    found[str(name)] = sorted({stage.partition("@")[0] for stage in Repo().status()})
    if before is not None:
        path.write_bytes(before)
    elif path:
        path.unlink()
print(json.dumps(found))
"""


def test_an_edit_makes_stale_what_it_can_change(clone, shell):
    """A comment in one file of every room. `track` runs always."""
    (clone / "status.py").write_text(STATUS)
    found = json.loads(shell(f"python status.py '{json.dumps(list(EDITS))}'").stdout.splitlines()[-1])
    (clone / "status.py").unlink()
    assert found.pop("None") == ["track"]
    assert found == {name: sorted({*stages, "track"}) for name, stages in EDITS.items()}


@pytest.fixture
def images(clone, shell):
    """The images of the clone, put back afterwards."""
    yield lambda: json.loads((clone / "runs" / "mnist5k" / "data" / "card.json").read_text())
    shell("git checkout --quiet profiles && dvc checkout --quiet --force")


@pytest.mark.long
def test_a_changed_size_of_the_images_is_seen(clone, shell, images):
    """And changed back, the old ones are there again."""
    profile = clone / "profiles" / "mnist5k.yaml"
    for old, new in ((28, 20), (20, 28)):
        edited(profile, f"pixels: {old}", f"pixels: {new}")
        shell("dvc repro data")
        assert images()["pixels"] == new


@pytest.mark.long
def test_other_pictures_under_the_same_settings_are_seen(clone, shell, images):
    """Also where DVC has a result for these settings, of the time before."""
    path, pictures = clone / "profiles" / "mnist5k.yaml", clone.parent / "pictures"
    profile = yaml.safe_load(path.read_text())
    plant(pictures, "cat 4", "dog 4")
    for cats, pixels in ((4, 20), (4, 28), (6, 20)):
        plant(pictures, f"cat {cats}")
        profile["data"] |= {"name": "own", "root": str(pictures), "pixels": pixels}
        path.write_text(yaml.safe_dump(profile))
        (clone / "runs" / "mnist5k" / "data" / ".writing-killed").mkdir()
        shell("dvc repro data")
        assert sum(images()[part]["images"] for part in ("train", "test")) == cats + 4
        assert len([*(clone / "runs" / "mnist5k" / "data").iterdir()]) == 2
