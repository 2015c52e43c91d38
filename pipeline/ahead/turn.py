"""One `dvc repro` at a time in a clone: who comes second waits, and says for whom."""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Callable
from itertools import dropwhile
from pathlib import Path

import psutil
import yaml

from pipeline.base.errors import InputError

LOCK = Path(".dvc", "tmp", "repro.lock")
RWLOCK = Path(".dvc", "tmp", "rwlock")  # JSON: which process of DVC reads or writes which files
LOOKS_EVERY = 0.5  # seconds
# Experiments that DVC queues, or runs in folders of their own, leave the clone's files alone.
ELSEWHERE = {"--queue", "--run-all", "--temp"}


def take_turn(clone: Path, say: Callable[[str], None]) -> None:
    """Wait until nothing else makes results in this clone, after one line that names it; then hold the clone's lock.

    The lock is the system's: it stays with this process, also when that becomes another program (`os.exec`), and goes
    with it, however it ends. A `dvc repro` or `dvc exp run` by hand has no such lock, and is looked for.
    """
    path = clone / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    said = False
    while other := _other(lock, clone.resolve()):
        if not said:
            say(f"{other} is at work in this clone; waiting until it has ended")
        said = True
        time.sleep(LOOKS_EVERY)
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    os.set_inheritable(lock, True)
    drop_broken_rwlock(clone)
    _drop_rwlock_of_the_dead(clone)


def drop_broken_rwlock(clone: Path) -> bool:
    """Whether DVC's list of who uses what was cut short, by the end of a `dvc` that was writing it; it is gone then.

    Every later `dvc repro` would end at it. Only for a clone in which no DVC is at work.
    """
    path = clone / RWLOCK
    try:
        json.loads(path.read_text())
    except FileNotFoundError:
        return False
    except ValueError:
        path.unlink()
        return True
    return False


def check_lock(clone: Path) -> None:
    """Raise InputError where DVC's list of what was made is not whole, as a `dvc` that is killed at it leaves it.

    DVC writes it in its place. What it has made, it still knows.
    """
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    path = clone / "dvc.lock"
    try:
        if path.exists():
            COMPILED_LOCKFILE_SCHEMA(yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except (yaml.YAMLError, Invalid):
        raise InputError(
            f"{path}: damaged, as by a dvc that was killed while it wrote it; `git restore dvc.lock`, and the same "
            "command again: what was made since then comes from DVC's cache"
        ) from None


def _drop_rwlock_of_the_dead(clone: Path) -> None:
    """Clear the list away where every process in it has ended, or is another program by now.

    DVC itself takes one that was killed, and whose end nobody has asked for, as in a container without an init, for one
    at work, and ends.
    """
    path = clone / RWLOCK
    if path.exists() and not any(_is_dvc(int(number)) for number in re.findall(r'"pid": (\d+)', path.read_text())):
        path.unlink(missing_ok=True)


def _is_dvc(number: int) -> bool:
    try:
        return bool(_dvc_command(psutil.Process(number)))
    except psutil.Error:  # has ended, perhaps a moment ago
        return False


def _other(lock: int, clone: Path) -> str:
    """Who makes results in the clone, for people; empty once the lock is ours and nobody does."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        number = os.pread(lock, 20, 0).decode()
        return _named(int(number)) if number.isdecimal() else "another process"
    return next((_named(each.pid) for each in psutil.process_iter() if _makes_results(each, clone)), "")


def _makes_results(process: psutil.Process, clone: Path) -> bool:
    """Whether a process is DVC making the results of this clone, in its own folders."""
    try:
        command = [*dropwhile(lambda word: word.startswith("-"), _dvc_command(process))]  # such as --wait-for-lock
        if command[:1] != ["repro"] and (command[:2] != ["exp", "run"] or ELSEWHERE & {*command}):
            return False
        folder = Path(process.cwd())
    except psutil.Error:  # another user's, or just ended
        return False
    return clone in (folder, *folder.parents) and clone / LOCK.parent not in folder.parents


def _dvc_command(process: psutil.Process) -> list[str]:
    """What DVC is asked for by a process; empty for any that is not DVC."""
    words = process.cmdline()
    return next((words[place + 1 :] for place, word in enumerate(words[:3]) if Path(word).name == "dvc"), [])


def _named(number: int) -> str:
    """A process, what it has been started as, and the stage that it is at."""
    try:
        process = psutil.Process(number)
        command = " ".join(["dvc", *_dvc_command(process)]) if _dvc_command(process) else "make"
        working = process.children(recursive=True)
        stages = sorted({stage for child in working if (stage := child.environ().get("DVC_STAGE"))})
    except psutil.Error:  # another user's, or just ended
        return f"process {number}"
    at = f", at stage {', '.join(stages)}" if stages else ""
    return f"process {number} ({command}{at})"
