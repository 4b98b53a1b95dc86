"""What NumPy's files leave open: why one cannot be read, and what bytes in one say as text."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from splits.errors import InputError

BROKEN = (OSError, EOFError, ValueError, MemoryError, tokenize.TokenError)
"""What `numpy.load` raises on a file that is none of its own, or damaged; the last of a header."""

BROKEN_NPZ = (
    *BROKEN,
    RuntimeError,  # an encrypted member, or an unknown compression
    zipfile.BadZipFile,
    zlib.error,
)
"""What `numpy.load` and the reading of a member raise where the file should be an .npz."""

_STARTS = (b"\x93NUMPY", b"PK")


def reason(path: Path, error: Exception) -> str:
    """The end of a sentence on a file that `numpy.load` has refused.

    Args:
        path: the file.
        error: what NumPy raised. Its own words on pickled data, which it finds in any file that
            is no array, are replaced.

    Returns:
        Words without a full stop.
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
    """The texts of an array; bytes are UTF-8.

    Args:
        path: its file.
        array: unicode or bytes [N].

    Raises:
        InputError: bytes that are not UTF-8 text, with their row.
    """
    if array.dtype.kind == "U":
        return [str(text) for text in array.tolist()]
    found = []
    for row, raw in enumerate(array.tolist()):
        try:
            found.append(raw.decode())
        except UnicodeDecodeError:
            raise InputError(f"{path}: row {row} is not UTF-8 text, but {raw!r}.") from None
    return found
