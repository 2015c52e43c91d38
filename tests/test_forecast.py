"""What `python -m stages.check` says before a run: what would stop it, or how much there is to do."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import timm
from catalogue import note
from clones import ROOT, edited

from pipeline.ahead.forecast import PROVENANCE, Places, epochs_of, forecast
from pipeline.ahead.obstacles import networks_of_timm, obstacles
from pipeline.base.settings import Settings, load_settings
from pipeline.comparing.finding import FOLDER, known_methods
from stages import check
from stages.common import folders

SECTION = "Settings"
PARAMS, PROFILE = "params.yaml", "profiles/mnist5k.yaml"


@pytest.fixture
def places(tmp_path, settings) -> Places:
    """A profile, no runs, and the report of a run of `settings` that took 10 s, and 100 s for every epoch."""
    report = tmp_path / "reports"
    report.mkdir()
    (report / "settings.json").write_text(json.dumps(settings.model_dump(mode="json")))
    took = {stage: 10 + 100 * epochs for stage, epochs in epochs_of(settings, all_stages(settings)).items()}
    pd.DataFrame({"stage": took.keys(), "seconds": took.values()}).to_csv(report / PROVENANCE, index=False)
    return Places(ROOT / PROFILE, tmp_path / "runs", report)


def all_stages(settings: Settings) -> list[str]:
    return [made.stage for made in folders.all_runs(settings)]


def minutes(settings: Settings, stages: list[str], places: Places) -> int:
    return int(re.match(r"at most about ([\d,]+) minute", forecast(settings, stages, places)[1])[1].replace(",", ""))


def test_epochs_of_the_default_by_hand(settings):
    default = load_settings(ROOT / PARAMS, ROOT / "profiles")
    epochs = epochs_of(default, all_stages(default))
    assert epochs["pretrain"] == 12
    assert epochs["fix"] == epochs["sweep@0.0075-0.4-2"] == epochs["quantise@apot-3"] == 9
    assert epochs["variants@one-shot"] == 0
    assert epochs["explore"] == 3 * 12 + 54 * 3
    assert epochs["baselines@2"] == 12
    assert sum(epochs.values()) == 3 * 12 + 12 * 9 + 9 * 9 + 198
    given = default.changed({"model.checkpoint": "x.pt"})
    assert epochs_of(given, ["pretrain"]) == {"pretrain": 0}
    assert epochs_of(given.changed({"pretrain.from_weights": True}), ["pretrain"]) == {"pretrain": 12}


def test_what_no_timing_tells(settings, places):
    """Another network to explore, a method that was not there."""
    assert "no timing" not in forecast(settings, all_stages(settings), places)[1]
    larger = settings.changed({"explore.model": "resnet18"})
    assert "no timing of such a run here" in forecast(larger, all_stages(larger), places)[1]
    assert "at most about" in forecast(larger, ["pretrain", "fix"], places)[1]
    lines = {**settings.model_dump()["baselines"]["quantisers"], "new": {"method": "dkm", "bits": 3, "repeat": 0}}
    more = settings.changed({"baselines.quantisers": lines})
    assert "no timing of such a run here" in forecast(more, all_stages(more), places)[1]


def test_the_machine_of_the_last_run_is_named(settings, places):
    table = pd.read_csv(places.report / PROVENANCE).assign(device="AMD EPYC, AVX512 (cpu)")
    table.to_csv(places.report / PROVENANCE, index=False)
    said = forecast(settings, ["pretrain", "fix"], places)[1]
    assert said == f"at most about 17 minutes as on AMD EPYC, AVX512 (cpu) ({places.report / PROVENANCE})"


def test_what_there_is_to_do(settings, places):
    lines = forecast(settings, all_stages(settings), places)
    assert lines[0] == (
        "mnist5k: test_resnet on mnist5k: 6 baselines, 15 fixed networks, 9 of other methods, 54 explored; "
        "at most 357 epochs of training in 28 stages"
    )
    assert len(lines) == 2
    home = forecast(settings, ["pretrain", "fix"], places)
    assert (
        home[0]
        == "mnist5k: test_resnet on mnist5k: 1 baseline, 1 fixed network; at most 10 epochs of training in 2 stages"
    )
    assert home[1].startswith("at most about 17 minutes (")  # 10 + 100 + 10 + 900 seconds
    (places.runs / "data").mkdir(parents=True)
    (places.runs / "data" / "card.json").write_text(json.dumps({"train": {"images": 3000}}))
    assert (
        "at most 10 epochs of training of 3,000 images in 2 stages"
        in forecast(settings, ["pretrain", "fix"], places)[0]
    )


def test_minutes_are_those_of_the_last_run_by_epochs(settings, places):
    stages = all_stages(settings)
    took = pd.read_csv(places.report / PROVENANCE)["seconds"].sum()
    assert minutes(settings, stages, places) == round(took / 60)
    longer = settings.changed({"pretrain.epochs": 4, "finetune.epochs": 2})
    assert minutes(longer, ["pretrain"], places) == round(4 * 110 / 60)
    assert minutes(longer, ["fix"], places) == round(2 * 910 / 60)
    more = settings.changed({"repeats": [1, 2, 3], "grid.delta": [0.02]})
    assert minutes(more, ["repeats@3", "sweep@0.02-0.4-0"], places) == round(2 * 910 / 60)


@pytest.mark.parametrize("change", [{"model.name": "resnet18"}, {"data.pixels": 32}, {"hardware.workers": 1}])
def test_no_minutes_of_another_network_or_other_images(settings, places, change):
    line = forecast(settings.changed(change), ["pretrain"], places)[1]
    assert line.startswith(f"no timing of such a run here; {ROOT / PROFILE} says of a whole run: 15 minutes on two")
    assert line.isprintable()


@pytest.mark.parametrize("name", ["settings.json", PROVENANCE])
@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"stage,seconds\nfix,x\n", b"\xff\xfe", b"stage\nnowhere\n", b"[1]"]
)
def test_a_report_that_says_nothing(settings, places, name, content):
    """Of an earlier version, cut short, or of other stages."""
    (places.report / name).unlink()
    if content is not None:
        (places.report / name).write_bytes(content)
    assert forecast(settings, ["pretrain", "fix"], places)[1].startswith("no timing of such a run here; ")


def test_a_cost_of_two_lines_and_none(settings, places, tmp_path):
    profile = tmp_path / "own.yaml"
    places = places._replace(profile=profile, report=tmp_path / "none")
    profile.write_text("# Mine\n#\n# Cost      an hour\n#           or two\n# Expected  x\n\ndata:\n")
    line = forecast(settings, ["pretrain"], places)[1]
    assert line == f"no timing of such a run here; {profile} says of a whole run: an hour or two"
    profile.write_text("data:\n")
    assert forecast(settings, ["pretrain"], places)[1] == "no timing of such a run here"


def test_which_of_two_sources_is_used(settings, places):
    both = settings.changed({
        "data.root": "pictures", "data.hub": "a/b", "model.checkpoint": "x.pt", "model.pretrained": True,
    })  # fmt: skip
    lines = forecast(both, ["pretrain"], places)[2:]
    assert lines == [
        "images from data.root = pictures, not from data.hub = a/b",
        "weights from model.checkpoint = x.pt, not those of model.pretrained",
    ]
    note(SECTION, "data.root and data.hub", "the folder is used; `python -m stages.check` says so", lines[0])
    note(
        SECTION, "model.checkpoint and model.pretrained", "the file is used; `python -m stages.check` says so", lines[1]
    )


# Case, changes, what is said; what stops a run at a later stage, found before the first.
STOPPED = [
    ("a method that does not exist", {"baselines.quantisers": {"x": {"method": "lsq", "bits": 4, "repeat": 0}}},
     f"baselines.quantisers.x.method = 'lsq': no such method; allowed: {', '.join(known_methods())}"),
    ("a quantiser without bits", {"baselines.quantisers": {"x": {"method": "uniform", "repeat": 0}}},
     "baselines.quantisers.x.bits = None: allowed for uniform: 2 to 8"),
    ("APoT with 1 bit", {"baselines.quantisers": {"x": {"method": "apot", "bits": 1, "repeat": 0}}},
     "baselines.quantisers.x.bits = 1: allowed for apot: 2 to 5"),
    ("k-means with 16 bits", {"baselines.quantisers": {"x": {"method": "kmeans_network", "bits": 16, "repeat": 0}}},
     "baselines.quantisers.x.bits = 16: allowed for kmeans_network: 1 to 12"),
    ("a rate for a method that does not exist", {"quantise.rates": {"apott": 0.1}},
     f"quantise.rates.apott: no such method; allowed: {', '.join(known_methods())}"),
    ("a network that timm does not have", {"model.name": "resnet_18"},
     "model.name = 'resnet_18': timm has no such model; allowed: resnet18, "),
    ("a network to explore that timm does not have", {"explore.model": "test_resnot"},
     "explore.model = 'test_resnot': timm has no such model; allowed: test_resnet, "),
    ("a folder of images that is not there", {"data.root": "pictures"},
     "data.root = pictures: no such folder; relative paths begin at the clone"),
    ("a file of weights that is not there", {"model.checkpoint": "mine.pt"},
     "model.checkpoint = mine.pt: no such file; relative paths begin at the clone"),
    ("a module of networks that is not there", {"model.module": "mine.py"},
     "model.module = mine.py: no such file; relative paths begin at the clone"),
    ("a GPU that is not there", {"hardware.accelerator": "cuda", "hardware.devices": 8},
     "hardware.accelerator = 'cuda', devices = 8: this machine has "),
]  # fmt: skip


@pytest.mark.parametrize(("case", "changes", "message"), STOPPED, ids=[case for case, *_ in STOPPED])
def test_what_would_stop_a_run_is_named_before_it(settings, case, changes, message):
    found = obstacles(settings.changed(changes), [])
    assert len(found) == 1
    assert found[0].startswith(message)
    assert found[0].isprintable()
    same_everywhere = "timm" not in message and "cuda" not in message
    note(SECTION, case, "refused before the first stage", found[0] if same_everywhere else "")


def test_nothing_stops_the_settings_of_the_repository(files, repository):
    for profile in ("mnist5k", "cifar10", "cifar10-small", "imagenet"):
        edited(files / PARAMS, f"profile: {load_settings().profile}", f"profile: {profile}")
        assert obstacles(load_settings(), [Path("runs")]) == []


def test_files_that_are_there_stop_nothing(settings, repository):
    (repository / "pictures").mkdir()
    for name in ("mine.pt", "mine.py"):
        (repository / name).touch()
    own = {"data.root": "pictures", "model.checkpoint": "mine.pt", "model.module": "mine.py", "model.name": "my_own"}
    assert obstacles(settings.changed(own), []) == []
    assert obstacles(settings.changed({"model.checkpoint": "hf-hub:a/b"}), []) == []


def test_a_file_where_a_folder_belongs(settings, tmp_path):
    (tmp_path / "runs").touch()
    folders_of_runs = [tmp_path / "runs" / name for name in ("data", "fix")]
    line = f"{tmp_path}/runs: a file where a folder of results belongs; move it away"
    assert obstacles(settings, folders_of_runs) == [line]
    note(SECTION, "a file called `runs`", "refused before the first stage", line.replace(f"{tmp_path}/", ""))


def test_networks_are_read_off_timms_files():
    registered = timm.models._registry._model_entrypoints  # other tests register their own
    assert networks_of_timm() == {name for name, made in registered.items() if made.__module__.startswith("timm.")}


def test_a_method_without_its_package(settings, monkeypatch):
    monkeypatch.delitem(sys.modules, "coremltools", raising=False)
    monkeypatch.setattr(
        "pipeline.comparing.finding.find_spec", lambda name: None if name == "coremltools" else object()
    )
    chosen = settings.changed({"baselines.quantisers": {"x": {"method": "coreml_dkm", "bits": 4, "repeat": 0}}})
    line = (
        "baselines.quantisers.x.method = 'coreml_dkm': needs the package coremltools; "
        "`uv sync --group peers` installs it"
    )
    assert obstacles(chosen, []) == [line]
    note(SECTION, "a method whose package is missing", "refused before the first stage", line)


@pytest.mark.parametrize(
    ("bits", "chosen", "stops"),
    [
        ("None", {}, False),
        ("None", {"bits": 3}, True),
        ("range(1, 3)", {"bits": 3}, True),
        ("WIDTHS", {"bits": 3}, False),
    ],
)
def test_widths_are_read_off_a_methods_file(settings, monkeypatch, tmp_path, bits, chosen, stops):
    """Where they are computed, the stage itself sees."""
    shutil.copytree(FOLDER, tmp_path / "methods")
    (tmp_path / "methods" / "own.py").write_text(f"import math\n\nWIDTHS = range(9)\nBITS = {bits}\n")
    monkeypatch.setattr("pipeline.comparing.finding.FOLDER", tmp_path / "methods")
    found = obstacles(settings.changed({"baselines.quantisers": {"x": {"method": "own", "repeat": 0, **chosen}}}), [])
    assert bool(found) == stops


def test_the_command(files, capsys):
    check.check()
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(
        "mnist5k: resnet18 on mnist5k: 6 baselines, 15 fixed networks, 9 of other methods, 54 expl"
    )
    check.check(home=True)
    assert capsys.readouterr().out.startswith(
        "mnist5k: resnet18 on mnist5k: 1 baseline, 1 fixed network; at most 21 epo"
    )


def test_faults_of_several_kinds_are_named_together_without_torch(files):
    """It takes seconds to import, and `make repro` waits for this."""
    edited(files / PARAMS, "{method: apot, bits: 3, repeat: 0}", "{method: apot, repeat: 0}")
    edited(files / PROFILE, "checkpoint: null", "checkpoint: mine.pt")
    (files / "packed").touch()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "stages.check"],
        env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True,
    )  # fmt: skip
    lines = done.stderr.splitlines()
    assert done.returncode == 2
    assert lines[-1] == (
        "error: baselines.quantisers.apot-3.bits = None: allowed for apot: 2 to 5; model.checkpoint = mine.pt: no such "
        "file; relative paths begin at the clone; packed: a file where a folder of results belongs; move it away"
    )
    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert "pydantic" in imported
    assert not imported & {"torch", "timm", "lightning_fabric"}
    note(
        SECTION, "faults of several kinds", "named together, before the first stage", lines[-1].removeprefix("error: ")
    )


def test_places_in_the_home_folder(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    own = {"data.root": "~/pictures", "model.checkpoint": "~/weights.pt", "model.module": "~/mine.py"}
    chosen = settings.changed(own)
    assert [line.partition(" = ")[0] for line in obstacles(chosen, [])] == [
        "data.root",
        "model.module",
        "model.checkpoint",
    ]
    (tmp_path / "pictures").mkdir()
    for name in ("weights.pt", "mine.py"):
        (tmp_path / name).touch()
    assert obstacles(chosen, []) == []
