"""The facts of a machine that stand beside a result."""

import platform

import pytest
import torch
from torch.backends.cpu import get_cpu_capability

from pipeline.training import machine as module


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("processor\t: 0\nmodel name\t: A Kind @ 2 GHz \nflags\t: avx2\nmodel name\t: another\n", "A Kind @ 2 GHz"),
        ("processor\t: 0\nCPU implementer\t: 0x41\n", platform.machine()),
        (None, platform.machine()),
    ],
    ids=["x86", "arm64", "not Linux"],
)
def test_a_processor_is_named(tmp_path, monkeypatch, told, name):
    monkeypatch.setattr(module, "PROCESSORS", tmp_path / "cpuinfo")
    if told is not None:
        (tmp_path / "cpuinfo").write_text(told)
    assert module.machine(torch.device("cpu")) == {
        "host": platform.node(),
        "device": f"{name}, {get_cpu_capability()} (cpu)",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
