"""A method of the comparison is one module and one line; DVC runs that and nothing else."""

import re

import pandas as pd
from clones import edited

DUMMY = '''
"""Every weight to a multiple of a half."""
import torch
from pipeline.comparing.fake_quantisation import weight_layers
from pipeline.comparing.task import Outcome

BITS = None


def quantise(task):
    layers = weight_layers(task.model)
    with torch.no_grad():
        for layer in layers:
            layer.weight.copy_((layer.weight * 2).round() / 2)
    return Outcome([[layer.weight_name] for layer in layers])
'''


def test_a_new_method_is_one_module_and_one_line(clone, shell):
    """Nothing else is run again for it, and the report has it."""
    (clone / "pipeline" / "methods" / "halves.py").write_text(DUMMY)
    edited(clone / "params.yaml", "  quantisers:\n", "  quantisers:\n    halves: {method: halves, repeat: 0}\n")
    done = shell("dvc repro")
    assert re.findall(r"Running stage '(.*)'", done.stdout) == ["quantise@halves", "pack", "report", "track"]
    table = pd.read_csv(clone / "reports" / "mnist5k" / "quantisers.csv").set_index("method")
    codebooks = pd.read_csv(clone / "runs" / "mnist5k" / "quantise" / "halves" / "codebooks.csv")
    assert table.loc["halves", "runs"] == 1
    assert ((codebooks["value"] * 2) % 1 == 0).all()
