"""Tables of images: parquet files, and data sets of the Hugging Face hub."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.base.errors import InputError, first_line
from pipeline.base.naming import several, shown
from pipeline.data.sources.parts import by_part, files_of, roles_with_training
from pipeline.data.sources.root import Root, folders_in
from pipeline.data.sources.rows import Columns, columns_of, from_rows
from pipeline.data.sources.source import Parts

ENDING = ".parquet"


def parquet(root: Root) -> Parts | None:
    """The parquet files of a folder, each named after its part: train-00000-of-00001.parquet; None where it has none.

    Raises InputError that names a file that cannot be read, or whose columns are not those of the others.
    """
    files = files_of(root, ENDING)
    if not files:
        return None
    grouped, notes = by_part(root, files)
    key = root.key
    chosen = roles_with_training(key, grouped)
    used = {name: grouped[name] for name in chosen.used}
    columns = _same_columns(root, used)
    # `datasets` takes paths for patterns, and takes them apart at two colons.
    if "::" in str(root.folder):
        raise root.error("a path with '::', which the library `datasets` reads as two; allowed: any other")
    patterns = {name: [glob.escape(str(path)) for path in paths] for name, paths in used.items()}
    found = _load(key, "parquet", data_files=patterns, columns=[columns.image, columns.label])
    unused = [path.name for path in folders_in(root.folder) if not any(path in file.parents for file in files)]
    if unused:
        notes = [*notes, f"parquet files are used; folders that are not: {several(unused)}"]
    parts = from_rows(key, found, chosen, columns)
    return replace(parts, notes=[*notes, *parts.notes])


def hub(name: str) -> Parts:
    """A data set of the Hugging Face hub.

    Raises InputError where it cannot be loaded, or has no training images with classes.
    """
    key = f"data.hub = {name}"
    found = _load(key, name)
    chosen = roles_with_training(key, found)
    return from_rows(key, found, chosen, columns_of(key, found[chosen.used[0]].features))


def _load(key: str, path: str, **options: Any) -> Any:
    import datasets  # takes a second to import, and for these sources only

    try:
        return datasets.load_dataset(path, **options)
    except Exception as error:  # its own errors and those of requests, fsspec and pyarrow
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error  # its own say little
        other = "; another way: fetch its parquet files elsewhere and set data.root to their folder"
        raise InputError(
            f"{key}: cannot be loaded ({shown(first_line(cause))}){'' if 'data_files' in options else other}"
        ) from error


def _same_columns(root: Root, parts: Mapping[str, Sequence[Path]]) -> Columns:
    """The columns that are meant, of the same types in all files of all parts.

    Raises InputError that names a file where they are not, and a part that has no rows.
    """
    import datasets
    import pyarrow.parquet

    columns, types = None, None
    for part, paths in parts.items():
        rows = 0
        for path in paths:
            key = f"{root.key}, {shown(root.inner(path))}"
            try:
                with pyarrow.parquet.ParquetFile(path) as file:
                    features, count = datasets.Features.from_arrow_schema(file.schema_arrow), file.metadata.num_rows
            except Exception as error:  # whatever a damaged file makes of pyarrow
                raise InputError(f"{key}: no parquet file, or a damaged one ({shown(first_line(error))})") from error
            columns = columns or columns_of(key, features)
            mine = features.get(columns.image), features.get(columns.label)
            types = types or mine
            if mine != types:
                raise InputError(
                    f"{key}: columns {columns.image} and {columns.label} are missing or of other types than in "
                    f"{shown(root.inner(next(iter(parts.values()))[0]))}"
                )
            rows += count
        if not rows:
            raise root.error(f"no rows in the part {part}: {several([root.inner(path) for path in paths])}")
    assert columns is not None
    return columns
