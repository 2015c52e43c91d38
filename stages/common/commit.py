"""Which code is running."""

from pathlib import Path

from pipeline.base.git import git, head


def commit() -> str:
    """The commit that is checked out, and whether the code has been changed since."""
    here = Path()
    found = head(here)
    changes = found and git(here, "status", "--porcelain", "--", "wfn", "pipeline", "stages", "profiles", "*.yaml")
    return f"{found or 'unknown'}{' with local changes' if changes else ''}"
