"""The machine that a network was made on: the same settings and seed give other last bits on another one."""

from __future__ import annotations

import platform
import re
import socket
from pathlib import Path

import torch
from torch.backends.cpu import get_cpu_capability

PROCESSORS = Path("/proc/cpuinfo")  # of Linux
BF16 = {"avx512_bf16", "amx_bf16", "bf16"}


def machine(device: torch.device) -> dict[str, str | int]:
    """Facts of the one that this process works on: its name, its processor or GPU, torch, and the processor's threads.

    device: where the work is done.
    """
    return {
        "host": socket.gethostname(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{processor()} ({device.type})",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def processor() -> str:
    """The processor's name, or that of its kind, and the widest instructions of it that torch uses."""
    found = re.search(r"^model name\s*:\s*(.+?)\s*$", _told(), re.MULTILINE)  # not on every arm64
    return f"{found[1] if found else platform.machine()}, {get_cpu_capability()}"


def emulates_bf16() -> bool:
    """Whether the processor has no instructions for bfloat16; False where the system does not say."""
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", _told(), re.MULTILINE)  # of x86, of arm64
    return flags is not None and not BF16 & set(flags[1].split())


def _told() -> str:
    return PROCESSORS.read_text(errors="replace") if PROCESSORS.exists() else ""
