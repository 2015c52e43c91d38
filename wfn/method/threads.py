"""How many threads the compiled loops use."""

import torch
from numba import config, set_num_threads

from wfn.compiling import may_start_threads

# Weights per task of a parallel loop, and per partial sum; a vector of no more starts no threads.
CHUNK = 1 << 16


def follow_torch() -> None:
    """Use as many threads as torch does in this process, and leave torch's number as it is.

    Whoever limits it - OMP_NUM_THREADS, a launcher that shares the cores among its processes - means all threads: those
    that outnumber the cores wait for each other, and training was seen to take six times as long. Numba, when it starts
    its threads, raises OpenMP's limit for the whole process, torch included.
    """
    if not may_start_threads():
        return
    wanted = torch.get_num_threads()
    set_num_threads(min(wanted, config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    if torch.get_num_threads() != wanted:
        torch.set_num_threads(wanted)
