"""Where packed files lie."""

from pathlib import Path


def packed_name(folder: Path) -> Path:
    """The packed file of a run, from the run's folder, both without the folder of the profile."""
    return folder.with_name(f"{folder.name}.wfn")
