"""Reading NumPy files: explanations of errors, and bytes as text."""

from __future__ import annotations

import lzma
import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from splits import zip_layout
from splits.errors import InputError

BROKEN_NPZ = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,  # a shape with numbers beyond int64
    MemoryError,
    RecursionError,
    RuntimeError,  # an encrypted member, or an unknown compression
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""The errors of `load` and `member` for a damaged file or another format."""


class _SizeError(ValueError):
    """An array that declares more data than its file has; the message is a phrase."""


_MAGIC = b"\x93NUMPY"
_HEADERS: Mapping[tuple[int, ...], Callable[..., Any]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_DEFLATE = 1032  # the largest ratio of deflate
_ZIP = b"PK"
_STARTS = (_MAGIC, _ZIP)


def load(path: Path) -> Any:
    """`numpy.load` of an `.npy` or `.npz` file without Python objects.

    Raises:
        ValueError: the header of an `.npy` file declares more data than the file has, or the
            directory of an `.npz` file does not fit its arrays; the other errors of `BROKEN_NPZ`.
    """
    with path.open("rb") as file:
        if file.read(len(_ZIP)) == _ZIP:
            with zipfile.ZipFile(path) as archive:
                zip_layout.check(file, archive.infolist())
        file.seek(0)
        _check_size(file, path.stat().st_size)
    return np.load(path, allow_pickle=False)


def member(archive: Any, key: str) -> Any:
    """An array of an `.npz` file that `numpy.load` opened.

    Raises:
        ValueError: its header declares more data than the file has; the errors of `BROKEN_NPZ`.
    """
    name = key if key in archive.zip.NameToInfo else f"{key}.npy"
    info = archive.zip.getinfo(name)
    ratio = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: _DEFLATE}.get(info.compress_type)
    size = info.file_size if ratio is None else min(info.file_size, info.compress_size * ratio)
    with archive.zip.open(info) as file:
        _check_size(file, size)
    return archive[key]


def _check_size(file: IO[bytes], size: int) -> None:
    """Compare the header of an `.npy` file with its size, before memory is allocated for it."""
    start = file.read(len(_MAGIC) + 2)
    if not start.startswith(_MAGIC) or tuple(start[len(_MAGIC) :]) not in _HEADERS:
        return  # `numpy.load` reports it
    shape, _, dtype = _HEADERS[tuple(start[len(_MAGIC) :])](file)
    needed, left = math.prod(shape) * dtype.itemsize, size - file.tell()
    if not dtype.hasobject and needed > left:
        raise _SizeError(f"its header declares {needed:,} bytes of data, the file has {left:,}")


def reason(path: Path, error: Exception) -> str:
    """Why `numpy.load` could not read a file.

    Args:
        path: the file.
        error: the error of NumPy, whose own text is for programmers.

    Returns:
        A phrase without a full stop, to end a sentence.
    """
    if path.is_dir():
        return "it is a folder"
    if isinstance(error, MemoryError):
        return "there is not enough memory for an array in it"
    if isinstance(error, _SizeError | zip_layout.LayoutError):
        return str(error)
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
    except OSError as unreadable:
        return f"it cannot be read: {(unreadable.strerror or 'an error of the disk').lower()}"
    if not start:
        return "it is empty"
    if not start.startswith(_STARTS):
        return "it is neither an .npy nor an .npz file"
    text = str(error)
    if "pickle" in text or "hasobject" in text:
        return (
            "it holds Python objects, which are not read because they can run code; save numbers "
            "or text (unicode)"
        )
    if isinstance(error, zipfile.BadZipFile | zlib.error | lzma.LZMAError | RuntimeError):
        return "it is truncated, or its content does not match its checksums"
    return "it is truncated, or the header of an array in it is damaged"


def texts(path: Path, array: np.ndarray) -> list[str]:
    """The texts of an array; bytes are decoded as UTF-8.

    Args:
        path: its file, for messages.
        array: unicode or bytes [N].

    Raises:
        InputError: bytes that are not UTF-8 text; the message names the row.
    """
    if array.dtype.kind == "U":
        return [str(text) for text in array.tolist()]
    decoded = []
    for row, raw in enumerate(array.tolist()):
        try:
            decoded.append(raw.decode())
        except UnicodeDecodeError:
            raise InputError(f"{path}: row {row} is not UTF-8 text, but {raw!r}.") from None
    return decoded
