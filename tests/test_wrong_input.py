"""Wrong options, settings and files end in one line and leave what was there before as it was; so does a full disk."""

import importlib
import re
import shlex
import sys

import pytest
import torch
from clones import edited, files_of
from safetensors.torch import load_file, save_file

from stages.common.cli import run

FIX, PRETRAIN = "fix", "pretrain"
QUANTISE = "quantise --stage quantise@apot-3 --out runs/mnist5k/x"


@pytest.fixture
def refused(clone, monkeypatch, capsys):
    """Run a stage in the clone, in this process: one line, exit code 2, and what was there before is as it was."""

    def refuse(command, message):
        stage, *options = shlex.split(command)
        monkeypatch.chdir(clone)
        monkeypatch.setenv("DVC_ROOT", str(clone))  # what relative paths of settings are relative to
        monkeypatch.setattr(sys, "argv", [stage, *options])
        before = files_of(clone / "runs")
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(getattr(importlib.import_module(f"stages.{stage}"), stage))
        said = capsys.readouterr().err
        assert ended.value.code == 2
        assert re.fullmatch(rf"error: .*{message}.*\n", said), said
        assert files_of(clone / "runs") == before

    return refuse


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--set delta=1.5", "delta changed: delta = 1.5: input should be less than 1"),
        ("--set delta", "--set delta: key=value is needed"),
        ("--set 'delta=['", "--set delta=\\[: not valid YAML: expected the node content"),
        ("--set fixing.colour=1", "fixing.colour is not a setting; allowed here: fractions"),
        ("--runs nowhere", "nowhere/data/card.json: No such file or directory"),
        ("--stage repeats@7", "repeats has no '7'; allowed: 1"),
        ("--stage sweep@0.5-0.4-1", "sweep has no '0.5-0.4-1'; allowed: 0.01-0.4-1"),
        ("--stage variants@nope", "variants has no 'nope'; allowed: no-pull, one-shot"),
    ],
)
def test_bad_options(refused, options, message):
    refused(f"{FIX} {options}", message)


@pytest.mark.parametrize(
    ("file", "old", "new", "command", "message"),
    [
        ("params.yaml", "profile: mnist5k", "profile: mnist6k", FIX, "profile = 'mnist6k' is unknown; allowed: c"),
        ("profiles/mnist5k.yaml", "test_resnet", "test_resnot", PRETRAIN, "model.name = 'test_resnot': timm has no"),
        ("profiles/mnist5k.yaml", "checkpoint: null", "checkpoint: bad.safetensors", PRETRAIN, "bad.* .nan.: only"),
        (
            "profiles/mnist5k.yaml",
            "checkpoint: null",
            "checkpoint: small.safetensors",
            PRETRAIN,
            "small.*: other shapes than those of",
        ),
        ("profiles/mnist5k.yaml", "num_classes: 10", "num_classes: 3", PRETRAIN, "num_classes = 3: .* at least 10"),
        (
            "params.yaml",
            "apot-3: {method: apot, bits: 3,",
            "apot-3: {method: apot, bits: 6,",
            QUANTISE,
            "6: allowed for",
        ),
        (
            "profiles/mnist5k.yaml",
            "name: mnist5k",
            "name: own",
            "data --out x",
            "data.root = null: a f",
        ),
    ],
)
def test_bad_settings(clone, refused, file, old, new, command, message):
    weights = load_file(clone / "runs/mnist5k/baselines/repeat-0/model.safetensors")
    first = next(name for name, value in weights.items() if value.is_floating_point())
    save_file(weights | {first: torch.full_like(weights[first], float("nan"))}, clone / "bad.safetensors")
    save_file(weights | {first: torch.zeros(1)}, clone / "small.safetensors")
    text = edited(clone / file, old, new)
    try:
        refused(command, message)
    finally:
        (clone / file).write_text(text)


def test_make_repro_checks_the_settings_first(clone, shell):
    """DVC would say of an unknown profile only that it lacks parameters."""
    text = edited(clone / "params.yaml", "profile: mnist5k", "profile: mnist6k")
    try:
        done = shell("make repro", check=False)
    finally:
        (clone / "params.yaml").write_text(text)
    assert done.returncode == 2
    assert "error: params.yaml: profile = 'mnist6k' is unknown; allowed: c" in done.stderr
    assert "Traceback" not in done.stderr


def test_results_of_settings_that_were_changed_meanwhile_are_refused(clone, shell):
    """DVC reads params.yaml after a stage, so that what it has made with others counts as made with these."""
    text = edited(clone / "params.yaml", "\nalpha: 0.4\n", "\nalpha: 0.25\n")
    try:
        refused = {stage: shell(f"python -m stages.{stage} --out other", check=False) for stage in ("report", "pack")}
        home = shell("python -m stages.home --out other", check=False)
    finally:
        (clone / "params.yaml").write_text(text)
    for done in (*refused.values(), home):
        assert done.returncode == 2
        (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert error.endswith(
            "runs/mnist5k/fix: made with alpha = 0.4, and the settings have 0.25: they were changed while it was made; "
            "`dvc repro --force --single-item fix` makes it anew"
        )
    assert not (clone / "other").exists() or not list((clone / "other").iterdir())


def test_a_disk_that_is_full(clone, shell):
    """No file may grow beyond 200 KiB. (MLflow, which cannot write either, warns in another line.)"""
    before = files_of(clone / "runs")
    done = shell(f"trap '' XFSZ; ulimit -f 200; python -m stages.{PRETRAIN} 2> >(grep ^error >&2)", check=False)
    assert done.returncode == 2
    assert re.fullmatch("error: .*model.safetensors: File too.*\n", done.stderr), done.stderr
    assert files_of(clone / "runs") == before
