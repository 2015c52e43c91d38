"""The paper's tables on ImageNet: what is asked for, what is refused, and the page of what is there so far.

To the end on a folder that is made up: 20 classes with WordNet ids, and the networks with few layers and channels.
"""

import dataclasses
import html
import io
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from clones import ROOT, clean_environment, files_of, heed_ctrl_c, make_clone, run_in
from conftest import browser_page
from PIL import Image
from readme import PAPER
from report_runs import PUBLISHED, fixing, run

from pipeline.ahead.forecast import Places
from pipeline.base.errors import InputError
from pipeline.base.settings import Hardware
from pipeline.base.settings.plain_yaml import read_yaml
from pipeline.paper import pace
from pipeline.paper.cost import Work, cost, images_of, timed_before
from pipeline.paper.document import document, said
from pipeline.paper.pace import Pace, Trial, pictures_of, try_out
from pipeline.paper.plan import DELTAS, NETWORKS, Files, check_weights, classes_of, experiment, plan
from pipeline.paper.progress import Network, finished, with_baselines
from pipeline.paper.tables import claims_of, made_with, table_1, table_2
from pipeline.paper.workshop import furnish, lend_data, settings_in
from pipeline.report.overview import start_page
from stages.common import folders

CLASSES = [f"n{1440764 + number:08}" for number in range(20)]
SMALL = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}


def make_imagenet(folder: Path, train: int = 4, val: int = 2) -> Path:
    """Noise in 20 colours as JPEG, by WordNet id."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("val", val)):
        for number, name in enumerate(CLASSES):
            place = folder / part / name
            place.mkdir(parents=True)
            for picture in range(count):
                pixels = rng.integers(0, 80, (40, 48, 3)) + 8 * number
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{name}_{picture}.JPEG")
    return folder


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    return make_imagenet(tmp_path_factory.mktemp("imagenet"))


@pytest.fixture(scope="module")
def given():
    return Files(read_yaml(ROOT / "params.yaml"), read_yaml(ROOT / "profiles" / "imagenet.yaml"))


# What is asked for, and what is refused


def test_only_what_the_tables_need_is_run(given):
    asked = plan("resnet18, resnet50", "10", "2")
    before = (yaml.safe_dump(dict(given.params)), yaml.safe_dump(dict(given.profile)))
    settings = experiment(given, asked, "resnet50", Path("/data")).settings("here")
    assert sorted([settings.delta, *settings.grid.delta]) == sorted(DELTAS)
    assert (settings.repeats, settings.grid.repeats) == ((1,), (0, 1))
    assert [(each.method, each.bits, each.repeat) for each in settings.baselines.quantisers.values()] == [
        ("apot", 3, 0),
        ("apot", 3, 1),
    ]
    assert not settings.variants
    assert not settings.explored()
    assert (settings.model.name, settings.data.mini, settings.data.root) == ("resnet50.tv_in1k", 10, Path("/data"))
    assert (yaml.safe_dump(dict(given.params)), yaml.safe_dump(dict(given.profile))) == before


def test_deltas_and_networks_are_those_that_were_published():
    tables = yaml.safe_load(PUBLISHED.read_text())
    (rows,) = (table["rows"] for table in tables if table["method"] == "WFN")
    assert {row["setting"] for row in rows} == {f"delta {delta:g}" for delta in DELTAS}
    assert tuple(dict.fromkeys(row["model"] for row in rows)) == NETWORKS


@pytest.mark.parametrize(
    ("networks", "mini", "seeds", "says"),
    [
        ("../x", None, "1", "NETWORKS = ../x: '../x' is no network; allowed: resnet18, resnet34, resnet50, or others"),
        (",", None, "1", "NETWORKS = ,: '' is no network; allowed: "),
        ("resnet18", "0", "1", "MINI = 0: allowed: whole numbers from 1 to 1,000,000"),
        ("resnet18", "ten", "1", "MINI = ten: allowed: whole numbers"),
        ("resnet18", None, "1.5", "SEEDS = 1.5: allowed: whole numbers from 1 to 100"),
    ],
)
def test_what_cannot_be_asked_for(networks, mini, seeds, says):
    with pytest.raises(InputError, match=f"^{re.escape(says)}"):
        plan(networks, mini, seeds)


def test_folders_that_are_not_imagenet(imagenet, tmp_path):
    (tmp_path / "only" / "train" / CLASSES[0]).mkdir(parents=True)
    (tmp_path / "flat" / "train" / CLASSES[0]).mkdir(parents=True)
    (tmp_path / "flat" / "val").mkdir()
    (tmp_path / "flat" / "val" / "ILSVRC2012_val_00000001.JPEG").touch()
    (tmp_path / "other" / "train" / CLASSES[0]).mkdir(parents=True)
    (tmp_path / "other" / "val" / CLASSES[1]).mkdir(parents=True)
    for folder, says in (
        (None, "IMAGENET is not set; allowed: a folder with train and val"),
        (tmp_path / "none", f"IMAGENET = {tmp_path}/none: no such folder; allowed: "),
        (tmp_path / "only", f"IMAGENET = {tmp_path}/only: has no folder val; allowed: "),
        (tmp_path / "flat", f"IMAGENET = {tmp_path}/flat: val has no folder in it; allowed: "),
        (
            tmp_path / "other",
            f"IMAGENET = {tmp_path}/other: only train or only val has {CLASSES[0]}, {CLASSES[1]}; allowed: ",
        ),
    ):
        with pytest.raises(InputError, match=f"^{re.escape(says)}"):
            classes_of(folder)
    assert classes_of(imagenet) == (imagenet, CLASSES)
    assert classes_of(imagenet / ".." / imagenet.name) == (imagenet, CLASSES)  # one folder, however it is written
    assert images_of(imagenet, CLASSES, None) == 80
    assert images_of(imagenet, CLASSES, 3) == 60


def test_given_weights_need_their_classes():
    thousand = [f"n{number:08}" for number in range(1000)]
    check_weights(Path("/data"), thousand)
    for classes, says in (
        (thousand[:20], "20 classes, with others; allowed for networks with given weights"),
        ([*thousand[:999], "tench"], "1,000 classes, with tench, which is no WordNet id; allowed"),
    ):
        with pytest.raises(InputError, match=f"^IMAGENET = /data: {re.escape(says)}"):
            check_weights(Path("/data"), classes)


def test_what_it_costs_by_hand(given, tmp_path):
    asked = plan(",".join(NETWORKS), None, "1")
    works = {}
    parameters = [11_700_000, 21_800_000, 25_600_000]
    trials = [Trial(0.0025, None, "tried"), Trial(None, None, "not tried (out of memory)"), None]
    for network, count, trial in zip(NETWORKS, parameters, trials, strict=True):
        settings = experiment(given, asked, network, Path("/data")).settings("here")
        stages = [made.stage for made in folders.all_runs(settings)]
        places = Places(ROOT / "profiles" / "imagenet.yaml", tmp_path, tmp_path)
        assert not timed_before(settings, stages, places)
        works[network] = Work(settings, stages, places, count, stages[1:], trial)
    said = "\n".join(cost(asked, works, 1_281_167))
    # Three deltas and APoT in nine rounds of three epochs each; the weights of the baselines are taken as they are.
    assert "in all 15 results, at most 324 epochs of 1,281,167 training images" in said
    assert "results take about 2.4 GB" in said
    assert "a checkpoint about 512.0 MB" in said
    # 108 epochs of 1,281,167 images in 2.5 ms each are 345,915 s; the baseline, which is there, has none.
    assert "\ntried, at least 4 days of training; fixing, measuring, a look at every picture come on top\n" in said
    assert "\nnot tried (out of memory)\n" in said
    assert said.count("no timing of such a run here") == 1
    assert "no claim is decided" in said
    assert cost(plan("resnet18", "10", "3"), works, 10)[-1] == "10 images a class: not ImageNet's accuracy"


def test_a_pace_by_hand(monkeypatch):
    """On a CPU the cores read before they train; a GPU waits for whichever is slower, all processes at once."""
    monkeypatch.setattr(pace, "cores", lambda: 16)
    four = Hardware.model_validate(
        {"accelerator": "auto", "precision": "32-true", "devices": 2, "nodes": 1, "threads": "auto", "accumulate": 1,
         "channels_last": True, "workers": 4, "compile": False}
    )  # fmt: skip
    assert Pace(step=0.004, reading=0.008).an_image(four, on_cpu=False) == pytest.approx(0.002)
    assert Pace(step=0.004, reading=0.032).an_image(four, on_cpu=False) == pytest.approx(0.004)
    assert Pace(step=0.004, reading=0.032).an_image(four, on_cpu=True) == pytest.approx(0.008)
    on_three = four.model_copy(update={"nodes": 3})
    assert Pace(step=0.012, reading=0.024).an_image(on_three, on_cpu=False) == pytest.approx(0.002)
    assert Pace(step=0.012, reading=0.024).an_image(on_three, on_cpu=True) == pytest.approx(0.005)
    monkeypatch.setattr(pace, "cores", lambda: 2)
    assert Pace(step=0.004, reading=0.032).an_image(four, on_cpu=False) == pytest.approx(0.016)


def test_a_trial_of_a_network(given, imagenet, tmp_path, monkeypatch):
    """Its pictures are those of the folder; what it meets is said, and stops nothing."""
    (tmp_path / "train" / "a" / "@eaDir").mkdir(parents=True)
    (tmp_path / "train" / "a" / "picture.JPEG").write_bytes(b"no picture")
    assert pictures_of(tmp_path, ["a"]) == [tmp_path / "train" / "a" / "picture.JPEG"]
    pictures = pictures_of(imagenet, CLASSES)
    assert len(pictures) == 80
    small = Files(given.params, deepcopy(dict(given.profile)))
    small.profile["data"]["pixels"] = 32
    settings = experiment(small, plan("resnet18", None, "1"), "resnet18", imagenet).settings("here").for_classes(20)

    unreadable = tmp_path / "train" / "a" / "picture.JPEG"
    tried = try_out(settings, [unreadable, *pictures], None)
    assert 0 < tried.seconds < 60
    assert tried.seconds > tried.pace.step
    assert re.fullmatch(
        r"resnet18.tv_in1k: an image takes \S+ ms to train on \(cpu\) and \S+ ms to read, .*", tried.said
    )
    again = try_out(settings, [unreadable], 2.0)  # as of another network
    assert again.pace.reading == 2.0
    for given_pictures in ([unreadable], []):
        assert try_out(settings, given_pictures, None) == (
            None, None, "resnet18.tv_in1k: not tried (no picture could be read)"
        )  # fmt: skip
    monkeypatch.setattr(pace, "LONGEST", 1.0)
    assert try_out(settings, pictures, None).said.endswith("not tried (it takes longer than 0 minutes)")


def test_nothing_waits_for_torch_that_can_be_said_without_it():
    without = "import sys, stages.paper; assert not {'torch', 'timm', 'lightning_fabric'} & {*sys.modules}"
    assert subprocess.run([sys.executable, "-c", without], cwd=ROOT, check=False).returncode == 0


# The tables and the page, of runs whose figures can be checked by hand


def half_done(seeds=1):
    """A network with its baseline and two of its three deltas, the second not packed yet."""
    made = {}
    for seed in range(seeds):
        repeat = f"s@{seed}"
        made[f"baseline{repeat}" if seed else "pretrain"] = run(69.0, {"seed": seed}, unique=900_000, entropy=19.0)
        made[f"repeat{repeat}" if seed else "fix"] = run(69.5 + seed, fixing(0.01, seed=seed), unique=150)
        made[f"sweep@0.015-0.4-{seed}"] = run(67.0, fixing(0.015, seed=seed), unique=150)
    unpacked = made["sweep@0.015-0.4-0"]
    made["sweep@0.015-0.4-0"] = dataclasses.replace(unpacked, metrics=unpacked.metrics | {"packed_bytes": math.nan})
    return made


@pytest.fixture(scope="module")
def networks(given):
    settings = experiment(given, plan("resnet18", None, "1"), "resnet18", Path("/data")).settings("here")
    return [
        Network("resnet18", settings, half_done(), ("sweep@0.0075-0.4-0", "quantise@apot-3"), None, 50_000),
        Network("resnet50"),
    ]


def row_of(table, **values):
    for name, value in values.items():
        table = table[table[name] == value]
    ((_, row),) = table.iterrows()
    return row


def test_ours_beside_the_published(networks):
    table = table_1(networks, PUBLISHED)
    row = row_of(table, model="resnet18", setting="delta 0.01")
    assert (row["top1"], row["published_top1"]) == (69.5, 69.7)
    assert row["top1_difference"] == pytest.approx(-0.2)
    assert (row["unique_as_published"], row["published_unique"]) == (141, 164)
    assert (row["entropy_as_published"], row["published_entropy"]) == (3.9, 3.01)
    pending = row_of(table, model="resnet18", setting="delta 0.0075")
    assert {str(pending[name]) for name in ("top1", "top1_difference", "unique_as_published")} == {"not measured yet"}
    other = row_of(table, model="resnet18", method="APoT", setting="4 bit")
    assert {str(other[name]) for name in ("runs", "top1", "top1_difference")} == {"not measured here"}
    assert other["published_top1"] == 70.74
    assert str(row_of(table, model="resnet50", method="APoT", setting="3 bit")["published_entropy"]) == "not published"
    assert set(table.loc[table["model"] == "resnet50", "top1"].map(str)) == {"not measured yet", "not measured here"}


def test_against_apot_in_full(networks):
    table = table_2(networks, PUBLISHED)
    fixed = row_of(table, model="resnet18", setting="delta 0.01")
    assert (fixed["unique"], fixed["unique_no_bn"], fixed["unique_no_bn_first_last"]) == (150, 145, 143)
    assert (fixed["drop"], fixed["megabytes"]) == (0.5, 0.5)
    assert str(row_of(table, model="resnet18", setting="delta 0.015")["megabytes"]) == "not measured yet"
    apot = row_of(table, model="resnet18", method="APoT")
    assert (str(apot["top1"]), apot["published_unique"], apot["published_entropy"]) == ("not measured yet", 9237, 5.77)
    assert "not verified" in apot["source"]


def test_of_other_weights_nothing_was_published(networks):
    other = dataclasses.replace(networks[0], name="resnet18.a1_in1k")
    assert {str(each) for each in table_1([other], PUBLISHED)["published_top1"]} == {"not published"}


def test_what_is_no_imagenet_is_said(networks):
    """Where not all of its images are there, and nobody has asked for fewer."""
    whole, part = (dataclasses.replace(networks[0], train_images=count) for count in (1_281_167, 34_745))
    assert said(whole) == said(networks[0]) == "resnet18 has 3 of 5 results"
    assert said(part).endswith(", of 34,745 training and 50,000 test images, and not of all of ImageNet's")
    (row,) = made_with([part, networks[1]]).to_dict("records")
    assert (row["Training images"], row["alpha"], row["Recipe of the pictures"]) == (34_745, 0.4, "timm")


def test_a_run_without_its_baseline_is_left_out(networks):
    """As while a baseline is made again: there is nothing to compare it with."""
    made = half_done(seeds=2)
    del made["baselines@1"]
    assert sorted(with_baselines(made)) == ["fix", "pretrain", "sweep@0.015-0.4-0"]


def test_no_cell_is_empty(networks):
    for table in (table_1(networks, PUBLISHED), table_2(networks, PUBLISHED)):
        assert not table.isna().any().any()


def test_several_seeds_have_a_spread(networks):
    several = dataclasses.replace(networks[0], made=half_done(seeds=2))
    row = row_of(table_1([several], PUBLISHED), setting="delta 0.01")
    assert (row["runs"], row["top1"]) == (2, 70.0)
    assert row["top1_spread"] == pytest.approx(2**-0.5)


def test_claims_of_what_is_there(networks):
    found = claims_of(networks[0])
    lossless = found.iloc[0]
    assert lossless["claim"].startswith("No loss of top-1 at δ = 0.01")
    assert (lossless["measured"], lossless["runs"], lossless["verdict"]) == (0.5, 1, "not decided")
    assert {str(each) for each in found.loc[found["runs"] == 0, "measured"]} == {"not measured so far"}
    done = claims_of(dataclasses.replace(networks[0], missing=()))
    assert {str(each) for each in done.loc[done["runs"] == 0, "verdict"]} == {"not measured here"}
    assert claims_of(networks[1]).empty


def test_the_page_of_what_is_there_so_far(networks):
    files = document(plan("resnet18,resnet50", None, "1"), networks, PUBLISHED, "0123abcd")
    page = files["index.html"].decode()
    assert "resnet18 has 3 of 5 results; resnet50 is not measured yet." in page
    assert "-0.30 to -0.20 points" in page
    assert "class:" not in page.replace("class: <", "")
    assert {"table-1.csv", "table-1.md", "table-1.tex", "table-2.csv", "claims.csv", "work.csv"} <= files.keys()
    assert "Images a class" not in files["table-1.csv"].decode()
    assert "resnet50,WFN,delta 0.01,not measured yet" in files["table-1.csv"].decode()


def test_a_trial_is_marked_everywhere(networks, tmp_path):
    asked = plan("resnet18,resnet50", "10", "1")
    assert asked.mark == "10 images a class: not ImageNet's accuracy"
    (tmp_path / "own.html").write_text("<title>resnet18</title><h1>resnet18</h1>")
    measured = dataclasses.replace(networks[0], page=tmp_path / "own.html")
    files = document(asked, [measured, networks[1]], PUBLISHED, "0123abcd")
    own = html.unescape(files["resnet18.html"].decode())
    assert own == f"<title>resnet18 ({asked.mark})</title><h1>resnet18 ({asked.mark})</h1>"
    page = html.unescape(files["index.html"].decode())
    assert f"<title>Weight fixing: the paper's tables on ImageNet ({asked.mark})</title>" in page
    for heading in re.findall(r"<h3>(.*?)</h3>", page)[:5]:
        assert asked.mark in heading
    for name in ("table-1", "table-2", "claims", "made-with", "work"):
        assert set(pd.read_csv(io.BytesIO(files[f"{name}.csv"]))["Images a class"]) == {10}
        assert "| Images a class |" in files[f"{name}.md"].decode()
        assert "& Images a class " in files[f"{name}.tex"].decode()


def test_the_start_page_stands_beside_it(networks, tmp_path):
    out = tmp_path / "paper"
    out.mkdir()
    before = start_page(tmp_path)
    for name, content in document(plan("resnet18,resnet50", None, "1"), networks, PUBLISHED, "0").items():
        (out / name).write_bytes(content)
    assert start_page(tmp_path) == before


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_in_a_browser(networks, width, tmp_path):
    files = document(plan("resnet18,resnet50", "10", "1"), networks, PUBLISHED, "0123abcd")
    (tmp_path / "index.html").write_bytes(files["index.html"])
    with browser_page(tmp_path / "browser", viewport={"width": width, "height": 800}) as page:
        problems, requests = [], []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto((tmp_path / "index.html").as_uri())
        assert problems == []
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        for card in page.locator(".cards a").all():
            assert page.locator(card.get_attribute("href")).count() == 1


# In a clone


def test_code_that_changes_puts_results_away(given, tmp_path):
    """And code that does not change leaves them alone."""
    clone, place = tmp_path / "clone", tmp_path / "place"
    for folder in ("wfn", "pipeline", "stages", "profiles", "paper"):
        (clone / folder).mkdir(parents=True)
        (clone / folder / "a.py").write_text("# one")
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, clone)
    subprocess.run(["git", "init", "-q"], cwd=clone, check=True)
    subprocess.run(["dvc", "init", "-q"], cwd=clone, check=True)
    work = experiment(given, plan("resnet18", None, "1"), "resnet18", Path("/data"))
    furnish(place, clone, work)
    assert str(clone.resolve() / ".dvc" / "cache") in (place / ".dvc" / "config").read_text()
    result, data = (place / "runs" / "imagenet" / name / "some.json" for name in ("fix", "data"))
    for path in (result, data):
        path.parent.mkdir(parents=True)
        path.touch()
    before = files_of(place)
    furnish(place, clone, work)
    assert files_of(place) == before
    (clone / "wfn" / "a.py").write_text("# two")
    (clone / "stages" / "a.py").unlink()
    furnish(place, clone, work)
    assert not result.exists()
    assert data.exists()  # all of ImageNet is not decoded again for an edit of something else
    assert (place / "wfn" / "a.py").read_text() == "# two"
    assert not (place / "stages" / "a.py").exists()


def lender(place, stages):
    """A place with a data set and what DVC has recorded there; its card's name."""
    place.mkdir()
    (place / "dvc.lock").write_text(f"stages: {stages}")
    card = place / "runs" / "imagenet" / "data" / "card.json"
    card.parent.mkdir(parents=True)
    card.write_text(place.name)
    return card


def test_a_data_set_is_lent_with_its_record(tmp_path):
    """To a place that has none, or another one than DVC has found up to date; what else is recorded there stays."""
    has, lacks, broken = [tmp_path / name for name in ("has", "lacks", "broken")]
    theirs = lender(has, "{data: {cmd: python, size: 12}, fix: {cmd: of theirs}}")
    os.utime(theirs, (1000, 1000))
    lacks.mkdir()
    (lacks / "dvc.lock").write_text("stages: {fix: {cmd: mine}}")
    lender(broken, "{data: {cm").write_text("")
    places = [broken, has, lacks]
    lend_data(lacks, [], places, changed=1000.0)  # pictures have come or gone since
    lend_data(lacks, [], [lacks, broken], changed=0.0)
    assert not (lacks / "runs").exists()
    lend_data(lacks, [], places, changed=999.0)
    mine = lacks / "runs" / "imagenet" / "data" / "card.json"
    assert (mine.read_text(), mine.stat().st_mtime) == ("has", 1000)  # of the look, also where it is lent again
    assert yaml.safe_load((lacks / "dvc.lock").read_text()) == {
        "schema": "2.0", "stages": {"fix": {"cmd": "mine"}, "data": {"cmd": "python", "size": 12}}
    }  # fmt: skip

    mine.write_text("mine")
    before = files_of(lacks)
    lend_data(lacks, [has], places, changed=0.0)  # is the same one by its record
    lender(tmp_path / "other", "{data: {cmd: of others}}")
    lend_data(lacks, [], [tmp_path / "other"], changed=0.0)
    assert files_of(lacks) == before
    lend_data(lacks, [tmp_path / "other"], places, changed=0.0)
    assert mine.read_text() == "other"


def test_what_is_not_whole_is_not_there(tmp_path):
    """Nothing of it keeps the same command from going on."""
    assert finished(tmp_path, None) is None
    (tmp_path / "settings.json").write_text("{}")
    (tmp_path / "metrics.json").write_text('{"top1": 6')
    assert finished(tmp_path, None) is None
    (tmp_path / "metrics.json").write_text('{"top1": 69.5, "float_bytes": 4000}')
    assert finished(tmp_path, None).metrics["packed_bytes"] == 4000
    assert math.isnan(finished(tmp_path, tmp_path / "not packed yet.wfn").metrics["packed_bytes"])
    assert settings_in(tmp_path) is None
    (tmp_path / "params.yaml").write_text("profile: imagenet\n")
    assert settings_in(tmp_path) is None


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A clone whose networks are small, with compiled code, which takes a minute to compile."""
    folder = tmp_path_factory.mktemp("paper") / "project"
    make_clone(folder)
    for room in ("wfn", "pipeline", "stages"):
        shutil.copytree(ROOT / room, folder / room, dirs_exist_ok=True)
    profile = yaml.safe_load((folder / "profiles" / "imagenet.yaml").read_text())
    profile["data"]["pixels"] = 32
    profile["model"] |= {"pretrained": False, "options": SMALL}
    for section in ("pretrain", "finetune", "quantise"):
        profile[section] |= {"batch_size": 20}
    profile["finetune"]["epochs"] = 2
    (folder / "profiles" / "imagenet.yaml").write_text(yaml.safe_dump(profile, sort_keys=False))
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["hardware"]["workers"] = 0
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return folder


def break_off(project, environment, after, number):
    """Start `make paper` and send its process group a signal once a line has come; returns what was printed."""
    with subprocess.Popen(
        ["bash", "-c", ". .venv/bin/activate; exec python -m stages.paper 2>&1"],
        cwd=project, env=clean_environment() | environment, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c,
    ) as process:  # fmt: skip
        said = ""
        for line in process.stdout:
            said += line
            if re.search(after, line):
                os.killpg(process.pid, number)
                break
        else:
            raise AssertionError(said)
        return said + process.stdout.read(), process.wait()


def tables(project):
    out = project / "reports" / "paper-mini-3"
    return [pd.read_csv(out / f"table-{number}.csv") for number in (1, 2)]


def test_from_the_folder_to_the_page(project, imagenet):
    """With Ctrl-C while a network is quantised, and a kill once the next one has begun."""
    environment = {"IMAGENET": str(imagenet), "NETWORKS": "resnet18,resnet50", "MINI": "3"}
    untouched = {name: (project / name).read_bytes() for name in ("params.yaml", "dvc.lock", "reports/index.html")}

    refused = run_in(project, "python -m stages.paper", environment | {"NETWORKS": "resnet19"})
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: NETWORKS = 'resnet19': timm has no such model; allowed: resnet18")
    assert refused.stderr.count("\n") == 1
    assert not (project / ".paper").exists()

    said, code = break_off(project, environment, r"apot, 4 bits: epoch 1/2", signal.SIGINT)
    assert code == 130, said
    assert "in all 10 results, at most 34 epochs of 60 training images" in said
    assert len(re.findall(r"\nresnet\d\d.tv_in1k: an image takes .* a second, at least .* of training", said)) == 2
    assert "resnet18 is not measured yet" in said
    assert said.endswith("stopped by SIGINT: the same command goes on from what is finished\n")
    one, two = tables(project)
    assert one.loc[one["method"] == "Baseline", "runs"].tolist() == ["1", "not measured yet"]
    assert float(row_of(one, model="resnet18", setting="delta 0.01")["top1"]) >= 0
    assert row_of(two, model="resnet18", setting="delta 0.01")["megabytes"] == "not measured yet"
    assert row_of(two, model="resnet18", method="APoT")["top1"] == "not measured yet"

    said, code = break_off(project, environment, r"Running stage 'pretrain'", signal.SIGKILL)
    assert code == -signal.SIGKILL
    said, _, next_one = said.partition("paper: resnet50, 2 of 2")
    assert "repro: 9 stages are out of date" in next_one  # the first network's data set is its own
    assert "Running stage 'data'" not in next_one
    assert re.search(r"resnet18 has [34] of 5 results", said), said
    assert re.search(r"apot, 4 bits: goes on after epoch", said), said
    assert not {"pretrain", "fix"} & set(re.findall(r"Running stage '(.*)'", said))
    one, two = tables(project)
    assert "not measured yet" not in set(two.loc[two["model"] == "resnet18", "megabytes"])
    assert set(two.loc[two["model"] == "resnet50", "megabytes"]) == {"not measured yet"}

    left = {"NETWORKS": "resnet18", "MINI": "3"}
    done = run_in(project, PAPER.replace("/data/imagenet", str(imagenet)), left)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"Running stage '(.*)'", done.stdout) == ["track"]
    assert re.search(r"at most about \d+ minutes? as on ", done.stdout)
    last = done.stdout.splitlines()[-1]
    assert last == "paper: open reports/paper-mini-3/index.html (3 images a class: not ImageNet's accuracy)"
    out = project / "reports" / "paper-mini-3"
    page = (out / "index.html").read_text()
    assert "resnet18 is measured." in page
    assert "not measured yet" not in page
    assert 'href="resnet18.html"' in page
    assert "resnet18.tv_in1k on imagenet (3 images a class" in (out / "resnet18.html").read_text()
    one, two = tables(project)
    assert len(two) == 5
    assert set(two["Images a class"]) == {3}
    theirs = one[one["method"] == "WFN"]
    difference = theirs["top1"].astype(float) - theirs["published_top1"]
    assert theirs["top1_difference"].astype(float).tolist() == pytest.approx(difference.tolist())
    assert {name: (project / name).read_bytes() for name in untouched} == untouched
    assert not list((project / ".ckpt").iterdir())
