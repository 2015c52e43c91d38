"""Pickled NumPy arrays in plain containers, and nothing else: a pickle can run any program, and ask for any memory.

What a pickle would call is taken from here and not from NumPy: arrays are made of the bytes that are in the file, so
none is larger than that.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.base.errors import first_line

# Where NumPy of one version or the other keeps what makes an array, or a number, of a pickle.
MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
# Numbers and texts, each of some bytes; O: any objects, which are a list in the file.
TYPES = re.compile(r"[<>|=]?([biufc][1248]|c16|[SU][1-9]\d{0,6})|\|?O8?")
NAMES = (str, bytes, int)


def unpickle(path: Path) -> dict[Any, Any]:
    """The dictionary in a file, its arrays as NumPy has them; keys are texts, bytes or whole numbers.

    Raises pickle.UnpicklingError that says in one line what is wrong, OSError for a file that cannot be read.
    """
    if path.exists() and not path.is_file():
        raise pickle.UnpicklingError("is a folder, a pipe or a device, and no file")
    file = _Whole(path.read_bytes())
    if not file.getbuffer():
        raise pickle.UnpicklingError("Ran out of input")
    try:
        content = _ArraysOnly(file, encoding="bytes").load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # whatever a damaged file makes of the unpickler
        raise pickle.UnpicklingError(first_line(error)) from None
    if not isinstance(content, dict):
        raise pickle.UnpicklingError("holds no dictionary")
    return {key: value.values if isinstance(value, _Array) else value for key, value in content.items()}


class _Whole(io.BytesIO):
    """A file of which no part is read that is not there."""

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        if size is not None and len(content) < size:
            raise pickle.UnpicklingError("pickle data was truncated")
        return content


class _Dtype:
    """In place of numpy.dtype."""

    def __init__(self, text: str | bytes, *_: object) -> None:
        name = text.decode("latin1") if isinstance(text, bytes) else text
        if not TYPES.fullmatch(name):
            raise pickle.UnpicklingError("holds an array of neither numbers nor texts")
        self.dtype: np.dtype[Any] = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order: Any = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """In place of numpy.ndarray: an array once it has been told its content."""

    values: NDArray[Any] | list[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, by_columns, content = state
        self.values = (
            content if isinstance(content, list) else _values(content, dtype, shape, "F" if by_columns else "C")
        )


def _values(content: bytes, kind: _Dtype, shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    return np.frombuffer(content, kind.dtype).reshape(shape, order=order)


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _scalar(kind: _Dtype, content: bytes) -> Any:
    return _values(content, kind, (), "C")[()]


def _encode(text: str, coding: str) -> bytes:
    if coding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"holds a text in {coding[:20]}; only arrays are read")
    return text.encode("latin1")


class _ArraysOnly(pickle._Unpickler):
    """Python's own unpickler in Python: that in C takes memory for as many objects as a file says that it has."""

    stack: list[Any]
    read: Callable[[int], bytes]
    KNOWN: ClassVar[dict[tuple[str, str], Callable[..., Any]]] = {
        ("_codecs", "encode"): _encode,
        ("numpy", "dtype"): _Dtype,
        ("numpy", "ndarray"): _Array,
        **{(module, "_reconstruct"): _reconstruct for module in MULTIARRAY},
        **{(module, "scalar"): _scalar for module in MULTIARRAY},
        **{(module, "_frombuffer"): _values for module in NUMERIC},
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.KNOWN:
            raise pickle.UnpicklingError(f"holds {module}.{name}; only arrays are read")
        return self.KNOWN[module, name]

    def _build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if not isinstance(made, _Array | _Dtype):
            raise pickle.UnpicklingError(f"holds a {type(made).__name__} with a state; only arrays are read")
        made.__setstate__(state)

    def _bytearray(self) -> None:
        """Python's own takes the memory before it reads."""
        (length,) = struct.unpack("<Q", self.read(8))
        self.stack.append(bytearray(self.read(length)))

    def _checked(self, keys: slice, opcode: bytes) -> None:
        """Put pairs into a dictionary whose keys are names: others, as tuples of tuples, may be hashed for ever."""
        if not all(isinstance(key, NAMES) for key in self.stack[keys]):
            raise pickle.UnpicklingError("holds a dictionary whose keys are no names")
        super().dispatch[opcode[0]](self)  # type: ignore[arg-type]

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **{
            code: load
            for code, load in pickle._Unpickler.dispatch.items()
            if code not in pickle.ADDITEMS + pickle.FROZENSET
        },
        pickle.BUILD[0]: _build,
        pickle.BYTEARRAY8[0]: _bytearray,
        pickle.SETITEM[0]: lambda self: self._checked(slice(-2, -1), pickle.SETITEM),
        pickle.SETITEMS[0]: lambda self: self._checked(slice(0, None, 2), pickle.SETITEMS),
        pickle.DICT[0]: lambda self: self._checked(slice(0, None, 2), pickle.DICT),
    }
