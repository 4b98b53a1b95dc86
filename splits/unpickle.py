"""Reads published `.pkl` files of plain arrays and sets, without running any code in them.

No other module uses pickle. Three restrictions apply: only the operations that plain data needs,
only a short list of names, and stand-ins for these names, so no code of NumPy runs on the content
of a file. An error message names anything else that a file contains.
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

_MAX_BYTES = 1 << 28
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
_BROKEN = (
    pickle.UnpicklingError,
    MemoryError,
    RecursionError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    EOFError,
    OverflowError,
)


class _Refused(Exception):
    """Content that is not allowed; the message is the end of a sentence."""


class _Dtype:
    """A stand-in for `numpy.dtype`: the name of a type of numbers or text, and its byte order."""

    def __init__(self, text: Any = "", *_: Any) -> None:
        if not isinstance(text, str) or not _DTYPE.fullmatch(text):
            raise _Refused(f"it contains an array of type {text!r}, not of numbers or text")
        self.text = text

    def __setstate__(self, state: Any) -> None:
        is_plain = isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None,) * 3
        if not is_plain or state[1] not in ("<", ">", "|", "="):
            raise _Refused("it contains an array with fields")
        self.text = state[1] + self.text.lstrip("|<>=")

    def real(self) -> np.dtype:
        return np.dtype(self.text)


class _Array:
    """A stand-in for an array until the file is read completely."""

    array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Dtype):
            raise _Refused("it contains an array in an unknown format")
        _, shape, dtype, fortran, data = state
        flat = np.frombuffer(_bytes(data), dtype.real())
        self.array = flat.reshape(shape, order="F" if fortran else "C").copy()


def _bytes(data: Any) -> bytes:
    if isinstance(data, str):  # written by Python 2
        data = data.encode("latin1")
    if not isinstance(data, bytes):
        raise _Refused("it contains an array of Python objects")
    return data


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _scalar(dtype: Any, data: Any) -> Any:
    if not isinstance(dtype, _Dtype):
        raise _Refused("it contains a number in an unknown format")
    return np.frombuffer(_bytes(data), dtype.real(), count=1)[0].item()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused(f"it encodes text as {encoding!r}")
    return text.encode("latin1")


def _no_bytes(*rest: Any) -> bytes:
    if rest:
        raise _Refused("it creates bytes in an unknown way")
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
    """Resolves the allowed names to their stand-ins, and no other names."""

    def find_class(self, module: str, name: str) -> Any:
        stand_in = _ALLOWED.get((module, name))
        if stand_in is None:
            raise _Refused(f"it refers to {module}.{name}")
        return stand_in

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused(f"it refers to an external object {pid!r}")


def load(path: Path) -> Any:
    """Read a pickle of dictionaries, lists, tuples, sets, text, numbers and arrays of numbers.

    Args:
        path: the file; at most protocol 4 and 256 MiB.

    Returns:
        Its content; arrays as NumPy arrays, NumPy numbers as Python numbers.

    Raises:
        InputError: no such file, not a pickle, a damaged one, or one with any other content, which
            the message names; none of its code has run.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: this is a folder, not a file.")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file.")
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path}: the file is too large; the limit is {_MAX_BYTES} bytes.")
    data = path.read_bytes()
    try:
        _scan(data)
        return _plain(_Restricted(io.BytesIO(data), encoding="latin1").load(), {})
    except _Refused as refused:
        raise InputError(
            f"{path}: this pickle is refused, because {refused}; it may contain only plain data "
            f"(arrays of numbers, sets, lists, dictionaries, text)."
        ) from None
    except _BROKEN:
        raise InputError(f"{path}: this is not a pickle, or it is damaged or truncated.") from None


def _scan(data: bytes) -> None:
    """Refuse operations that plain data does not need, before running any."""
    for operation, argument, _ in pickletools.genops(data):
        if operation.name not in _OPERATIONS:
            raise _Refused(f"it uses the operation {operation.name}")
        if operation.name == "PROTO" and not 0 <= int(argument or 0) <= _PROTOCOL:
            raise _Refused(f"it has protocol {argument}; the limit is {_PROTOCOL}")
        if operation.name in ("PUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= len(data):
            raise _Refused("it has memo indices beyond its length")


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """The value with arrays in place of their stand-ins; shared parts stay shared."""
    if id(value) in done:
        return done[id(value)]
    plain: Any = value
    if isinstance(value, _Array):
        if value.array is None:
            raise _Refused("it contains an array without content")
        plain = value.array
    elif isinstance(value, dict):
        plain = {key: _plain(item, done) for key, item in value.items()}
        _check_hashable(plain)
    elif isinstance(value, list | tuple):
        plain = type(value)(_plain(item, done) for item in value)
    elif isinstance(value, set | frozenset):
        _check_hashable(value)
    elif not isinstance(value, str | bytes | int | float | complex | None):
        raise _Refused(f"it contains a {type(value).__name__.lstrip('_').lower()} as a value")
    done[id(value)] = plain
    return plain


def _check_hashable(values: Iterable[Any]) -> None:
    for value in values:
        if not isinstance(value, str | bytes | int | float | tuple | frozenset | None):
            raise _Refused("it contains a set element or a key other than text and numbers")
