"""The folder that data.root names: where it is, what lies in it, and messages about it."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.base.errors import InputError
from pipeline.base.naming import shown
from pipeline.base.results import in_clone
from wfn.picture import is_left_behind

FORMS = (
    "class folders of images, train and val folders of those, parquet files, WebDataset shards (.tar), or CIFAR's "
    "python batches"
)
ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar")


def visible(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder but for what file managers leave there, by name.

    Raises InputError for a folder that cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            found = [each for each in entries if not is_left_behind(each.name)]
    except OSError as error:
        raise InputError(f"{shown(folder)}: cannot be read ({error.strerror})") from None
    return sorted(found, key=lambda each: each.name)


def is_kind(entry: os.DirEntry[str], kind: Literal["folder", "file"]) -> bool:
    """Whether an entry, or what it links to, is of that kind; no for a link that leads nowhere."""
    try:
        return entry.is_dir() if kind == "folder" else entry.is_file()
    except OSError:
        return False


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, and links to folders, by name."""
    return [Path(each.path) for each in visible(folder) if is_kind(each, "folder")]


@dataclass(frozen=True)
class Root:
    """A folder, and how the settings write it."""

    written: str
    folder: Path

    @classmethod
    def named(cls, written: Path) -> Root:
        """What `data.root` names: in the clone, also for a queued experiment, or absolute, or beginning with ~.

        Raises InputError for what is no folder.
        """
        root = cls(str(written), in_clone(written))
        try:
            mode = root.folder.stat().st_mode
        except FileNotFoundError:
            raise root.error(f"no such folder; allowed: a folder with {FORMS}") from None
        except (OSError, ValueError) as error:  # a name that this locale, or no system, can write
            raise root.error(f"cannot be read ({getattr(error, 'strerror', error)})") from None
        if stat.S_ISDIR(mode):
            return root
        raise root.error(f"a file and no folder{_to_unpack([root.folder.name])}; allowed: a folder with {FORMS}")

    @property
    def key(self) -> str:
        """What messages begin with: the setting and its value."""
        return f"data.root = {shown(self.written)}"

    def error(self, message: str) -> InputError:
        """What is wrong with the folder."""
        return InputError(f"{self.key}: {message}")

    def within(self, folder: Path) -> Root:
        """A folder inside of this one."""
        return Root(Path(self.written, self.inner(folder)).as_posix(), folder)

    def inner(self, path: Path) -> str:
        """A path inside of the folder, as seen from it."""
        return path.relative_to(self.folder).as_posix()

    def without_folders(self) -> InputError:
        """That there is nothing to take pictures from; says so of archives."""
        names = [each.name for each in visible(self.folder)]
        return self.error(f"has no class folders{_to_unpack(names)}; allowed: {FORMS}")


def _to_unpack(names: Collection[str]) -> str:
    archives = [name for name in names if name.casefold().endswith((*ARCHIVES, ".tar"))]
    return f" ({shown(archives[0])} has to be unpacked first)" if archives else ""
