"""Reading NumPy files: explanations of errors, and bytes as text."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from splits.errors import InputError

BROKEN = (OSError, EOFError, ValueError, MemoryError, tokenize.TokenError)
"""The errors of `numpy.load` for a damaged file or another format."""

BROKEN_NPZ = (
    *BROKEN,
    RuntimeError,  # an encrypted member, or an unknown compression
    zipfile.BadZipFile,
    zlib.error,
)
"""The errors of `numpy.load` and of reading a member, for a file that should be an .npz."""

_STARTS = (b"\x93NUMPY", b"PK")


def reason(path: Path, error: Exception) -> str:
    """Why `numpy.load` could not read a file.

    Args:
        path: the file.
        error: the error of NumPy. Its message about pickled data is replaced, because NumPy gives
            it for any file that is not an array.

    Returns:
        A phrase without a full stop, to end a sentence.
    """
    text = str(error)
    if path.is_dir():
        return "it is a folder"
    if "pickle" not in text:
        return text
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(_STARTS):
        return (
            "it holds Python objects, which are not read because they can run code; save numbers "
            "or text (unicode)"
        )
    return "it is neither an .npy nor an .npz file"


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
