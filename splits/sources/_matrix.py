"""Room for the label matrix of a file whose numbers alone say how many classes there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from splits.errors import InputError

MOST_CLASSES = 1 << 22
"""More than any public data set has; what counts further is a wrong number, not a class."""


def zeros(path: Path, rows: int, classes: int) -> np.ndarray:
    """An all-negative label matrix, int8 [rows, classes].

    Args:
        path: the file that says how large it is.
        rows: N.
        classes: C.

    Raises:
        InputError: there are more than `MOST_CLASSES`, or no memory for them.
    """
    if classes <= MOST_CLASSES:
        try:
            return np.zeros((rows, classes), np.int8)
        except (MemoryError, ValueError):
            pass
    raise InputError(
        f"{path}: there is no room for {rows} images with {classes} classes; is the number of the "
        f"last class right?"
    )
