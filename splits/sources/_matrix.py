"""Memory for the label matrix of a file in which the largest number defines the class count."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from splits.errors import InputError

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
    if classes <= MAX_CLASSES:
        try:
            return np.zeros((rows, classes), np.int8)
        except (MemoryError, ValueError):
            pass
    raise InputError(
        f"{path}: there is not enough memory for {rows} images with {classes} classes; is the "
        f"number of the last class right?"
    )
