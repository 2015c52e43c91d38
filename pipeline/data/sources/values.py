"""Classes from labels as they are written: whole numbers or texts, in place of numbers of a list of names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.base.errors import InputError
from pipeline.base.naming import several
from pipeline.data.sources.source import Labels
from wfn.picture import plain_name

LONGEST_LABEL = 4096  # characters


def classes_of(
    key: str, parts: Sequence[Sequence[int]] | Sequence[Sequence[str]]
) -> tuple[list[str], list[Labels], list[str]]:
    """Names of the classes, the number of each label's class, and what to know of it.

    parts: the labels of each part, all whole numbers or all texts. A class is what occurs in any of them; they are in
    order. Texts are compared as names of folders are, without spaces around them and as NFC, and in the order of
    numbers where all of them are such.
    Raises InputError, which begins with `key`, for negative numbers, the usual way to keep labels secret, and for texts
    that are empty or long.
    """
    known = {label: _plain(key, label) for part in parts for label in part}
    if all(isinstance(label, str) and label.isdecimal() and str(int(label)) == label for label in known.values()):
        known = {label: int(value) for label, value in known.items()}
    values = sorted(set(known.values()))
    wrong = [repr(value) for value in values if (not value if isinstance(value, str) else value < 0)]
    if wrong:
        raise InputError(f"{key}: images are labelled {several(wrong)}; allowed: numbers from 0, or names")
    names = [str(value) for value in values]
    gaps = any(isinstance(value, int) and value != place for place, value in enumerate(values))
    notes = [f"classes are the numbers that occur: {several(names)}"] if gaps else []
    places = {value: place for place, value in enumerate(values)}
    numbers = {label: places[value] for label, value in known.items()}
    return names, [np.array([numbers[label] for label in part], np.int64) for part in parts], notes


def _plain(key: str, label: int | str) -> int | str:
    if not isinstance(label, str):
        return label
    if len(label) > LONGEST_LABEL:
        raise InputError(f"{key}: a label of {len(label):,} characters; allowed: at most {LONGEST_LABEL:,}")
    return plain_name(label)
