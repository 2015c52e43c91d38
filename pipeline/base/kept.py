"""How long what is kept of unfinished work stays: until its results are where nothing takes them away any more."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from pipeline.base.results import repository, there

FOLDER = ".ckpt"
DONE = "done"  # in the folder of a piece of work that has ended well
DROPPED_AFTER = 3600.0  # seconds; DVC has recorded the stage by then


def begin(folder: Path) -> None:
    """Work begins, or goes on: what is kept for it is not done; what is kept of others', and long done, goes."""
    for done in folder.parent.glob(f"*/{DONE}"):
        with suppress(OSError):
            if done.parent == folder:
                done.unlink()
            elif time.time() - done.stat().st_mtime > DROPPED_AFTER:
                shutil.rmtree(done.parent)


def end(folder: Path) -> None:
    """Work has ended well: what is kept of it goes.

    Not yet where DVC has begun it. Where DVC cannot take up what was made, or is killed before it has, it deletes that
    at its next start, and the work goes on from here.
    """
    if "DVC_STAGE" not in os.environ:
        shutil.rmtree(folder, ignore_errors=True)
    elif there(folder):
        with suppress(OSError):
            (folder / DONE).touch()


def drop_done() -> None:
    """What is kept of work that DVC has recorded, as the last of its stages knows."""
    for done in (repository() / FOLDER).glob(f"*/{DONE}"):
        shutil.rmtree(done.parent, ignore_errors=True)
