"""Run by test_scale.py, as a person runs a stage: fixes a small network, in as many processes as it is told to.

Every process writes what it has at the end into a file of its own.
"""

import sys
from pathlib import Path

import torch
from conftest import ROOT, TINY, changed

from pipeline.base.errors import InputError
from pipeline.base.settings import Settings, load_settings
from pipeline.data.memory import prepare
from pipeline.measuring.evaluation import evaluate
from pipeline.network.build import build
from pipeline.training.device import launch, set_up
from pipeline.training.loop import pretrain
from wfn import fixing

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    devices, nodes, accumulate = map(int, sys.argv[2:])
    torch.set_num_threads(1)
    values = load_settings(ROOT / "params.yaml", ROOT / "profiles").model_dump()
    for section, changes in TINY.items():
        values[section] |= changes
    settings = changed(
        Settings.model_validate(values),
        # No batch-norm: its statistics would be those of a share of the images.
        model__name="test_convnext",
        fixing__fractions=(0.5, 0.9, 1.0),
        hardware__accelerator="cpu",
        hardware__devices=devices,
        hardware__nodes=nodes,
        hardware__accumulate=accumulate,
        data__mini=20,
        data__pixels=64,
    )
    try:
        fabric = launch(settings.hardware, settings.seed)
    except InputError as error:
        sys.exit(f"error: {error}")
    dataset = prepare(settings.data, settings.seed)
    model = build(settings.model, settings.seed)
    network = set_up(fabric, model, settings.hardware)
    generator = torch.Generator().manual_seed(0)
    epochs = pretrain(fabric, network, dataset, settings, generator, lambda *_: None)
    passes = []
    cluster = fixing._cluster

    def watched(*arguments):
        passes.append(cluster(*arguments))
        return passes[-1]

    fixing._cluster = watched
    rounds = fixing.fix_network(fabric, network, dataset, settings, generator, lambda *_: None)
    result = {
        "weights": model.state_dict(),
        "passes": [each._asdict() for each in passes],
        "losses": [epochs[0]["loss"], *(row["loss"] for row in rounds[1:])],
        "top1": evaluate(fabric, network, dataset).top1,
    }
    torch.save(result, folder / f"{fabric.global_rank}-of-{fabric.world_size}.pt")
