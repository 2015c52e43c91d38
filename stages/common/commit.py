"""Which code is running."""

import subprocess


def commit() -> str:
    """The commit that is checked out, and whether the code has been changed since."""
    head, changes = (
        subprocess.run(["git", *command], capture_output=True, text=True, check=False).stdout.strip()
        for command in (
            ["rev-parse", "HEAD"],
            ["status", "--porcelain", "--", "wfn", "pipeline", "stages", "profiles", "*.yaml"],
        )
    )
    return f"{head or 'unknown'}{' with local changes' if changes else ''}"
