"""Which part of a data set is for training and which for testing, by the names that people give them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.base.errors import InputError
from pipeline.base.naming import several, shown
from pipeline.data.sources.root import Root, folders_in, is_kind, visible

TRAIN_NAMES = ("train", "training")
# The first that is there. Of a data set with both, `test` often comes without labels.
TEST_NAMES = ("validation", "valid", "val", "test", "testing")
PART_NAMES = TRAIN_NAMES + TEST_NAMES
# Beside those of parts: where the hub keeps files.
DATA = "data"
ALL_IN_ONE = "train"


class Roles(NamedTuple):
    """Names of the parts for training and for testing, None where there is none, and of what is used for neither."""

    train: str | None
    test: str | None
    unused: list[str]

    @property
    def used(self) -> list[str]:
        """The parts that are used, that for training first."""
        return [name for name in (self.train, self.test) if name is not None]

    @property
    def notes(self) -> list[str]:
        """A line for each thing to know."""
        alone = self.train is not None and self.test is None
        split = f"{shown(self.train)} has no test part beside it: data.test_share of it is for testing"
        unused = f"{' and '.join(map(shown, self.used))} used; not used: {several(self.unused)}"
        return [*([split] if alone else []), *([unused] if self.unused else [])]


def part_name(text: str) -> str | None:
    """The name of a part that a folder's name is, in any case; None where it is none."""
    name = text.strip().casefold()
    return name if name in PART_NAMES else None


def roles(found: Collection[str]) -> Roles:
    """What the parts of a data set are for; the first of each list above comes first."""
    ranks = {name: rank for rank, name in enumerate(PART_NAMES)}
    known = sorted((name for name in found if part_name(name)), key=lambda name: (ranks[part_name(name) or ""], name))
    train = next((name for name in known if part_name(name) in TRAIN_NAMES), None)
    test = next((name for name in known if part_name(name) in TEST_NAMES), None)
    return Roles(train, test, [name for name in found if name not in (train, test)])


def roles_with_training(key: str, found: Collection[str]) -> Roles:
    """As `roles`. Raises InputError, which begins with `key`, where no part is for training."""
    chosen = roles(found)
    if chosen.train is None:
        raise InputError(f"{key}: has no part train, only {', '.join(found)}")
    return chosen


def files_of(root: Root, ending: str) -> list[Path]:
    """Files with that ending in the folder itself, in its folder `data` and in its folders of parts."""
    inner = [path for path in folders_in(root.folder) if path.name == DATA or part_name(path.name)]
    entries = [each for folder in (root.folder, *inner) for each in visible(folder)]
    return [Path(each.path) for each in entries if each.name.casefold().endswith(ending) and is_kind(each, "file")]


def by_part(root: Root, files: Sequence[Path]) -> tuple[dict[str, list[Path]], list[str]]:
    """Files by the part that they belong to: what their folder is called, or a word in their name.

    Where no file says so, all are one part, and a note says that. Raises InputError where some do and others do not.
    """
    found: dict[str, list[Path]] = {}
    unknown = []
    for path in files:
        part = _part_of(path, root)
        if part is None:
            unknown.append(path)
        else:
            found.setdefault(part, []).append(path)
    if not found:
        return {ALL_IN_ONE: unknown}, [f"no file says which part it is: all are taken as {ALL_IN_ONE}"]
    if unknown:
        names = several([root.inner(path) for path in unknown])
        raise root.error(f"files that name no part, or several: {names}; allowed in a name: {', '.join(PART_NAMES)}")
    return found, []


def _part_of(path: Path, root: Root) -> str | None:
    if path.parent != root.folder and part_name(path.parent.name):
        return part_name(path.parent.name)
    words = {word for word in re.findall("[a-z]+", path.name.casefold()) if word in PART_NAMES}
    return words.pop() if len(words) == 1 else None
