"""Images in tables, as the Hugging Face library `datasets` has them: a column of pictures and one of classes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from pipeline.base.errors import InputError
from pipeline.data.sources.naming import several, shown
from pipeline.data.sources.parts import Roles
from pipeline.data.sources.source import Labels, Parts
from pipeline.data.sources.values import LONGEST_LABEL, classes_of
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
        path = self._stored(i)[1]
        return f"{self.name}, image {i}" + (f" ({shown(path)})" if path else "")

    def open(self, i: int) -> Image.Image:
        """As `Source` says."""
        content, path = self._stored(i)
        return open_picture(Path(path) if content is None else io.BytesIO(content))

    def _stored(self, i: int) -> tuple[bytes | None, str]:
        """The bytes of image `i`, or None where they lie in a file; and what it is called."""
        (value,) = self.images[i].values()
        return (value["bytes"], value.get("path") or "") if isinstance(value, dict) else (value, "")


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
    found: list[str] = next(filter(None, kinds), [])
    usual = [name for name in found if name.lower() in USUAL[what]]
    if len(found) == 1:
        return found[0], []
    if len(usual) == 1:
        others = [name for name in found if name != usual[0]]
        return usual[0], [f"{what} are those of column {usual[0]}, not of {several(others)}"]
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
        classes, labels, more = classes_of(where, [_plain(where, values) for values in written])
        notes += more
    sources = [
        Rows(f"{key}, {name}", classes, mine, _undecoded(found[name], columns.image))
        for name, mine in zip(names, labels, strict=True)
    ]
    return Parts(sources[0], sources[1] if len(sources) > 1 else None, notes)


def _plain(key: str, values: Any) -> Any:
    """Labels as an array of numbers or of texts, which has as many characters for each as the longest has."""
    if values.dtype != object:
        return values
    longest = max(map(len, values), default=0)
    if longest > LONGEST_LABEL:
        raise InputError(f"{key}: a label of {longest:,} characters; allowed: at most {LONGEST_LABEL:,}")
    return values.astype(str)


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
