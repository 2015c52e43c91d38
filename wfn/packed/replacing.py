"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str], *, package: bool = False) -> Iterator[Path]:
    """Another path to write a file to, which takes the place of `path` at the end.

    package: what is written is a folder that counts as one file, and may take the place of one. After an error `path`
    is what it was, and nothing else is left. Of a link, the file that it leads to is replaced. A file that is replaced
    leaves its permissions to the new one. Raises OSError where its
    folder is not there, where `path` is itself a folder, a device or a pipe, or the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir() and not package:
        raise IsADirectoryError(f"{target}: is a folder; the name of a file is needed")
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise FileExistsError(f"{target}: is no file; the name of a file is needed")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target}: there is no folder {target.parent}")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".writing-") as folder:
        new = Path(folder, "new")
        new.mkdir()
        partial = new / target.name
        yield partial
        mode = _mode_of(target if target.is_file() else _new(Path(folder, "like-any-other")))
        for written in partial.rglob("*") if partial.is_dir() else (partial,):
            if written.is_file():
                with written.open("rb") as file:
                    os.fsync(file.fileno())
                written.chmod(mode)  # some programs write for their owner alone
        if target.is_dir():  # which no other takes the place of
            target.rename(Path(folder) / "replaced")
        partial.rename(target)


def _new(file: Path) -> Path:
    """A file whose permissions are those of any other; asking the process for its umask would change that."""
    file.touch()
    return file


def _mode_of(file: Path) -> int:
    return file.stat().st_mode & 0o777
