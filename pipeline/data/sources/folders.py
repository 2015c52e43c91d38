"""Folders of pictures: one per class, or training and test folders of those.

Pictures in sub-folders of a class folder are that class's. Classes are in the order of their names (of ImageNet:
WordNet ids).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.base.naming import several, shown
from pipeline.data.sources.parts import TRAIN_NAMES, Roles, part_name, roles
from pipeline.data.sources.root import Root, folders_in, is_kind, visible
from pipeline.data.sources.source import Files, Parts
from wfn.picture import endings, open_picture, plain_name

ByClass = Mapping[str, Sequence[Path]]


def class_folders(root: Root) -> Parts:
    """The pictures of a folder with class folders, or with folders of parts that have class folders.

    Raises InputError for a folder of another form, and names all class folders without pictures, all that one part
    lacks, or all files that are no pictures.
    """
    train, test, notes = _parts(root)
    folders = [_class_folders(root, folder) for folder in (train, test) if folder]
    entries = [{name: list(_entries(folder)) for name, folder in part.items()} for part in folders]
    _check_files(root, [entry for part in entries for found in part.values() for entry in found])
    files = [{name: [Path(entry.path) for entry in found] for name, found in part.items()} for part in entries]
    empty = [
        root.inner(part[name]) for part, found in zip(folders, files, strict=True) for name in found if not found[name]
    ]
    if empty:
        raise root.error(f"class folders without pictures: {several(empty)}")
    if test is not None:
        _check_same_classes(root, (train, test), files)
    deep = [
        root.inner(folder)
        for part, found in zip(folders, files, strict=True)
        for name, folder in part.items()
        if any(path.parent != folder for path in found[name])
    ]
    if deep:
        notes = [*notes, f"pictures in sub-folders count as their class folder's: {several(deep)}"]
    sources = [_source(part) for part in files]
    return Parts(sources[0], sources[1] if test else None, notes)


def _parts(root: Root) -> tuple[Path, Path | None, list[str]]:
    """The folders that have the class folders for training and for testing."""
    folders = {folder.name: folder for folder in folders_in(root.folder)}
    named = [name for name in folders if part_name(name)]
    others = [name for name in folders if name not in named]
    # A class may be called `train`: it lies among others, and has pictures where a part has folders.
    parts = [name for name in named if folders_in(folders[name])] if others else named
    if not parts:
        return root.folder, None, []
    train, test, _ = roles(parts)
    if train is None or (others and test is None):
        raise root.error(
            f"{several(parts)} beside {several(others)}: a part of the data set or a class? allowed: class folders, "
            "or train and val with class folders in each"
            if others
            else f"{several(parts)} without a folder train; allowed: class folders, or train and val with those"
        )
    loose = [path.name for path in _loose_pictures(root.folder)]
    unused = [name for name in folders if name not in (train, test)]
    return folders[train], folders[test] if test else None, Roles(train, test, unused + loose).notes


def _class_folders(root: Root, part: Path) -> dict[str, Path]:
    """The class folders of a part by the name of their class; names are compared without spaces around them, as NFC."""
    folders = folders_in(part)
    loose = [root.inner(path) for path in _loose_pictures(part)]
    if loose:
        raise root.error(f"pictures outside of class folders: {several(loose)}; each class needs a folder of its own")
    if not folders:
        raise root.without_folders() if part == root.folder else root.error(f"{part.name} has no class folders")
    _check_wrapper(root, part, folders)
    found: dict[str, Path] = {}
    twice, unusable = [], []
    for folder in folders:
        name = plain_name(folder.name)
        if not name or not _is_text(name):
            unusable.append(ascii(folder.name))
        elif name in found:
            twice.append(f"{found[name].name!a} and {folder.name!a}")
        else:
            found[name] = folder
    if twice or unusable:
        what = "two folders of one class" if twice else "names of class folders that are no text"
        raise root.error(f"{what}: {several(twice or unusable)}")
    return dict(sorted(found.items()))


def _check_wrapper(root: Root, part: Path, folders: Sequence[Path]) -> None:
    """Raise InputError for a folder in place of a class folder that holds parts, or that alone holds class folders."""
    for folder in folders:
        inner = [each.name for each in folders_in(folder)]
        parts = [part_name(name) for name in inner]
        holds_parts = all(parts) and any(name in TRAIN_NAMES for name in parts)
        if not (holds_parts or (inner and len(folders) == 1)) or _loose_pictures(folder):
            continue
        alone = part == root.folder and len(folders) == 1
        below = shown(root.within(folder).written)
        mend = f"set data.root to {below}" if alone else "parts lie above class folders, these above pictures"
        raise root.error(f"{shown(root.inner(folder))} is no class folder, it has the folders {several(inner)}; {mend}")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8
        return False
    return True


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """All files below a folder, by name, those of a folder before those of its sub-folders.

    A folder that is reached a second time, by a link, is not read again.
    """
    todo, read = [folder], set()
    while todo:
        here = todo.pop()
        if here.resolve() in read:
            continue
        read.add(here.resolve())
        entries = [(entry, is_kind(entry, "folder")) for entry in visible(here)]
        yield from (entry for entry, is_folder in entries if not is_folder)
        todo += [Path(entry.path) for entry, is_folder in reversed(entries) if is_folder]


def _check_files(root: Root, entries: Sequence[os.DirEntry[str]]) -> None:
    """Raise InputError that names all that is no picture, by its ending or a look inside."""
    wrong = [root.inner(Path(entry.path)) for entry in entries if not _is_picture(entry)]
    if wrong:
        raise root.error(f"files in class folders that are no pictures: {several(wrong)}; they belong elsewhere")


def _has_ending(name: str) -> bool:
    return name.lower().endswith(tuple(endings()))


def _is_picture(entry: os.DirEntry[str]) -> bool:
    if not is_kind(entry, "file"):  # a broken link, or a pipe, that would be waited for
        return False
    if _has_ending(entry.name):
        return True
    try:
        with open_picture(Path(entry.path)):
            return True
    except Image.DecompressionBombError:  # said when it is decoded
        return True
    except Exception:  # whatever a foreign file makes of Pillow
        return False


def _loose_pictures(folder: Path) -> list[Path]:
    return [Path(each.path) for each in visible(folder) if _has_ending(each.name) and is_kind(each, "file")]


def _check_same_classes(root: Root, parts: tuple[Path, Path], found: Sequence[ByClass]) -> None:
    lacking = [
        f"{root.inner(part)} lacks {several(sorted(other.keys() - own.keys()))}"
        for part, own, other in zip(parts, found, reversed(found), strict=True)
        if other.keys() - own.keys()
    ]
    if lacking:
        raise root.error(f"{'; '.join(lacking)}; allowed: the same class folders in both")


def _source(part: ByClass) -> Files:
    counts = [len(paths) for paths in part.values()]
    labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    return Files(list(part), labels, [path for paths in part.values() for path in paths])
