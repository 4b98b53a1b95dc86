"""Arrays whose size a few bytes of a file define; it is checked before memory is allocated."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from splits.errors import InputError

_SMALL = 1 << 28  # bytes that any array may take
_MAX_NAME = 4096  # characters of a name in a large set
_SPARSEST = 4000  # entries for each stored one, beyond which a number in the file is wrong


class TooLargeError(MemoryError):
    """An array is too large; the message is a phrase that says why."""


MAX_CLASSES = 1 << 22
"""More classes than any public data set has; a larger number is an error in the file."""


def zeros(path: Path, rows: int, classes: int, stored: int) -> np.ndarray:
    """An all-negative label matrix, int8 [rows, classes].

    Args:
        path: the file that defines its size, for messages.
        rows: N.
        classes: C.
        stored: the labels that the file holds.

    Raises:
        InputError: more than `MAX_CLASSES` classes, a matrix that is too large for these labels, or
            not enough memory.
    """
    check_classes(path, rows, classes)
    try:
        check_dense(rows * classes, stored, itemsize=1)
        return np.zeros((rows, classes), np.int8)
    except (MemoryError, ValueError):
        raise _too_large(path, rows, classes) from None


def name_array(path: Path, noun: str, names: Sequence[str]) -> np.ndarray:
    """Names as an array, unicode [N]; it takes the length of the longest name for each.

    Args:
        path: their file, for messages.
        noun: one of them, for messages.
        names: the names.

    Raises:
        InputError: a name of more than 4,096 characters that makes the array large.
    """
    longest = max(map(len, names), default=0)
    if longest > _MAX_NAME and len(names) * longest * 4 > _SMALL:
        name = next(name for name in names if len(name) == longest)
        raise InputError(
            f"{path}: the {noun} {name[:40]!r}... has {longest:,} characters; the limit is "
            f"{_MAX_NAME:,}."
        )
    return np.array(names, np.str_)


def check_memory(size: int) -> None:
    """Raise TooLargeError for an array of more bytes than the machine has.

    Linux would grant such an array, and end the process when its pages are used.
    """
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # unknown on this system
        return
    if size > physical:
        raise TooLargeError(f"{size:,} bytes are needed, and the machine has {physical:,}")


def check_dense(entries: int, stored: int, itemsize: int) -> None:
    """Raise TooLargeError if a sparse matrix is too large, or too empty, to become an array.

    Args:
        entries: the entries of the array.
        stored: those that the file stores.
        itemsize: bytes per entry.
    """
    if entries * itemsize > max(_SMALL, _SPARSEST * stored * itemsize):
        raise TooLargeError(f"{entries:,} entries for {stored:,} stored ones; is the shape right?")
    check_memory(entries * itemsize)


def check_classes(path: Path, rows: int, classes: int) -> None:
    """Raise for more than `MAX_CLASSES` classes."""
    if classes > MAX_CLASSES:
        raise _too_large(path, rows, classes)


def _too_large(path: Path, rows: int, classes: int) -> InputError:
    return InputError(
        f"{path}: there is not enough memory for {rows} images with {classes} classes; is the "
        f"number of classes right?"
    )
