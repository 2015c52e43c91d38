"""Runs for reports, with figures that can be checked by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
from clones import ROOT
from safetensors.numpy import save_file

from pipeline.base.results import Run
from pipeline.base.settings import load_settings
from pipeline.report.results import Results

PUBLISHED = ROOT / "paper" / "published.yaml"


def run(top1, settings=None, *, unique=100, entropy=4.0, parameters=1_000_000, fixed=990_000):
    metrics = {
        **{"top1": top1, "top5": 99.9, "parameters": parameters, "unique": unique, "unique_no_bn": unique - 5},
        **{"unique_no_bn_first_last": unique - 7, "entropy": entropy, "entropy_nonzero": entropy + 0.1},
        **{"zero_share": 0.25, "unique_as_published": unique - 9, "entropy_as_published": entropy - 0.1},
        "entropy_acting": entropy + 0.5,
        **{"packed_bytes": int(entropy * parameters / 8), "quantised_parameters": fixed, "index_entropy": entropy},
        **{"float_bytes": 4 * parameters, "lzw_bytes": int(entropy * parameters / 7)},
    }
    iterations = pd.DataFrame(
        {
            **{"round": [0, 1], "fraction": [0.5, 1.0], "fixed": [0.5, 1.0], "delta_t": [0.02, 0.01]},
            **{"centres": [4, 100], "order_0": [0.3, 0.25], "order_1": [0.7, 0.45], "order_2": [0.0, 0.3]},
        }
    )
    centres = pd.DataFrame(
        {
            **{"value": [0.0, 0.5, -0.5, 0.75], "terms": ["0", "2^-1", "-2^-1", "2^0 - 2^-2"]},
            **{"term_count": [0, 1, 1, 2], "count": [500_000, 200_000, 100_000, 190_000]},
            "share": [0.505, 0.202, 0.101, 0.192],
        }
    )
    return Run(Path("run"), metrics, settings or {}, iterations, centres, seconds=60.0)


def fixing(delta, alpha=0.4, seed=0, rounds=4):
    """Settings of a fixed network that trains for three epochs in each of its rounds but the first."""
    fractions = [(t + 1) / rounds for t in range(rounds)]
    chosen = {"delta": delta, "alpha": alpha, "seed": seed, "model": {"name": "resnet18"}}
    return chosen | {
        "fixing": {"fractions": fractions, "fix_batch_norm": True, "distance": "relative"},
        "finetune": {"epochs": 3},
    }


FIXED = [
    run(97.5, fixing(0.01), unique=140, entropy=3.5),
    run(97.9, fixing(0.01, seed=1), unique=150, entropy=3.7),
    run(97.0, fixing(0.015), unique=90, entropy=3.2),
    run(97.5, fixing(0.01), unique=140, entropy=3.5),
    run(98.25, fixing(0.0075), unique=200, entropy=4.0),
]
ONE_SHOT = run(96.5, fixing(0.01, alpha=0.0, rounds=1), unique=130, entropy=3.4)
QUANTISED = [
    run(98.0, {"method": "apot", "bits": 4, "seed": 0}, unique=9000, entropy=6.0),
    run(97.0, {"method": "apot", "bits": 4, "seed": 1}, unique=9000, entropy=6.0),
    run(97.8, {"method": "apot", "bits": 3, "seed": 0}, unique=8000, entropy=5.0),
    run(96.0, {"method": "halves", "seed": 0}, unique=3, entropy=1.0),
]
LAYOUT = pd.DataFrame(
    {
        **{"parameter": ["conv.weight", "bn.weight", "fc.weight"], "weights": [4, 2, 2], "uses": [9, 9, 1]},
        "idle": [2, 0, 0],
        **{role: [False, role == "batch_norm", False] for role in ("batch_norm", "downsample", "first", "last")},
    }
)
BEFORE = {"conv.weight": [0.4, -0.6, 0.01, 0.5], "bn.weight": [0.8, 0.7], "fc.weight": [-0.5, 0.0]}
AFTER = {"conv.weight": [0.5, -0.5, 0.0, 0.5], "bn.weight": [0.75, 0.75], "fc.weight": [-0.5, 0.0]}
BASELINES = [
    dataclasses.replace(run(98.0, {"seed": seed}, unique=900_000, entropy=19.0), layers=LAYOUT) for seed in (0, 1)
]


# How `explore` fixes.
SMALL = load_settings(ROOT / "params.yaml", ROOT / "profiles").for_explore().fixing.model_dump(mode="json")


def small_run(delta, alpha, seed=0, *, fix_batch_norm=True, distance="relative", **further):
    """A run of `explore`; the second seed has 0.2 points more, batch-norm in float as many values again."""
    chosen = SMALL | {"fix_batch_norm": fix_batch_norm, "distance": distance} | further
    top1 = 90 + 100 * delta + alpha + 0.2 * seed - (distance == "euclidean")
    return run(
        top1,
        {"delta": delta, "alpha": alpha, "seed": seed, "fixing": chosen},
        unique=100 if fix_batch_norm else 200,
        entropy=4.0 - alpha if distance == "relative" else 5.0,
    )


RATES = pd.DataFrame(
    {
        **{"method": ["wfn", "wfn", "apot"], "bits": [None, None, 3.0], "rate": [0.001, 0.01, 0.01]},
        **{"top1": [97.0, None, 98.0], "entropy": [3.0, None, 5.0], "unique": [100, None, 8000]},
        "chosen": [True, False, True],
    }
)
CARD = {
    "name": "mnist5k",
    "classes": 10,
    "train": {"images": 4000},
    "test": {"images": 1000},
    "stored_as": {"train": {"JPEG": 4000}, "test": {"JPEG": 999, "PNG": 1}},
}


def made_results(make_folder):
    """Runs with weights: the folder of every fixed network holds AFTER, the baseline's BEFORE."""
    folders = []
    for parameters in (BEFORE, AFTER):
        folder = make_folder("run")
        save_file(
            {name: np.array(values, np.float32) for name, values in parameters.items()}, folder / "model.safetensors"
        )
        folders.append(folder)
    baselines = [dataclasses.replace(each, folder=folders[0]) for each in BASELINES]
    fixed = [dataclasses.replace(each, folder=folders[1]) for each in FIXED]
    explored = [small_run(delta, alpha, seed) for delta in (0.01, 0.02) for alpha in (0.0, 0.4) for seed in (0, 1)]
    explored += [small_run(delta, 0.4, fix_batch_norm=False) for delta in (0.01, 0.02)]
    explored += [small_run(delta, 0.4, distance="euclidean") for delta in (0.01, 0.02)]
    small = [run(92.0, {"model": {"name": "test_resnet"}, "seed": seed}) for seed in (0, 1)]
    one_shot = dataclasses.replace(ONE_SHOT, folder=folders[1])
    made = {
        "pretrain": dataclasses.replace(
            baselines[0], settings={"model": {"name": "resnet18"}, "seed": 0}, images_per_second=500.0
        ),
        "fix": dataclasses.replace(fixed[0], images_per_second=400.0, machine={"host": "far", "threads": 2}),
        "variants@one-shot": one_shot,
    }
    file, commit = Path("packed/mnist5k/fix.wfn"), "0123abcd"
    compared = {"variants": [one_shot], "quantised": QUANTISED, "explore_baselines": small, "explored": explored}
    return Results(baselines, fixed, made, CARD, file, commit, **compared, rates=RATES, published=PUBLISHED)
