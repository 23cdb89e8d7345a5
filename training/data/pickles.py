"""Unpickle data sets without running what a pickle asks for: it makes arrays, lists, dicts, bytes, texts and numbers.

An ordinary unpickler calls any function that the file names.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError

# What damaged and hostile pickles were observed to raise.
PICKLE_ERRORS = (
    pickle.UnpicklingError,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    RecursionError,
)


class _DType:
    """Stands for numpy.dtype: the text that names it, such as "u1", for numbers only."""

    def __init__(self, name: str | bytes, *_: object) -> None:
        text = name.decode("ascii") if isinstance(name, bytes) else str(name)
        if text[:1] not in ("u", "i", "f", "b") or not text[1:].isdigit():
            raise ValueError(f"an array of kind {text!r}, which is no number")
        self.name = text

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else str(state[1])
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"an array with the byte order {order!r}")
        self.name = order + self.name.lstrip("<>|=")


class _Array:
    """Stands for numpy.ndarray while a pickle is read: numpy itself is never given a state from the file."""

    def __init__(self, *_: object) -> None:
        self.value: NDArray[Any] = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, content = state
        if not isinstance(dtype, _DType) or not isinstance(content, bytes):
            raise ValueError("an array whose values are not plain numbers")
        if not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError(f"an array of shape {shape}")
        flat = np.frombuffer(content, np.dtype(dtype.name))
        if flat.size != math.prod(shape):
            raise ValueError(f"an array of {flat.size} values with the shape {shape}")
        self.value = flat.reshape(shape, order="F" if is_fortran else "C")


class _FromBuffer:
    """Stands for numpy's _frombuffer, by which newer pickles write arrays."""

    def __new__(cls, content: bytes | bytearray, dtype: _DType, shape: tuple[Any, ...], order: str) -> Any:
        array = _Array()
        array.__setstate__((1, shape, dtype, order == "F", bytes(content)))
        return array


class _Encoded:
    """Stands for _codecs.encode, by which Python 3 writes bytes for Python 2."""

    def __new__(cls, text: str, encoding: str | bytes = "latin1") -> Any:
        if encoding not in ("latin1", b"latin1"):
            raise ValueError(f"bytes in the encoding {encoding!r}")
        return text.encode("latin-1")


_STAND_INS: dict[tuple[str, str], type] = {("_codecs", "encode"): _Encoded}
for _package in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray"):
    _STAND_INS |= {(_package, "dtype"): _DType, (_package, "ndarray"): _Array, (_package, "_reconstruct"): _Array}
for _package in ("numpy.core.numeric", "numpy._core.numeric"):
    _STAND_INS[_package, "_frombuffer"] = _FromBuffer


# The one that is written in Python: the other one reserves as much memory as a file says that it has objects.
class _Unpickler(pickle._Unpickler):  # type: ignore[misc,name-defined,unused-ignore]
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise _ForbiddenError(f"{module}.{name}") from None


class _ForbiddenError(Exception):
    """A pickle asks for something that no data set is made of."""


def read_pickle(path: Path, file: IO[bytes]) -> dict[str, Any]:
    """Read a pickled dict; its keys and, in lists, texts that Python 2 wrote are read as UTF-8.

    Returns: arrays, lists, dicts, bytes, texts and numbers by their keys.
    Raises: DataError for path, which names what a hostile file asks for.
    """
    try:
        content = _Unpickler(file, encoding="bytes").load()
    except _ForbiddenError as error:
        raise DataError(
            path, f"is a pickle that would run {error}, which no data set needs; do not open it with other programs"
        ) from None
    except PICKLE_ERRORS as error:
        raise DataError(path, f"is a damaged pickle ({error}); fetch it again") from None
    if not isinstance(content, dict):
        raise DataError(path, "is a pickle of something else than a dict; give the file of a batch")
    return {_text(key): _plain(value) for key, value in content.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.value
    return [_text(item) if isinstance(item, bytes) else item for item in value] if isinstance(value, list) else value


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
