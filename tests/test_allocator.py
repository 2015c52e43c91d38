"""Freed memory that a process keeps, counted in the pages that the system gives it anew."""

import os
import platform
import subprocess
import sys

import pytest

# Fifty times a buffer of 16 MB, each in pages of 4 KB where the system gives them.
PROGRAM = """
import resource
import torch
from pipeline.training.allocator import keep_freed_memory

keep_freed_memory()
torch.ones(4_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    torch.ones(4_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 50 * 16_000_000 // 4096

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc's malloc")


def _pages(**environment: str) -> int:
    """New pages for those buffers, in a process of their own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    clean.pop("GLIBC_TUNABLES", None)
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=clean | environment, check=True, capture_output=True, text=True
    )
    return int(found.stdout)


@pytest.mark.slow
def test_a_freed_buffer_is_used_again_without_new_pages() -> None:
    assert _pages() < PAGES / 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "own", [{"MALLOC_MMAP_THRESHOLD_": "100000"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=100000"}]
)
def test_a_setting_in_the_environment_comes_first(own: dict[str, str]) -> None:
    assert _pages(**own) > PAGES / 2
