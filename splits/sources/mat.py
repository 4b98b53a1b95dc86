"""Reads MATLAB files: labels as a matrix Y or target, perhaps features as X or data.

MULAN-like sets keep `data` [N, D] and `target` [C, N]: a matrix is turned where that makes its
images fit the features. Files of version 7.3 are HDF5, which this room does not open; `read` does.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from scipy.io import loadmat, whosmat
from scipy.io.matlab import MatReadError

from splits.errors import InputError
from splits.source import Source
from splits.sources import arrays
from splits.sources._text import digests, need_file, read_names
from splits.sources.registry import Option

FORM = "mat:FILE.mat"
HELP = "A MATLAB file of matrices: labels Y, perhaps features X, or as options name them."
OPTIONS = {
    "labels": Option("Y", "the variable of the labels"),
    "features": Option("X", "the variable of the features, or none"),
    "split": Option("", "the variable of parts, 0 train and 1 test"),
    "orientation": Option(
        "auto",
        "images are rows, or columns; auto: as the labels fit the features, else rows",
        ("auto", "rows", "columns"),
    ),
    "minus_one": Option(
        "auto",
        "what -1 stands for; auto: unknown, and refused where there is no 0",
        ("auto", "unknown", "negative"),
    ),
    "classes": Option(
        "", "a file with a class name per line; else class_0, class_1, ...", record="name"
    ),
}
NEEDS_HDF5 = True

Reader = Callable[[Path, Sequence[str]], Mapping[str, np.ndarray]]
"""Gives the arrays of an HDF5 file among some names; a group's as `group/name`, its attributes as
`group@name`."""

_HDF5 = b"MATLAB 7.3 MAT-file"
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    NotImplementedError,
    ArithmeticError,
    MemoryError,
    MatReadError,
    zlib.error,
)


def load(
    path: Path,
    *,
    labels: str = "Y",
    features: str = "X",
    split: str = "",
    orientation: str = "auto",
    minus_one: str = "auto",
    classes: str = "",
    read: Reader | None = None,
) -> Source:
    """Read a MATLAB file.

    Args:
        path: the file, of any version.
        labels: the variable of the labels, [N, C] or [C, N] of 1, 0 and -1; sparse or not.
        features: the variable of the features, [N, D] or [D, N]; "none" to leave them.
        split: the variable of the parts, N zeros (train) and ones (test).
        orientation: "rows", "columns" or "auto", of the labels.
        minus_one: what -1 stands for: "unknown", "negative", or "auto" (unknown if there is a 0).
        classes: a file with a class name per line.
        read: opens HDF5, which files of version 7.3 are.

    Returns:
        The source; images are numbered.

    Raises:
        InputError: no such file, a damaged one, a variable that is missing or no matrix of
            numbers, labels that do not fit the features either way or both ways, other labels.
    """
    path = Path(path)
    wanted = [name for name in (labels, features, split) if name and name != "none"]
    found = _variables(path, wanted, read)
    for name in wanted:
        if name not in found and (name, features) != ("X", "X"):
            known = ", ".join(_names(path) or found) or "none of those asked for"
            raise InputError(f"{path}: there is no variable {name!r}; there are {known}.")
        if name in found and (found[name].ndim != 2 or found[name].dtype.kind not in "biuf"):
            raise InputError(
                f"{path}: the variable {name!r} must be a matrix of numbers, not "
                f"{found[name].dtype} of shape {found[name].shape}."
            )
    chosen = {"Y": _codes(path, labels, found[labels], minus_one)}
    if features in found:
        chosen["X"] = found[features]
    chosen |= _turned(path, chosen, orientation)
    if split:
        chosen["split"] = _whole(path, split, found[split].ravel())
    if classes:
        chosen["label_names"] = np.array(read_names(Path(classes), "class"))
    found_digests = digests(path.parent, [path, *([Path(classes)] if classes else [])])
    return arrays.from_arrays(
        chosen,
        path,
        path.stem,
        found_digests,
        minus_one="negative" if minus_one == "negative" else "unknown",
    )


def _variables(path: Path, wanted: Sequence[str], read: Reader | None) -> dict[str, np.ndarray]:
    need_file(path)
    with path.open("rb") as file:
        new = file.read(len(_HDF5)) == _HDF5
    if new:
        if read is None:
            raise InputError(f"{path}: this is a MATLAB 7.3 file; save it with 'save -v7'.")
        return _from_hdf5(path, read(path, wanted), wanted)
    try:
        content = loadmat(path, variable_names=list(wanted))
    except _BROKEN as error:
        raise InputError(
            f"{path}: this is not a MATLAB file, or it was cut off ({error})."
        ) from None
    variables = {name: value for name, value in content.items() if not name.startswith("__")}
    return {name: _full(path, name, value) for name, value in variables.items()}


def _names(path: Path) -> list[str]:
    """The names of all variables; none for a file of version 7.3."""
    try:
        return [name for name, _, _ in whosmat(path)]
    except _BROKEN:
        return []


def _full(path: Path, name: str, value: Any) -> np.ndarray:
    """A variable as an array; a sparse one is checked, for SciPy writes wherever it points."""
    try:
        if not hasattr(value, "check_format"):
            return np.asarray(value)
        value.check_format(full_check=True)
        full: np.ndarray = value.toarray()
        return full
    except _BROKEN as error:
        raise _damaged(path, name, error) from None


def _damaged(path: Path, name: str, error: Exception) -> InputError:
    reason = str(error).strip("'\"")
    return InputError(f"{path}: the sparse variable {name!r} is damaged ({reason}).")


def _from_hdf5(
    path: Path, content: Mapping[str, np.ndarray], wanted: Sequence[str]
) -> dict[str, np.ndarray]:
    """Matrices as MATLAB shows them: HDF5 has their axes reversed, and sparse ones in columns."""
    found = {}
    for name in wanted:
        if name in content:
            found[name] = content[name].T
        elif f"{name}/jc" in content:
            found[name] = _full(path, name, _sparse(path, content, name))
    return found


def _sparse(path: Path, content: Mapping[str, np.ndarray], name: str) -> sparse.csc_array:
    """A sparse matrix, whose places are not checked yet."""
    empty = np.zeros(0)
    values = content.get(f"{name}/data", empty)
    try:
        starts = content[f"{name}/jc"].astype(np.int64)
        places = content.get(f"{name}/ir", empty).astype(np.int64)
        shape = (int(content[f"{name}@MATLAB_sparse"]), len(starts) - 1)
        return sparse.csc_array((values, places, starts), shape=shape)
    except _BROKEN as error:
        raise _damaged(path, name, error) from None


def _whole(path: Path, name: str, numbers: np.ndarray) -> np.ndarray:
    """MATLAB's numbers, which are floats unless somebody takes care, as integers."""
    odd = (numbers != 0) & (numbers != 1)
    if odd.any():
        at = int(odd.argmax())
        raise InputError(
            f"{path}: the variable {name!r} is {numbers[at]} for image {at}; it is 0 (train) or 1 "
            f"(test)."
        )
    return numbers.astype(np.int64)


def _codes(path: Path, name: str, labels: np.ndarray, minus_one: str) -> np.ndarray:
    if minus_one == "auto" and (labels == -1).any() and not (labels == 0).any():
        raise InputError(
            f"{path}: the variable {name!r} has the labels 1 and -1 and no 0; say what -1 stands "
            f"for with minus_one=negative or minus_one=unknown."
        )
    return labels


def _turned(
    path: Path, matrices: Mapping[str, np.ndarray], orientation: str
) -> dict[str, np.ndarray]:
    """The labels, and the features where there are any, with images in rows."""
    labels, features = matrices["Y"], matrices.get("X")
    if orientation == "columns":
        labels = labels.T
    if features is None:
        return {"Y": labels}
    if orientation == "auto":
        as_is, turned = (size == len(features) for size in labels.shape)
        if as_is and turned:
            raise InputError(
                f"{path}: {len(labels)} images with as many classes could stand in rows or in "
                f"columns; give orientation=rows or orientation=columns."
            )
        if turned or (not as_is and labels.shape[1] == features.shape[1]):
            labels = labels.T
    if len(labels) != len(features) and len(labels) == features.shape[1]:
        features = features.T
    return {"Y": labels, "X": features}
