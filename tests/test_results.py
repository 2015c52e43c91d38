import subprocess
import sys

import pandas as pd
import pytest
from clones import ROOT

from pipeline.base.errors import InputError
from pipeline.base.results import read_run, to_csv, to_json, writable, write_files


def test_written_and_read(tmp_path):
    iterations = pd.DataFrame({"round": [0, 1], "entropy": [0.1, 1 / 3]})
    write_files(
        tmp_path / "run",
        {
            "metrics.json": to_json({"top1": 98.7}),
            "settings.json": to_json({"delta": 0.01}),
            "iterations.csv": to_csv(iterations),
        },
    )
    run = read_run(tmp_path / "run")
    assert run.metrics == {"top1": 98.7}
    assert run.settings == {"delta": 0.01}
    pd.testing.assert_frame_equal(run.iterations, iterations)
    assert run.centres is None


def test_a_missing_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere/metrics.json"):
        read_run(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["metrics.json", "settings.json", "timing.json", "iterations.csv", "layers.csv"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"a,b\n1\n1,2,3\n", b"[1]"])
def test_a_damaged_file_of_a_run_is_named(tmp_path, name, content):
    whole = {"metrics.json": b"{}", "settings.json": b"{}"}
    write_files(tmp_path, whole | {name: content})
    if name.endswith(".csv") and content in (b"{", b"[1]"):  # a table of one column
        assert len(read_run(tmp_path).metrics) == 0
        return
    with pytest.raises(InputError, match=rf"{name}: damaged \(.+\); `dvc checkout --force` or `dvc repro`") as error:
        read_run(tmp_path)
    assert "\n" not in str(error.value)


def test_a_place_that_cannot_be_written_to_is_named_before_the_work(tmp_path):
    assert writable(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"file is a file; allowed: a folder"):
            writable(place)


def test_nan_is_no_json():
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"loss": float("nan")})


def test_a_write_that_fails_loses_and_leaves_nothing(tmp_path):
    """A real failure of the operating system: no file may grow beyond 1,000 bytes."""
    write_files(tmp_path, {"a.json": b"old", "b.json": b"old"})
    program = (
        "import resource, signal; from pathlib import Path; from pipeline.base.results import write_files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"write_files(Path({str(tmp_path)!r}), {{'a.json': b'new', 'b.json': b'x' * 2000}})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "OSError" in done.stderr
    assert f"{tmp_path}/b.json" in done.stderr
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.json": "old", "b.json": "old"}
