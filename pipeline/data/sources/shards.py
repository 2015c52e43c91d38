"""WebDataset: tar files whose members belong together where their names are the same up to the first dot.

`0001.jpg` with `0001.cls` is a picture and its class; the class may stand in `0001.json` ("label" or "cls") or in
`0001.txt` as well. Members are found once and read where they lie: nothing is unpacked.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.base.errors import first_line
from pipeline.base.naming import first_of, several, shown
from pipeline.data.sources.parts import by_part, files_of, roles_with_training
from pipeline.data.sources.root import Root
from pipeline.data.sources.source import Labels, Parts
from pipeline.data.sources.values import LONGEST_LABEL, classes_of
from wfn.picture import LEFT_BEHIND, endings, is_left_behind, open_picture
from wfn.plain_json import parse_json

ENDING = ".tar"
BLOCK = 512  # bytes; a tar file ends in blocks of zeros
LABELS = ("cls", "json", "txt")  # the first that has any
NUMBER = re.compile(r"-?\d{1,18}")  # that 64 bits hold
NAMES_OF_CLASSES = ("classes.txt", "classnames.txt")

# Members of a sample by their endings, in small letters.
Fields = Mapping[str, tarfile.TarInfo]


@dataclass(frozen=True)
class Members:
    """Pictures that are members of tar files. places: of each, the number of its file, its offset and its length."""

    classes: Sequence[str]
    labels: Labels
    shards: Sequence[Path]
    places: NDArray[np.int64]
    names: Sequence[str]

    def title(self, i: int) -> str:
        """As `Source` says."""
        return f"{shown(self.shards[self.places[i, 0]])}, {shown(self.names[i])}"

    def open(self, i: int) -> Image.Image:
        """As `Source` says."""
        shard, offset, length = self.places[i].tolist()
        with self.shards[shard].open("rb") as file:
            file.seek(offset)
            return open_picture(io.BytesIO(file.read(length)))


class Sample(NamedTuple):
    """A picture in a tar file, and its label as it is written."""

    name: str
    offset: int
    length: int
    label: str


def shards(root: Root) -> Parts | None:
    """The tar files of a folder, named after their parts: imagenet-train-000000.tar; None where it has none.

    Raises InputError for a damaged file, and for samples without one picture or without a class.
    """
    files = files_of(root, ENDING)
    if not files:
        return None
    grouped, notes = by_part(root, files)
    chosen = roles_with_training(root.key, grouped)
    used = [grouped[name] for name in chosen.used]
    read = _read(root, [path for paths in used for path in paths])
    parts = [[read[path] for path in paths] for paths in used]
    written = [[sample.label for shard in part for sample in shard] for part in parts]
    classes, labels, more = _classes(root, written)
    members = [_members(classes, mine, paths, part) for mine, paths, part in zip(labels, used, parts, strict=True)]
    return Parts(members[0], members[1] if len(members) > 1 else None, [*notes, *chosen.notes, *more])


def _members(classes: Sequence[str], labels: Labels, files: Sequence[Path], part: Sequence[list[Sample]]) -> Members:
    places = [(number, each.offset, each.length) for number, shard in enumerate(part) for each in shard]
    names = [each.name for shard in part for each in shard]
    return Members(classes, labels, files, np.array(places, dtype=np.int64).reshape(-1, 3), names)


def _read(root: Root, paths: Sequence[Path]) -> dict[Path, list[Sample]]:
    """The samples of each tar file, in their order.

    Raises InputError that names all files that are damaged, or all samples that lack the same.
    """
    read, damaged = {}, []
    wrong: dict[str, list[str]] = {"no picture": [], "several pictures": [], "no class": []}
    for path in paths:
        try:
            with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
                found = _grouped(tar)
                _check_end(tar)
                labels = _labels(found.values(), tar)
        except Exception as error:  # whatever a damaged file makes of tarfile
            damaged.append(f"{shown(root.inner(path))} ({shown(first_line(error))})")
            continue
        samples = {name: _sample(fields, label) for (name, fields), label in zip(found.items(), labels, strict=True)}
        for name, sample in samples.items():
            if isinstance(sample, str):
                wrong[sample].append(f"{root.inner(path)}: {name}")
        read[path] = [sample for sample in samples.values() if isinstance(sample, Sample)]
    if damaged:
        raise root.error(f"no tar files, or damaged ones: {first_of(damaged)}")
    for what, names in wrong.items():
        if names:
            raise root.error(
                f"samples with {what}: {several(names)}; allowed: a picture each, and a class in .{', .'.join(LABELS)}"
            )
    return read


def _grouped(tar: tarfile.TarFile) -> dict[str, dict[str, tarfile.TarInfo]]:
    """The members of each sample, wherever in the file they are."""
    found: dict[str, dict[str, tarfile.TarInfo]] = {}
    for member in _regular(tar):
        folder, slash, base = member.name.rpartition("/")
        name, _, ending = base.partition(".")
        fields = found.setdefault(f"{folder}{slash}{name}", {})
        if ending.lower() in fields:
            raise tarfile.TarError(f"{member.name} is there twice")
        fields[ending.lower()] = member
    return found


def _regular(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The files of a tar file but for what file managers leave."""
    for member in tar:
        *folders, name = member.name.split("/")
        left = is_left_behind(name) or any(each.casefold() in LEFT_BEHIND for each in folders)
        if member.size < 0:  # which tarfile follows back, and back again
            raise tarfile.TarError(f"{member.name} has {member.size} bytes")
        if member.issparse():
            raise tarfile.TarError(f"{member.name} is stored with holes")
        if (member.issym() or member.islnk()) and not left:
            raise tarfile.TarError(f"{member.name} is a link; allowed: files (tar --dereference --hard-dereference)")
        if member.isreg() and not left:
            yield member


def _check_end(tar: tarfile.TarFile) -> None:
    """Raise an error for a file that does not end in zeros: tarfile takes a damaged head for the end."""
    file, zeros = tar.fileobj, 0
    assert file is not None
    file.seek(tar.offset)
    while block := file.read(1 << 20):
        if block.strip(b"\0"):
            zeros = 0
            break
        zeros += len(block)
    if zeros < BLOCK:
        members = tar.getmembers()
        raise tarfile.TarError(f"no end behind {members[-1].name if members else 'its start'}")


def _sample(fields: Fields, label: str | None) -> Sample | str:
    """A sample, or what is wrong with it."""
    pictures = [member for ending, member in fields.items() if f".{ending.rpartition('.')[2]}" in endings()]
    if len(pictures) != 1:
        return "several pictures" if pictures else "no picture"
    if label is None:
        return "no class"
    return Sample(pictures[0].name, pictures[0].offset_data, pictures[0].size, label)


def _labels(samples: Collection[Fields], tar: tarfile.TarFile) -> list[str | None]:
    """The label of each sample, all from members of one ending: the first in which there are any."""
    for ending in LABELS:
        found = [_label(fields[ending], ending, tar) if ending in fields else None for fields in samples]
        if any(found):
            return found
    return [None] * len(samples)


def _label(member: tarfile.TarInfo, ending: str, tar: tarfile.TarFile) -> str | None:
    """What a member says; None where that is no label."""
    if ending != "json" and member.size > LONGEST_LABEL:
        return None
    file = tar.extractfile(member)
    assert file is not None
    try:
        text = file.read().decode("utf-8-sig")
        if ending != "json":
            return text.strip() or None
        value: Any = parse_json(text)
    except ValueError:
        return None
    value = value.get("label", value.get("cls")) if isinstance(value, dict) else None
    is_label = isinstance(value, int | str) and not isinstance(value, bool)
    text = str(value).strip() if is_label and len(str(value)) <= LONGEST_LABEL else ""
    return text or None


def _classes(root: Root, written: Sequence[Sequence[str]]) -> tuple[list[str], list[Labels], list[str]]:
    """Names of classes and the numbers of labels: of names in a file beside the shards, or of what occurs."""
    numbers = all(NUMBER.fullmatch(label) for part in written for label in part)
    parts: list[Any] = [[int(label) for label in part] if numbers else part for part in written]
    beside = next((root.folder / name for name in NAMES_OF_CLASSES if (root.folder / name).is_file()), None)
    if beside is None:
        return classes_of(root.key, parts)
    try:
        names = beside.read_text("utf-8-sig").splitlines()
    except ValueError:
        raise root.error(f"{beside.name}: no UTF-8") from None
    while names and not names[-1].strip():
        names.pop()
    names = [name.strip() for name in names]
    if len(set(names)) < len(names):
        raise root.error(f"{beside.name}: a name is there twice")
    if "" in names:
        raise root.error(f"{beside.name}: line {names.index('') + 1} is empty; allowed: a name in each")
    known = {name: number for number, name in enumerate(names)}
    every = sorted({label for part in parts for label in part})
    wrong = [label for label in every if not (0 <= label < len(names) if numbers else label in known)]
    if wrong:
        raise root.error(f"{beside.name} has {len(names)} names, and none for the classes {several(wrong)}")
    labels = [np.array(part if numbers else [known[each] for each in part], np.int64) for part in parts]
    return names, labels, []
