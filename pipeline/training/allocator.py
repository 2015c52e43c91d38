"""How this process's memory comes and goes while it trains on a CPU."""

import ctypes
import os
import platform

# Of mallopt(3), in glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3

LARGEST = 2**31 - 1  # bytes; mallopt takes an int


def keep_freed_memory() -> None:
    """Have glibc's malloc keep what is freed for the next allocation, in place of giving it back to the system.

    A training step takes and frees the same buffers of megabytes every time. Given back, each comes again as pages that
    the system must map and fill with zeros, which took a tenth to a third of a step (docs/budgets.md). The process then
    stays as large as it ever was. Other C libraries have no such setting, and one of the person's own, in the
    environment, comes before this.
    """
    chosen = any(name.startswith("MALLOC_") for name in os.environ) or "malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if platform.libc_ver()[0] != "glibc" or chosen:
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, LARGEST)
    libc.mallopt(M_TRIM_THRESHOLD, LARGEST)
