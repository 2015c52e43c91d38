"""Made-up runs that tests log; as a program, a process that logs some: folder for them, top-1 of each."""

import sys
from pathlib import Path

import pandas as pd

from pipeline.base.results import Run
from pipeline.watching.completing import Result, complete
from pipeline.watching.labels import Label

LABEL = Label("experiment", "WFN 0.01/0.4 s0", "fix")


def finished_run(folder: Path, top1: float = 98.5) -> Run:
    """A run whose folder has a table and weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "centres.csv").write_text("value\n0\n")
    (folder / "model.safetensors").write_bytes(b"not for MLflow")
    iterations = pd.DataFrame({"round": [0, 1], "entropy": [2.0, 3.5], "loss": [None, 0.25]})
    settings = {"delta": 0.01, "alpha": 0.4, "fixing": {"fractions": [0.5, 1]}}
    metrics = {"top1": top1, "unique": 140, "entropy": 2.5, "parameters": 1000}
    return Run(folder, metrics, settings, iterations, None, seconds=90.5)


if __name__ == "__main__":
    print(complete([Result(LABEL, finished_run(Path(sys.argv[1], top1), float(top1))) for top1 in sys.argv[2:]]))
