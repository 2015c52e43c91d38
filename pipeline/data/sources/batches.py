"""CIFAR's python batches: https://www.cs.toronto.edu/~kriz/cifar.html. Nothing is unpickled but arrays."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.base.errors import InputError, first_line
from pipeline.base.naming import several, shown, together
from pipeline.data.sources.pickled import unpickle
from pipeline.data.sources.root import Root, visible
from pipeline.data.sources.source import Arrays, Labels, Parts

ROW = 3072  # 3 x 32 x 32
USUAL = 5  # batches of training images
MOST = 1 << 31  # classes
DIGITS = 100  # of a number that is shown


class Form(NamedTuple):
    """Files of a form, and the keys of labels and of their names in them."""

    train: list[str]
    test: str
    meta: str
    labels: str
    names: str


def python_batches(root: Root) -> Parts | None:
    """CIFAR-10, or CIFAR-100 with its fine labels, as their authors distribute them; None where there are no batches.

    Raises InputError that names every file that is missing, damaged, or not as it has to be.
    """
    form = form_of(root.folder)
    if form is None:
        return None
    contents, problems = {}, []
    for name in (form.meta, *form.train, form.test):
        try:
            contents[name] = _unpickle(root.folder / name)
        except InputError as error:
            problems.append(str(error))
    names: list[str] = []
    batches = {}
    for name, content in contents.items():
        try:
            if name == form.meta:
                names = _names(content, form.names)
            else:
                batches[name] = _batch(content, form.labels, len(names))
        except InputError as error:
            problems.append(f"{shown(root.folder / name)}: {error}")
    if problems:
        raise InputError(together(problems))
    few = form.train[0] != "train" and len(form.train) < USUAL
    notes = [f"{len(form.train)} of CIFAR-10's {USUAL} batches found: {several(form.train)}"] if few else []
    train = [batches[name] for name in form.train]
    return Parts(_source(form.train[0], names, train), _source(form.test, names, [batches[form.test]]), notes)


def form_of(folder: Path) -> Form | None:
    """Which of the two forms a folder has; None for another."""
    count = sum(1 for each in visible(folder) if re.fullmatch(r"data_batch_\d+", each.name))
    if count:  # what is missing in between is named when it is read
        train = [f"data_batch_{number}" for number in range(1, count + 1)]
        return Form(train, "test_batch", "batches.meta", "labels", "label_names")
    if all((folder / name).is_file() for name in ("train", "test", "meta")):
        return Form(["train"], "test", "meta", "fine_labels", "fine_label_names")
    return None


def _unpickle(path: Path) -> dict[str, Any]:
    """The dictionary in a file, whether its keys are bytes, as in Python 2, or texts."""
    try:
        return {key.decode() if isinstance(key, bytes) else key: value for key, value in unpickle(path).items()}
    except FileNotFoundError:
        raise InputError(f"{shown(path)}: no such file; CIFAR's python batches have one") from None
    except (OSError, pickle.UnpicklingError, UnicodeDecodeError) as error:
        raise InputError(f"{shown(path)}: not one of CIFAR's python batches: {shown(first_line(error))}") from error


def _names(content: dict[str, Any], key: str) -> list[str]:
    names = content.get(key)
    if not isinstance(names, list | tuple) or not names:
        raise InputError(f"has no list of names of classes, {key}")
    try:
        known = [name.decode() if isinstance(name, bytes) else name for name in names]
    except UnicodeDecodeError:
        raise InputError(f"{key}: a name is no UTF-8") from None
    others = [type(name).__name__ for name in known if not isinstance(name, str)]
    if others:
        raise InputError(f"{key} has {several(others)}; allowed: texts")
    return known


def _batch(content: dict[str, Any], key: str, classes: int) -> tuple[NDArray[np.uint8], Labels]:
    """Pixels [N, 32, 32, 3] and labels [N] of a batch."""
    pixels, given = content.get("data"), content.get(key)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (ROW,):
        raise InputError(f"data is {_said(pixels)}; allowed: rows of {ROW} numbers, uint8")
    values = given.tolist() if isinstance(given, np.ndarray) else given
    if not isinstance(values, list | tuple):
        raise InputError(f"{key} is {_said(values)}; allowed: a list of whole numbers, one an image")
    wrong = [repr(each) for each in dict.fromkeys(map(_hashable, values)) if not _is_class(each, classes)]
    if wrong:
        raise InputError(f"{key} has {several(wrong)}; allowed: 0 to {classes - 1}, whole numbers of {classes} classes")
    if len(values) != len(pixels):
        raise InputError(f"{len(pixels)} images with {len(values)} {key}")
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.array(values, dtype=np.int64)


def _hashable(value: Any) -> Any:
    """What stands for a value in a message; Python writes no number of thousands of digits."""
    if isinstance(value, int) and abs(value) >= 10**DIGITS:
        return f"a number of more than {DIGITS} digits"
    return value if isinstance(value, int | float | np.number | bytes | str) else type(value).__name__


def _is_class(value: Any, classes: int) -> bool:
    """Whether a value is the number of a class; of names that are missing, hardly any number is beyond the last."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return bool(whole and 0 <= value < (classes or MOST))


def _said(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return "missing" if value is None else f"a {type(value).__name__}"


def _source(name: str, names: list[str], batches: list[tuple[NDArray[np.uint8], Labels]]) -> Arrays:
    pixels, labels = (np.concatenate(each) for each in zip(*batches, strict=True))
    return Arrays(name, names, labels, np.ascontiguousarray(pixels))
