"""Memory for the label matrix of a file in which a number defines the class count."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from splits.errors import InputError

_SMALL = 1 << 28  # bytes that any array may take
_SPARSEST = 4000  # entries for each stored one, beyond which a number in the file is wrong

MAX_CLASSES = 1 << 22
"""More classes than any public data set has; a larger number is an error in the file."""


def zeros(path: Path, rows: int, classes: int) -> np.ndarray:
    """An all-negative label matrix, int8 [rows, classes].

    Args:
        path: the file that defines its size, for messages.
        rows: N.
        classes: C.

    Raises:
        InputError: more than `MAX_CLASSES` classes, or not enough memory.
    """
    check_classes(path, rows, classes)
    try:
        check_memory(rows * classes)
        return np.zeros((rows, classes), np.int8)
    except (MemoryError, ValueError):
        raise _too_large(path, rows, classes) from None


def check_memory(size: int) -> None:
    """Raise MemoryError for an array of more bytes than the machine has.

    Linux would grant such an array, and end the process when its pages are used.
    """
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # unknown on this system
        return
    if size > physical:
        raise MemoryError(f"{size:,} bytes are needed, and the machine has {physical:,}")


def check_dense(entries: int, stored: int, itemsize: int) -> None:
    """Raise MemoryError if a sparse matrix is too large, or too empty, to become an array.

    Args:
        entries: the entries of the array.
        stored: those that the file stores.
        itemsize: bytes per entry.
    """
    if entries * itemsize > max(_SMALL, _SPARSEST * stored * itemsize):
        raise MemoryError(f"{entries:,} entries for {stored:,} stored ones; is the shape right?")
    check_memory(entries * itemsize)


def check_classes(path: Path, rows: int, classes: int) -> None:
    """Raise for more than `MAX_CLASSES` classes."""
    if classes > MAX_CLASSES:
        raise _too_large(path, rows, classes)


def _too_large(path: Path, rows: int, classes: int) -> InputError:
    return InputError(
        f"{path}: there is not enough memory for {rows} images with {classes} classes; is the "
        f"number of the last class right?"
    )
