"""Images in tables, as the Hugging Face library `datasets` has them: a column of pictures and one of classes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from pipeline.base.errors import InputError
from pipeline.base.naming import several, shown
from pipeline.data.sources.parts import Roles
from pipeline.data.sources.source import Labels, Parts
from pipeline.data.sources.values import classes_of
from wfn.picture import open_picture

# Of several columns that could be meant, the one that is called so.
USUAL = {"pictures": ("image", "img"), "classes": ("label", "fine_label")}
BYTES = ("binary", "large_binary")
TEXTS = ("string", "large_string")


@dataclass(frozen=True)
class Rows:
    """One part of a data set: `images` has a single column, of files or of their bytes."""

    name: str
    classes: Sequence[str]
    labels: Labels
    images: Any

    def title(self, i: int) -> str:
        """As `Source` says."""
        path = self._paths[i] if self._paths else None
        return f"{self.name}, image {i}" + (f" ({shown(path)})" if path else "")

    @cached_property
    def _paths(self) -> list[str | None]:
        """What the pictures are called, without reading any; empty where they have no names."""
        pictures = self.images.data.column(0)
        place = -1 if str(pictures.type) in BYTES else pictures.type.get_field_index("path")
        return pictures.flatten()[place].to_pylist() if place >= 0 else []

    def open(self, i: int) -> Image.Image:
        """As `Source` says."""
        (value,) = self.images[i].values()
        content = value["bytes"] if isinstance(value, dict) else value
        return open_picture(Path(value["path"]) if content is None else io.BytesIO(content))


class Columns(NamedTuple):
    """What the columns of pictures and of classes are called, and a line for each choice among several."""

    image: str
    label: str
    notes: list[str]


def columns_of(key: str, features: Mapping[str, Any]) -> Columns:
    """The two columns that are meant, by their types and, where several have the type, by their names.

    Raises InputError, which begins with `key`, where there are none, or several of other names.
    """
    import datasets  # takes a second to import, and for these sources only

    def of(*kinds: type) -> list[str]:
        return [name for name, feature in features.items() if isinstance(feature, kinds)]

    stored = [name for name, feature in features.items() if _holds_bytes(feature)]
    plain = [name for name in of(datasets.Value) if features[name].dtype in TEXTS or "int" in features[name].dtype]
    image, image_notes = _one(key, "pictures", (of(datasets.Image), stored), features)
    label, label_notes = _one(key, "classes", (of(datasets.ClassLabel), plain), features)
    return Columns(image, label, image_notes + label_notes)


def _holds_bytes(feature: Any) -> bool:
    inner = feature.get("bytes") if isinstance(feature, dict) else feature
    return getattr(inner, "dtype", None) in BYTES


def _one(key: str, what: str, kinds: Sequence[list[str]], features: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The column that is called as usual, of the first kind that has one; else the only one of the first kind."""
    found: list[str] = []
    for kind in kinds:
        usual = [name for name in kind if name.lower() in USUAL[what]]
        found = [*found, *kind]
        if len(usual) == 1:
            others = [name for name in found if name != usual[0]]
            return usual[0], [f"{what} are those of column {usual[0]}, not of {several(others)}"] if others else []
        if usual:
            break
    found, weaker = next(((kind, kinds[place + 1 :]) for place, kind in enumerate(kinds) if kind), ([], []))
    others = [name for kind in weaker for name in kind]
    if len(found) == 1:
        return found[0], [f"{what} are those of column {found[0]}, not of {several(others)}"] if others else []
    if found:
        raise InputError(
            f"{key}: has several columns of {what}, {several(found)}; "
            f"allowed: one, or one called {' or '.join(USUAL[what])}"
        )
    has = [f"{name} ({getattr(feature, 'dtype', type(feature).__name__)})" for name, feature in features.items()]
    raise InputError(f"{key}: has no column of {what}; it has {several(has)}")


def from_rows(key: str, found: Mapping[str, Any], chosen: Roles, columns: Columns) -> Parts:
    """The parts of a data set whose parts are `found`, tables of `datasets`.

    Raises InputError, which begins with `key`, for rows without a picture or a class.
    """
    names = chosen.used
    for name in names:
        _check_rows(f"{key}, {name}", found[name], columns)
    feature = found[names[0]].features[columns.label]
    written = [np.asarray(found[name].data.column(columns.label).combine_chunks()) for name in names]
    notes = [*chosen.notes, *columns.notes]
    if hasattr(feature, "names"):
        classes, labels = list(feature.names), [values.astype(np.int64) for values in written]
    else:
        where = f"{key}, {columns.label}"
        classes, labels, more = classes_of(where, [values.tolist() for values in written])
        notes += more
    sources = [
        Rows(f"{key}, {name}", classes, mine, _undecoded(found[name], columns.image))
        for name, mine in zip(names, labels, strict=True)
    ]
    return Parts(sources[0], sources[1] if len(sources) > 1 else None, notes)


def _undecoded(rows: Any, image: str) -> Any:
    """The column of pictures as it is stored: whether and how a picture is decoded is decided elsewhere."""
    import datasets

    if isinstance(rows.features[image], datasets.Image):
        rows = rows.cast_column(image, datasets.Image(decode=False))
    return rows.select_columns(image)


def _check_rows(key: str, rows: Any, columns: Columns) -> None:
    def refuse(missing: Any, what: str) -> None:
        places = np.flatnonzero(missing).tolist()
        if places:
            raise InputError(f"{key}: rows without {what}: {several(places)}")

    refuse(rows.data.column(columns.label).is_null().to_numpy(), f"a {columns.label}")
    pictures = rows.data.column(columns.image)
    if str(pictures.type) in BYTES:
        refuse(pictures.is_null().to_numpy(), f"an {columns.image}")
        return
    contents = pictures.flatten()[pictures.type.get_field_index("bytes")]
    missing = contents.is_null().to_numpy()
    for place in np.flatnonzero(missing):  # of the hub's, some lie in files
        path = pictures[int(place)].as_py()
        missing[place] = not (path and path.get("path") and Path(path["path"]).is_file())
    refuse(missing, f"an {columns.image}")
