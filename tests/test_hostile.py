"""Hostile input, a few files of each kind: python -m benchmarks.faults tries many more."""

import json
import pickle
import subprocess

import pytest
import torch
from clones import ROOT

from benchmarks.faults import audit, hostile, markup
from benchmarks.faults.finding import Bench
from benchmarks.faults.hostile_files import KINDS, MARKER, Case, Kind
from pipeline.data.sources.pickled import unpickle
from wfn.files.tensors.errors import TensorError
from wfn.files.tensors.read import read_tensors

# Thousands of cases of which the bench tries all; here one in so many.
EVERY = {"packed files": 12}


@pytest.mark.long
def test_files_are_read_or_refused_in_one_line(tmp_path, monkeypatch):
    def few(self, choices, tries):
        name = next(name for name, kind in KINDS.items() if kind is self)
        for number, case in enumerate(cases(self, choices, tries)):
            if case.whole or number % EVERY.get(name, 1) == 0:
                yield case

    cases = Kind.cases
    monkeypatch.setattr(Kind, "cases", few)
    monkeypatch.setattr(hostile, "SECONDS", 12 * hostile.SECONDS)  # the bench has the machine to itself, a test has not
    findings = list(hostile.run(Bench(tmp_path, seed=0, tries=4)))
    assert [fault for finding in findings for fault in finding.faults] == []
    assert len(findings) == len(KINDS)
    assert all(finding.tried > 4 for finding in findings)


def test_the_bench_sees_what_it_looks_for(tmp_path, monkeypatch):
    """A reader that runs, ends in a traceback, says more than a line, waits and takes memory is found out."""
    (tmp_path / "harmful.py").write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "from benchmarks.faults import hostile_reader\n"
        "from pipeline.base.errors import InputError\n"
        "def read(folder):\n"
        "    what = (folder / 'file').read_text()\n"
        f"    if what == 'run': Path({MARKER!r}).touch()\n"
        "    if what == 'traceback': raise KeyError('x')\n"
        "    if what == 'lines': raise InputError('a\\nb')\n"
        "    if what == 'wait': time.sleep(60)\n"
        "    if what == 'memory': kept = b'x' * (1 << 28); time.sleep(60)\n"
        "    if what == 'end': os._exit(3)\n"
        "hostile_reader.readers = lambda _: {'any': read}\n"
        "hostile_reader.main()\n"
    )
    monkeypatch.setattr(hostile, "SECONDS", 1.0)
    monkeypatch.setattr(hostile, "MEMORY", 1 << 27)
    monkeypatch.setattr(hostile, "READER", [str(tmp_path / "harmful.py")])
    whats = ["whole", "run", "traceback", "lines", "wait", "memory", "end"]

    class Harmful:
        reader = "any"

        def cases(self, choices, tries):
            return [Case(what, {"file": what.encode()}, whole=what == "whole") for what in whats]

    monkeypatch.setattr(hostile, "KINDS", {"harmful": Harmful()})
    (finding,) = hostile.run(Bench(tmp_path, seed=0, tries=0))
    assert [fault.partition(":")[0] for fault in finding.faults] == whats[1:]
    said = " ".join(finding.faults)
    for each in ("was executed", "KeyError", "is no line", "more than 1 s", "more than 128 MiB", "with code 3"):
        assert each in said


def test_names_on_the_page_are_text(tmp_path):
    (finding,) = markup.run(Bench(tmp_path, seed=0, tries=0))
    assert finding.faults == []


def test_every_file_of_the_lock_has_a_checksum():
    packages = audit.locked(ROOT / "uv.lock")
    assert len(packages) > 100
    assert audit.unchecked(packages) == []


def test_a_lock_without_checksums_is_found_out():
    source, wheel = {"registry": "https://registry.invalid/simple"}, {"url": "a.whl", "hash": f"sha256:{'0' * 64}"}
    packages = [
        {"name": "good", "source": source, "wheels": [wheel]},
        {"name": "bare", "source": source, "wheels": [{"url": "b.whl"}]},
        {"name": "weak", "source": source, "sdist": {"url": "c.gz", "hash": "md5:0"}},
        {"name": "none", "source": source},
        {"name": "git", "source": {"git": "https://host.invalid/x"}, "wheels": [wheel]},
    ]
    assert [fault.partition(":")[0] for fault in audit.unchecked(packages)] == ["bare", "weak", "none", "git"]


def test_an_audit_that_cannot_ask_says_so(tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise subprocess.TimeoutExpired("uvx", 1)

    monkeypatch.setattr(audit.shutil, "which", lambda _: "uv")
    monkeypatch.setattr(audit.subprocess, "run", unreachable)
    finding = audit.advisories(tmp_path)
    assert finding.tried == 0
    assert "cannot be reached (TimeoutExpired)" in finding.note


def test_what_an_audit_could_not_ask_about_was_not_tried(tmp_path, monkeypatch):
    found = [
        {"name": "a", "version": "1", "vulns": [{"id": "CVE-1"}]},
        {"name": "b", "version": "1", "vulns": []},
        {"name": "c", "skip_reason": "not found"},
    ]
    answer = subprocess.CompletedProcess([], 0, json.dumps({"dependencies": found}))
    monkeypatch.setattr(audit.shutil, "which", lambda _: "uv")
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: answer)
    finding = audit.advisories(tmp_path)
    assert (finding.tried, finding.survived, finding.faults) == (2, 1, ["a 1: CVE-1"])
    assert finding.note == "1 more could not be asked about"


def test_arrays_of_a_pickle_are_no_larger_than_its_bytes(tmp_path):
    path = tmp_path / "batch"
    path.write_bytes(b"\x80\x02}X\x01\x00\x00\x00acnumpy\nndarray\nJ\x00\x00\x00\x7f\x85\x85Rs.")
    with pytest.raises(pickle.UnpicklingError):
        unpickle(path)


def test_a_torch_file_of_one_value_many_times_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(1).expand(1 << 40)}, tmp_path / "weights")
    with pytest.raises(TensorError, match="unfolds to 4,398,046,511,104 bytes"):
        read_tensors(tmp_path / "weights")
    torch.save({"weight": torch.zeros(1).expand(1 << 20)}, tmp_path / "weights")
    assert read_tensors(tmp_path / "weights").tensors["weight"].shape == (1 << 20,)
