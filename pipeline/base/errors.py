"""Errors that end in one line."""

# How torch says so, of a CPU and of a GPU.
NO_MEMORY = ("can't allocate memory", "out of memory", "not enough memory", "cannot allocate memory", "bad_alloc")


class InputError(Exception):
    """Something that the person running can mend; the message is one line that says what."""


class DivergedError(InputError):
    """A training, or a network, whose numbers are not finite any more."""


def asked_to_stop(error: BaseException) -> BaseException | None:
    """What a signal's handler has raised, where an error is that, or what compiled code makes of it; else None."""
    found = error.__cause__ if isinstance(error, SystemError) else error
    return None if isinstance(found, Exception) else found


def lack_of_memory(error: BaseException) -> str:
    """What to do where an error is that torch, or Python, got no memory; empty for any other."""
    said = str(error).lower()
    if any(words in said for words in ("shared memory(shm)", "out of shared memory", "/dev/shm")):
        return (
            "too little shared memory (/dev/shm) for the pictures that are read beside the training; allowed: fewer "
            "hardware.workers, smaller batches, or more of it (docker run --shm-size=2g)"
        )
    if isinstance(error, MemoryError) or any(words in said for words in NO_MEMORY):
        return (
            f"out of memory ({first_line(error)[:120]}); allowed: smaller batches (pretrain.batch_size, "
            "finetune.batch_size, quantise.batch_size), hardware.accumulate above 1, smaller data.pixels"
        )
    return ""


def lost_part(error: BaseException) -> str:
    """What to do where an error is that a process beside this one, or a GPU, has gone; empty for any other."""
    said = first_line(error)
    if "DataLoader worker" in said:
        return (
            f"a process that reads pictures beside the training has ended ({said[:120]}); the same command goes on "
            "from what is finished; allowed, where memory was short: fewer hardware.workers"
        )
    if said.startswith(("CUDA error", "HIP error")):
        return f"{said[:160]}; the same command goes on from what is finished, once the GPU works again"
    return ""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def one_line(error: BaseException) -> str:
    """All that an error says in one line, shortened; its kind where it says nothing."""
    return " ".join(str(error).split())[:240] or type(error).__name__
