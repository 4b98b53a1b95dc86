"""Reads published `.pkl` files of plain arrays and sets, without running anything in them.

The one place that touches pickle. Three walls: only the operations that plain data needs, only a
short list of names, and stand-ins in the place of those names, so that no code of NumPy runs on
what a file says. Anything else is refused by name.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from splits.errors import InputError

_LARGEST = 1 << 28  # bytes
_PROTOCOL = 4
_DTYPE = re.compile(r"[|<>=]?([biufcSU])([0-9]{1,6})")
_PLAIN = (
    "PROTO FRAME STOP MARK POP POP_MARK GLOBAL STACK_GLOBAL REDUCE BUILD NONE NEWTRUE NEWFALSE "
    "EMPTY_DICT DICT EMPTY_LIST LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_SET ADDITEMS "
    "FROZENSET SETITEM SETITEMS APPEND APPENDS INT BININT BININT1 BININT2 LONG LONG1 LONG4 "
    "FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE "
    "BINUNICODE SHORT_BINUNICODE BINUNICODE8 PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET "
    "MEMOIZE"
)
_OPERATIONS = frozenset(_PLAIN.split())


class _Refused(Exception):
    """What a file asks for and does not get; the message is the end of a sentence."""


class _Dtype:
    """Stands in for `numpy.dtype`: the name of a type of numbers or text, and its byte order."""

    def __init__(self, text: Any = "", *_: Any) -> None:
        if not isinstance(text, str) or not _DTYPE.fullmatch(text):
            raise _Refused(f"it holds an array of type {text!r}, not of numbers or text")
        self.text = text

    def __setstate__(self, state: Any) -> None:
        plain = isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None, None, None)
        if not plain or state[1] not in ("<", ">", "|", "="):
            raise _Refused("it holds an array with fields")
        self.text = state[1] + self.text.lstrip("|<>=")

    def real(self) -> np.dtype:
        return np.dtype(self.text)


class _Array:
    """Stands in for an array until the whole file is read."""

    array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Dtype):
            raise _Refused("it holds an array of an unknown form")
        _, shape, dtype, fortran, data = state
        flat = np.frombuffer(_bytes(data), dtype.real())
        self.array = flat.reshape(shape, order="F" if fortran else "C").copy()


def _bytes(data: Any) -> bytes:
    if isinstance(data, str):  # written by Python 2
        data = data.encode("latin1")
    if not isinstance(data, bytes):
        raise _Refused("it holds an array of Python objects")
    return data


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _scalar(dtype: Any, data: Any) -> Any:
    if not isinstance(dtype, _Dtype):
        raise _Refused("it holds a number of an unknown form")
    return np.frombuffer(_bytes(data), dtype.real(), count=1)[0].item()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused(f"it encodes text as {encoding!r}")
    return text.encode("latin1")


def _no_bytes(*rest: Any) -> bytes:
    if rest:
        raise _Refused("it makes bytes in an unknown way")
    return b""


def _allowed() -> dict[tuple[str, str], Callable[..., Any]]:
    names: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): _reconstruct,
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _encode,
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        names[module, "_reconstruct"] = _reconstruct
        names[module, "scalar"] = _scalar
    for module in ("builtins", "__builtin__"):
        names[module, "set"] = set
        names[module, "frozenset"] = frozenset
        names[module, "bytes"] = _no_bytes
    return names


_ALLOWED = _allowed()


class _Restricted(pickle.Unpickler):
    """Finds only the allowed names, and their stand-ins."""

    def find_class(self, module: str, name: str) -> Any:
        found = _ALLOWED.get((module, name))
        if found is None:
            raise _Refused(f"it asks for {module}.{name}")
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused(f"it asks for an outside object {pid!r}")


def load(path: Path) -> Any:
    """Read a pickle of dictionaries, lists, tuples, sets, text, numbers and arrays of numbers.

    Args:
        path: the file; protocol 4 at most, not over 256 MiB.

    Returns:
        What it holds; arrays as NumPy arrays, NumPy numbers as Python numbers.

    Raises:
        InputError: no such file, no pickle, a damaged one, or one that holds anything else; what
            it asks for is named, and nothing of it has run.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: this is a folder, not a file.")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file.")
    if path.stat().st_size > _LARGEST:
        raise InputError(f"{path}: this is too large for a published list ({_LARGEST} bytes).")
    data = path.read_bytes()
    try:
        _scan(data)
        return _plain(_Restricted(io.BytesIO(data), encoding="latin1").load(), {})
    except _Refused as refused:
        raise InputError(
            f"{path}: this pickle is refused, because {refused}; only plain data is read (arrays "
            f"of numbers, sets, lists, dictionaries, text)."
        ) from None
    except (pickle.UnpicklingError, MemoryError, RecursionError, LookupError) as error:
        raise InputError(f"{path}: this is no pickle, or a damaged one ({error}).") from None
    except (ValueError, TypeError, AttributeError, EOFError, OverflowError) as error:
        raise InputError(f"{path}: this is no pickle, or a damaged one ({error}).") from None


def _scan(data: bytes) -> None:
    """Refuse operations that plain data does not need, before any is carried out."""
    for operation, argument, _ in pickletools.genops(data):
        if operation.name not in _OPERATIONS:
            raise _Refused(f"it uses the operation {operation.name}")
        if operation.name == "PROTO" and not 0 <= int(argument or 0) <= _PROTOCOL:
            raise _Refused(f"it has protocol {argument}, above {_PROTOCOL}")
        if operation.name in ("PUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= len(data):
            raise _Refused("it numbers its parts beyond its own length")


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """The value with arrays in the place of their stand-ins; shared parts stay shared."""
    if id(value) in done:
        return done[id(value)]
    made: Any = value
    if isinstance(value, _Array):
        if value.array is None:
            raise _Refused("it holds an array without content")
        made = value.array
    elif isinstance(value, dict):
        made = {key: _plain(one, done) for key, one in value.items()}
        _only_plain(made)
    elif isinstance(value, list | tuple):
        made = type(value)(_plain(one, done) for one in value)
    elif isinstance(value, set | frozenset):
        _only_plain(value)
    elif not isinstance(value, str | bytes | int | float | complex | None):
        raise _Refused(f"it holds a {type(value).__name__.lstrip('_').lower()} as a value")
    done[id(value)] = made
    return made


def _only_plain(values: Iterable[Any]) -> None:
    for value in values:
        if not isinstance(value, str | bytes | int | float | tuple | frozenset | None):
            raise _Refused("it holds a set or a key of something other than text and numbers")
