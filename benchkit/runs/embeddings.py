"""Class embeddings from a file: one row of numbers for each class of a split."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from benchkit.base.errors import BenchkitError
from benchkit.base.paths import regular_file
from splits import npy

MOST_COLUMNS = 16_384
"""The largest accepted E. A graph method has a weight matrix [E, 2048] for each run, with gradient
and optimiser state: 512 MiB at this size."""


def read(path: Path, classes: int) -> tuple[np.ndarray, str]:
    """Read class embeddings.

    Args:
        path: an .npy file of numbers [C, E], rows in the split's class order.
        classes: C.

    Returns:
        float32 [C, E], and the SHA-256 of its bytes.

    Raises:
        BenchkitError: the file is missing, unreadable or not a regular file, has the wrong shape
            or type, has more than `MOST_COLUMNS` columns, or holds a value that float32 cannot
            represent.
    """
    if not path.exists():
        raise BenchkitError(f"class embeddings {path} do not exist; give an .npy file of numbers")
    regular_file(path, "file of class embeddings")
    try:
        array = npy.load(path)
        if not isinstance(array, np.ndarray):
            raise ValueError("an .npz file")
    except MemoryError:
        raise BenchkitError(f"there is not enough memory for the class embeddings {path}") from None
    except npy.BROKEN_NPZ:
        raise BenchkitError(
            f"class embeddings {path} are not a readable .npy file of numbers; write one with "
            "numpy.save"
        ) from None
    if array.ndim == 2 and array.shape[1] > MOST_COLUMNS:
        raise BenchkitError(
            f"class embeddings {path} have {array.shape[1]:,} numbers for each class; at most "
            f"{MOST_COLUMNS:,} are accepted, so reduce them by a PCA, which loses nothing with as "
            "many components as classes"
        )
    if (
        array.dtype.kind not in "biuf"
        or array.ndim != 2
        or len(array) != classes
        or not array.shape[1]
    ):
        raise BenchkitError(
            f"class embeddings {path} are {array.dtype} of shape {list(array.shape)}; a row of "
            f"numbers for each of the split's {classes} classes is needed"
        )
    with np.errstate(over="ignore"):  # a value too large for float32 becomes infinite
        array = np.array(array, np.float32, order="C")
    finite = np.isfinite(array).all(1)
    if not finite.all():
        raise BenchkitError(
            f"class embeddings {path}: row {int(finite.argmin())} holds a value that is not a "
            "finite float32 number"
        )
    return array, hashlib.sha256(array.tobytes()).hexdigest()
