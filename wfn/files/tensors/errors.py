"""Files that hold no tensors by name."""

from pathlib import Path


class TensorError(ValueError):
    """A file that is not read; `what` says why, in one line, and the message names the file before it."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.what = what
