"""Which commit the code of a clone is of."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# What makes git look at another repository than the one of the folder.
ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR")


def git(clone: Path, *words: str) -> str:
    """What a command of git prints there; empty where it fails, or there is no git."""
    own = {key: value for key, value in os.environ.items() if key not in ELSEWHERE}
    try:
        done = subprocess.run(["git", *words], cwd=clone, env=own, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def head(clone: Path) -> str:
    """The commit that is checked out; empty where the clone is no repository, or lies within that of something else."""
    return "" if git(clone, "rev-parse", "--show-prefix") else git(clone, "rev-parse", "HEAD")
