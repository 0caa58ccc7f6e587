"""What a process and the model's own say to each other: plain values and arrays, whatever versions the two have.

Libraries pickle arrays and frames as their version does, so an array travels as dtype, shape and bytes. Imports no
pyspark.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_scoring.engine.inputs import objects

if TYPE_CHECKING:
    from collections.abc import Callable

_LENGTH = struct.Struct(">Q")
_PLAIN = {
    "builtins": ("bytearray", "complex", "frozenset", "range", "set", "slice"),
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
}
"""What a message may hold beside this package's own values: names by module."""


class EndedError(Exception):
    """The other process has closed its end."""


def packed(value: Any) -> bytes:
    """A value as a message."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=5).dump(value)
    return buffer.getvalue()


def unpacked(message: bytes) -> Any:
    """The value of a message; its arrays hold memory of their own, anew each time."""
    return _Unpickler(io.BytesIO(message)).load()


def send(number: int, message: bytes) -> None:
    """Write a message to an open file.

    Raises:
        EndedError: nobody reads it.

    """
    left = memoryview(_LENGTH.pack(len(message)) + message)
    try:
        while left:
            left = left[os.write(number, left) :]
    except BrokenPipeError as error:
        raise EndedError from error


def receive(number: int) -> bytes:
    """The next message of an open file.

    Raises:
        EndedError: there is none, or not the whole of it.

    """
    (length,) = _LENGTH.unpack(_read(number, _LENGTH.size))
    return _read(number, length)


def _read(number: int, length: int) -> bytes:
    parts = []
    while length:
        part = os.read(number, min(length, 2**20))
        if not part:
            raise EndedError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            if value.dtype.kind == "O":
                return _objects, (value.shape, value.ravel().tolist())
            return _array, (value.dtype.str, value.shape, value.tobytes())
        if isinstance(value, np.generic):
            return _scalar, (value.dtype.str, value.tobytes())
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    """Makes nothing but this package's own values and plain ones, whatever the other process sends."""

    def find_class(self, module: str, name: str) -> Any:
        if module == __name__ and name in _OWN:
            return _OWN[name]
        if name in _PLAIN.get(module, ()):
            return super().find_class(module, name)
        if module.startswith("spark_scoring."):
            found = super().find_class(module, name)
            if isinstance(found, type):
                return found
        msg = f"a message of {module}.{name}"
        raise pickle.UnpicklingError(msg)


def _array(dtype: str, shape: tuple[int, ...], content: bytes) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = np.frombuffer(content, dtype).reshape(shape).copy()
    return array


def _objects(shape: tuple[int, ...], values: list[Any]) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = objects(values).reshape(shape)
    return array


def _scalar(dtype: str, content: bytes) -> Any:
    return np.frombuffer(content, dtype)[0]


_OWN: dict[str, Callable[..., Any]] = {"_array": _array, "_objects": _objects, "_scalar": _scalar}
