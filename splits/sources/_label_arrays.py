"""Label matrices from arrays: dense, or sparse in compressed rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from splits.errors import InputError
from splits.labels import Labels, SparseLabels
from splits.sources._matrix import check_classes, zeros

CODES = {"positive": 1, "negative": 0, "unknown": -1}
DENSE_ENTRIES = 1 << 28
"""Sparse labels without `values` and `fill` are stored as a dense matrix below this size."""


def read_dense(path: Path, name: str, labels: np.ndarray) -> np.ndarray:
    """A dense label matrix, int8 [N, C].

    Args:
        path: its file, for messages.
        name: its key, for messages.
        labels: numbers [N, C].

    Raises:
        InputError: not a matrix of numbers, or a number other than 1, 0 and -1.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "biuf":
        raise InputError(
            f"{path}: {name!r} must be a matrix of numbers [N, C], not {labels.dtype} of shape "
            f"{labels.shape}."
        )
    if not labels.size:
        raise InputError(
            f"{path}: the set is empty ({labels.shape[0]} images, {labels.shape[1]} classes); at "
            f"least one of each is needed."
        )
    wrong = (labels != 0) & (labels != 1) & (labels != -1)
    if wrong.any():
        row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
        raise InputError(
            f"{path}: {name!r} has the label {labels[row, column]} at row {row}, class {column}; a "
            f"label must be 1 (positive), 0 (negative) or -1 (unknown)."
        )
    return labels.astype(np.int8)


def read_sparse(path: Path, arrays: Mapping[str, np.ndarray], shape: tuple[int, int]) -> Labels:
    """A label matrix in compressed rows.

    Row i has the codes `values[indptr[i] : indptr[i + 1]]` at the classes `indices[...]` of the
    same range, and the code `fill` everywhere else.

    Args:
        path: the file, for messages.
        arrays: `indptr` [N + 1] and `indices` [entries]; optionally `values` [entries], 1 by
            default, and `fill`, one number 0 or -1, 0 by default. SciPy's
            name for the values, `data`, is read as well.
        shape: N and C.

    Returns:
        Without `values` and `fill`, an array if it has fewer than `DENSE_ENTRIES` entries; else
        `SparseLabels`.

    Raises:
        InputError: arrays of other types or lengths, a class that is unknown or repeated in a row,
            another code.
    """
    arrays = _with_values(path, arrays)
    indptr, indices = _rows(path, arrays["indptr"], arrays["indices"], shape)
    check_classes(path, *shape)
    row = np.repeat(np.arange(shape[0]), np.diff(indptr))
    order = _order(path, row, indices, shape[1])
    if "values" not in arrays and "fill" not in arrays and shape[0] * shape[1] < DENSE_ENTRIES:
        labels = zeros(path, *shape, stored=len(indices))
        labels[row, indices] = 1
        return labels
    values, fill = _values(path, arrays.get("values"), row), _fill(path, arrays.get("fill"))
    if order is not None:
        row, indices, values = row[order], indices[order], values[order]
    return SparseLabels.from_triplets(row, indices, values, shape, fill)


def _with_values(path: Path, arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The arrays with SciPy's `data` as `values`, unless all of them are 1."""
    for key in ("indptr", "indices"):
        if key not in arrays:
            raise InputError(f"{path}: the sparse labels have no {key!r}.")
    kind = str(arrays["format"].astype(np.str_)) if "format" in arrays else "csr"
    if kind != "csr":
        raise InputError(
            f"{path}: the sparse labels have the format {kind!r}; save them in compressed rows, "
            f"with scipy.sparse.save_npz(FILE, matrix.tocsr())."
        )
    data = arrays.get("data")
    if "values" in arrays or data is None or (data.dtype.kind in "biuf" and (data == 1).all()):
        return arrays
    return {**arrays, "values": data}


def read_shape(path: Path, shape: np.ndarray) -> tuple[int, int]:
    """N and C from the array `shape`."""
    _integers(path, "shape", shape)
    if len(shape) != 2 or (shape < 1).any():
        raise InputError(
            f"{path}: 'shape' must be two numbers >= 1, images and classes, not {shape.tolist()}."
        )
    rows, classes = shape.tolist()
    return rows, classes


def recoded(path: Path, labels: Labels, minus_one: str, zero: str) -> Labels:
    """The labels after -1 and 0 got the meaning "positive", "negative" or "unknown".

    Raises:
        InputError: the fill value of sparse labels would become positive.
    """
    codes = np.array([CODES[zero], 1, CODES[minus_one]], np.int8)
    if not isinstance(labels, SparseLabels):
        return codes[labels]
    fill = int(codes[labels.fill])
    if fill == 1:
        raise InputError(
            f"{path}: zero=positive cannot be used with the fill value {labels.fill}, because "
            f"every label that is not stored would become positive."
        )
    rows, values = labels.row_numbers(), codes[labels.values]
    return SparseLabels.from_triplets(rows, labels.indices, values, labels.shape, fill)


def _integers(path: Path, key: str, array: np.ndarray) -> None:
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(
            f"{path}: {key!r} must be a list of integers, not {array.dtype} of shape {array.shape}."
        )


def _rows(
    path: Path, indptr: np.ndarray, indices: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Checked `indptr` and `indices`, int64."""
    for key, array in (("indptr", indptr), ("indices", indices)):
        _integers(path, key, array)
    rows, classes = shape
    indptr, indices = indptr.astype(np.int64), indices.astype(np.int64)
    if len(indptr) != rows + 1:
        raise InputError(
            f"{path}: 'indptr' has {len(indptr)} entries; {rows} images need {rows + 1}."
        )
    if indptr[0] != 0 or indptr[-1] != len(indices):
        raise InputError(
            f"{path}: 'indptr' must increase from 0 to the length of 'indices', {len(indices)}, "
            f"not from {indptr[0]} to {indptr[-1]}."
        )
    decreases = np.diff(indptr) < 0
    if decreases.any():
        raise InputError(
            f"{path}: 'indptr' decreases after row {int(decreases.argmax())}; it must increase."
        )
    outside = (indices < 0) | (indices >= classes)
    if outside.any():
        entry = int(outside.argmax())
        row = int(np.searchsorted(indptr, entry, side="right")) - 1
        raise InputError(
            f"{path}: 'indices' names class {indices[entry]} in row {row}; there are {classes} "
            f"classes, 0 to {classes - 1}."
        )
    return indptr, indices


def _order(path: Path, row: np.ndarray, indices: np.ndarray, classes: int) -> np.ndarray | None:
    """The order of ascending rows and classes; None if the entries have it already.

    Raises:
        InputError: a class occurs twice in a row.
    """
    keys = row * classes + indices
    if (np.diff(keys) > 0).all():
        return None
    order = np.argsort(keys, kind="stable")
    repeated = np.diff(keys[order]) == 0
    if repeated.any():
        entry = int(order[repeated.argmax()])
        raise InputError(
            f"{path}: 'indices' names class {indices[entry]} twice in row {row[entry]}; classes "
            f"must be unique."
        )
    return order


def _values(path: Path, values: np.ndarray | None, row: np.ndarray) -> np.ndarray:
    """The code of each entry, int8 [entries]."""
    if values is None:
        return np.ones(len(row), np.int8)
    if values.shape != row.shape or values.dtype.kind not in "biuf":
        raise InputError(
            f"{path}: 'values' must be {len(row)} numbers, one for each of 'indices', not "
            f"{values.dtype} of shape {values.shape}."
        )
    wrong = (values != 0) & (values != 1) & (values != -1)
    if wrong.any():
        entry = int(wrong.argmax())
        raise InputError(
            f"{path}: 'values' has the label {values[entry]} in row {row[entry]}; a label must be "
            f"1 (positive), 0 (negative) or -1 (unknown)."
        )
    return values.astype(np.int8)


def _fill(path: Path, fill: np.ndarray | None) -> int:
    if fill is None:
        return 0
    if fill.size != 1 or fill.dtype.kind not in "iuf" or fill.item() not in (0, -1):
        actual = fill.tolist() if fill.size < 8 else f"an array of shape {fill.shape}"
        raise InputError(f"{path}: 'fill' must be 0 (negative) or -1 (unknown), not {actual}.")
    return int(fill.item())
