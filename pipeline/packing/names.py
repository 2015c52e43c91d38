"""Where packed files lie, and the list of them: by the folder of the run, file, bytes, and what network it loads as."""

from pathlib import Path

LIST = "packed.json"


def packed_name(folder: Path) -> Path:
    """The packed file of a run, from the run's folder, both without the folder of the profile."""
    return folder.with_name(f"{folder.name}.wfn")
