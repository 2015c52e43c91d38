"""Classes from labels as they are written: whole numbers or texts, in place of numbers of a list of names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.base.errors import InputError
from pipeline.data.sources.naming import several
from pipeline.data.sources.source import Labels

LONGEST_LABEL = 4096  # characters: an array of texts has as many for each of them as the longest has


def classes_of(key: str, parts: Sequence[NDArray[Any]]) -> tuple[list[str], list[Labels], list[str]]:
    """Names of the classes, the number of each label's class, and what to know of it.

    parts: the labels [N] of each part, integers or texts. A class is what occurs in any of them; they are in order.
    Raises InputError, which begins with `key`, for negative numbers, the usual way to keep labels secret, and empty
    texts.
    """
    every = np.concatenate(parts)
    values = np.unique(every)
    wrong = [repr(value) for value in values.tolist() if (not value.strip() if isinstance(value, str) else value < 0)]
    if wrong:
        raise InputError(f"{key}: images are labelled {several(wrong)}; allowed: numbers from 0, or names")
    names = [str(value) for value in values.tolist()]
    gaps = values.dtype.kind in "iu" and not np.array_equal(values, np.arange(len(values)))
    notes = [f"classes are the numbers that occur: {several(names)}"] if gaps else []
    return names, [np.searchsorted(values, part).astype(np.int64) for part in parts], notes
