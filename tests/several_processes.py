"""Run by test_scale.py, as a person runs a stage: fixes a small network, in as many processes as it is told to.

Every process writes what it has at the end into a file of its own.
"""

import sys
from pathlib import Path

import torch
from clones import ROOT, TINY
from conftest import changed, working

from pipeline.base.errors import InputError
from pipeline.base.settings import Settings, load_settings
from pipeline.data.memory import prepare
from pipeline.fixing.rounds import fix_network
from pipeline.measuring.evaluation import evaluate
from pipeline.training.loop import pretrain
from wfn import WeightFixer

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
    passes, original = [], WeightFixer.fix_

    def watched(fixer):
        outcome = original(fixer)
        state = fixer.state_dict()
        indices = torch.cat([each.flatten() for each in state["indices"].values()])
        passes.append({"centres": state["centres"], "codebook": state["codebook"], "indices": indices})
        return outcome

    WeightFixer.fix_ = watched
    try:
        with working(settings, prepare(settings.data, settings.seed)) as work:
            epochs = pretrain(work)
            rounds = fix_network(work).rounds
            result = {
                "weights": work.model.state_dict(),
                "passes": passes,
                "losses": [epochs[0]["loss"], *(row["loss"] for row in rounds[1:])],
                "top1": evaluate(work.fabric, work.network, work.dataset).top1,
            }
    except InputError as error:
        sys.exit(f"error: {error}")
    torch.save(result, folder / f"{work.fabric.global_rank}-of-{work.fabric.world_size}.pt")
