"""The benchmarks run and say what they should; how fast anything is, is not tested."""

import json
import subprocess
import sys

from clones import ROOT, clean_environment


def test_engine_benchmark(tmp_path):
    out = tmp_path / "engine.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.engine", "--quick", "--out", str(out)],
        cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = {row["what"]: row for row in json.loads(out.read_text())["rows"]}
    assert all(row["seconds"] > 0 and row["ratio"] > 0 for row in rows.values())
    assert "same result" in rows["cluster: full matrices, 3,000"]["note"]
    kinds = {what.partition(":")[0] for what in rows}
    assert kinds == {"cluster", "loss_and_grad", "training step"}
    assert "training step: 30% fixed" in done.stdout
