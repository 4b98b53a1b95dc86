"""Reads MATLAB files: labels as a matrix such as Y or target, optionally features.

MULAN-like data sets have `data` [N, D] and `target` [C, N]: a matrix is transposed if this makes
the labels fit the features. Files of version 7.3 are HDF5, which this package does not open; the
caller passes the function that does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from scipy.io import loadmat, whosmat

from splits.errors import InputError
from splits.source import TEST, TRAIN, VAL, Source
from splits.sources import _mat5, arrays
from splits.sources._matrix import TooLargeError, check_dense
from splits.sources._text import digests, need_file, read_names
from splits.sources.registry import Option

FORM = "mat:FILE.mat"
HELP = "A MATLAB file of matrices: labels Y, optionally features X; options set other names."
OPTIONS = {
    "labels": Option("Y", "the variable of the labels"),
    "features": Option("X", "the variable of the features, or none"),
    "split": Option("", "the variable of parts, 0 train, 1 test and 2 val"),
    "orientation": Option(
        "auto",
        "images are rows or columns; auto: whichever fits the features, else rows",
        ("auto", "rows", "columns"),
    ),
    "minus_one": Option(
        "auto",
        "the meaning of -1; auto: unknown if there is a 0, else an error",
        ("auto", "unknown", "negative"),
    ),
    "classes": Option(
        "", "a file with a class name per line; else class_0, class_1, ...", is_path=True
    ),
}
TOOLS = ("read_hdf5",)

Reader = Callable[[Path, Sequence[str]], Mapping[str, np.ndarray]]
"""(path, names) -> the arrays of these names in an HDF5 file; those of a group as `group/name`, and
its attributes as `group@name`."""

_HEADER = 128  # bytes
_HDF5 = b"MATLAB 7.3 MAT-file"
_CONTRADICTION = "its lists of rows, columns and values do not fit together"
_BROKEN = (OSError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError)


def load(
    path: Path,
    *,
    labels: str = "Y",
    features: str = "X",
    split: str = "",
    orientation: str = "auto",
    minus_one: str = "auto",
    classes: str = "",
    read_hdf5: Reader | None = None,
) -> Source:
    """Read a MATLAB file.

    Args:
        path: the file, of any version.
        labels: the variable of the labels, [N, C] or [C, N] of 1, 0 and -1; sparse or not.
        features: the variable of the features, [N, D] or [D, N]; "none" to read labels only.
        split: the variable of the parts, N numbers 0 (train), 1 (test) or 2 (val).
        orientation: "rows", "columns" or "auto", of the labels.
        minus_one: the meaning of -1: "unknown", "negative", or "auto" (unknown if there is a 0).
        classes: a file with a class name per line.
        read_hdf5: reads HDF5, the format of version 7.3; without it, such files are refused.

    Returns:
        The source; images are numbered.

    Raises:
        InputError: no such file, a damaged one, a variable that is missing or not a matrix of
            numbers, labels that fit the features in neither or both orientations, other labels.
    """
    path = Path(path)
    names = [name for name in (labels, features, split) if name and name != "none"]
    variables, all_names = _variables(path, names, read_hdf5)
    for name in names:
        value = variables.get(name)
        if value is None and (name, features) != ("X", "X"):
            shown = [text if text.isprintable() else repr(text) for text in all_names]
            known = ", ".join(shown) or "none of the requested variables"
            raise InputError(f"{path}: there is no variable {name!r}; there are {known}.")
        if value is not None and (value.ndim != 2 or value.dtype.kind not in "biuf"):
            raise InputError(
                f"{path}: the variable {name!r} must be a matrix of numbers, not {value.dtype} of "
                f"shape {value.shape}."
            )
    content = {"Y": _check_minus_one(path, labels, variables[labels], minus_one)}
    if features in variables:
        content["X"] = variables[features]
    content |= _images_in_rows(path, content, orientation)
    if split:
        content["split"] = _part_codes(path, split, variables[split].ravel())
    if classes:
        content["label_names"] = np.array(read_names(Path(classes), "class"))
    return arrays.from_arrays(
        content,
        path,
        path.stem,
        digests(path.parent, [path, *([Path(classes)] if classes else [])]),
        minus_one="negative" if minus_one == "negative" else "unknown",
    )


def _variables(
    path: Path, names: Sequence[str], read_hdf5: Reader | None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The variables of these names, and the names of all variables that can be listed."""
    need_file(path)
    with path.open("rb") as file:
        start = file.read(_HEADER)
    if start.startswith(_HDF5):
        if read_hdf5 is None:
            raise InputError(f"{path}: this is a MATLAB 7.3 file; save it with 'save -v7'.")
        variables = _from_hdf5(path, read_hdf5(path, names), names)
        return variables, list(variables)
    try:
        if _mat5.is_level_5(start):
            return _mat5.read(path, names)
        return _level_4(path, names)
    except _mat5.DamagedError as error:
        raise InputError(f"{path}: this is not a MATLAB file, or it is damaged: {error}.") from None
    except TooLargeError as error:
        raise InputError(f"{path}: there is not enough memory for a matrix ({error}).") from None
    except MemoryError:
        raise InputError(f"{path}: there is not enough memory for a matrix.") from None


def _level_4(path: Path, names: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """The variables of a file of MATLAB 4; SciPy reads them in Python."""
    try:
        listed = whosmat(path)
        size = path.stat().st_size
        if any(math.prod(shape) > size for _, shape, kind in listed if kind != "sparse"):
            raise _mat5.DamagedError("a variable declares more numbers than the file has bytes")
        content = loadmat(path, variable_names=list(names))
    except (MemoryError, _mat5.DamagedError):
        raise
    except Exception:  # its reader raises many types on damaged files
        raise _mat5.DamagedError("a variable is truncated or has a damaged header") from None
    variables = {
        name: _array(path, name, value)
        for name, value in content.items()
        if not name.startswith("__")
    }
    return variables, [name for name, _, _ in listed]


def _array(path: Path, name: str, value: Any) -> np.ndarray:
    """A variable as an array.

    The indices of a sparse matrix are checked, because SciPy would write out of bounds.
    """
    try:
        if not sparse.issparse(value):
            return np.asarray(value)
        # Rows or columns without entries take memory too, for the column pointers.
        check_dense(
            math.prod(max(size, 1) for size in value.shape), value.nnz, value.dtype.itemsize
        )
        matrix = sparse.csc_array(value)
        matrix.check_format(full_check=True)
        array: np.ndarray = matrix.toarray()
        return array
    except TooLargeError as error:
        raise _damaged(path, name, str(error)) from None
    except _BROKEN:
        raise _damaged(path, name, _CONTRADICTION) from None


def _damaged(path: Path, name: str, reason: str) -> InputError:
    return InputError(f"{path}: the sparse variable {name!r} is damaged ({reason}).")


def _from_hdf5(
    path: Path, content: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """The matrices as in MATLAB; HDF5 stores dense ones transposed and sparse ones by column."""
    variables = {}
    for name in names:
        if name in content:
            variables[name] = content[name].T
        elif f"{name}/jc" in content:
            variables[name] = _array(path, name, _sparse(path, content, name))
    return variables


def _sparse(path: Path, content: Mapping[str, np.ndarray], name: str) -> sparse.csc_array:
    """A sparse matrix; its indices are not checked yet."""
    empty = np.zeros(0)
    values = content.get(f"{name}/data", empty)
    try:
        starts = content[f"{name}/jc"].astype(np.int64)
        rows = content.get(f"{name}/ir", empty).astype(np.int64)
        shape = (int(content[f"{name}@MATLAB_sparse"]), len(starts) - 1)
        return sparse.csc_array((values, rows, starts), shape=shape)
    except _BROKEN:
        raise _damaged(path, name, _CONTRADICTION) from None


def _part_codes(path: Path, name: str, parts: np.ndarray) -> np.ndarray:
    """The parts as integers; MATLAB stores numbers as floats by default."""
    wrong = (parts != TRAIN) & (parts != TEST) & (parts != VAL)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{path}: the variable {name!r} is {parts[row]} for image {row}; it must be 0 (train), "
            f"1 (test) or 2 (val)."
        )
    return parts.astype(np.int64)


def _check_minus_one(path: Path, name: str, labels: np.ndarray, minus_one: str) -> np.ndarray:
    if minus_one == "auto" and (labels == -1).any() and not (labels == 0).any():
        raise InputError(
            f"{path}: the variable {name!r} has the labels 1 and -1 and no 0; define -1 with "
            f"minus_one=negative or minus_one=unknown."
        )
    return labels


def _images_in_rows(
    path: Path, matrices: Mapping[str, np.ndarray], orientation: str
) -> dict[str, np.ndarray]:
    """The labels, and the features if there are any, with images in rows."""
    labels, features = matrices["Y"], matrices.get("X")
    if orientation == "columns":
        labels = labels.T
    if features is None:
        return {"Y": labels}
    if orientation == "auto":
        fits_as_rows, fits_as_columns = (size == len(features) for size in labels.shape)
        if fits_as_rows and fits_as_columns:
            raise InputError(
                f"{path}: images could be rows or columns, because there are as many classes as "
                f"images, {len(labels)}; use orientation=rows or orientation=columns."
            )
        if fits_as_columns or (not fits_as_rows and labels.shape[1] == features.shape[1]):
            labels = labels.T
    if len(labels) != len(features) and len(labels) == features.shape[1]:
        features = features.T
    return {"Y": labels, "X": features}
