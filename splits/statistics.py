"""Counts of a label matrix: only known positives (code 1) count, unknown labels never do."""

from __future__ import annotations

import numpy as np

from splits.errors import InputError
from splits.labels import Labels, SparseLabels, counts, positives


def check_labels(labels: Labels) -> None:
    """Refuse anything but a non-empty matrix [N, C] of the label codes.

    Args:
        labels: the label matrix, [N, C], codes 1, 0, -1, dense or sparse.

    Raises:
        InputError: not two-dimensional, empty, not whole numbers, or another code.
    """
    if len(labels.shape) != 2 or 0 in labels.shape:
        raise InputError(
            f"A label matrix needs at least one image and one class, [N, C], not shape "
            f"{labels.shape}."
        )
    if isinstance(labels, SparseLabels):
        return  # its codes were checked when it was made
    if labels.dtype.kind not in "biu":
        raise InputError(f"A label matrix holds whole numbers (int8), not {labels.dtype}.")
    if labels.min() < -1 or labels.max() > 1:
        wrong = (labels < -1) | (labels > 1)
        row, column = np.unravel_index(int(wrong.argmax()), labels.shape)
        raise InputError(
            f"The label at row {row}, class {column} is {labels[row, column]}; a label is 1 "
            f"(positive), 0 (negative) or -1 (unknown)."
        )


def class_counts(labels: Labels) -> np.ndarray:
    """Number of positives of each class, n_c = sum_i [y_ic = 1].

    Args:
        labels: int8 [N, C], dense or sparse.

    Returns:
        int64 [C].
    """
    return counts(labels, 1)


def cardinality(labels: Labels) -> float:
    """Mean number of positives per image, (1/N) sum_ic [y_ic = 1].

    Args:
        labels: int8 [N, C], dense or sparse, with at least one row.

    Returns:
        The mean.
    """
    return float(counts(labels, 1).sum() / labels.shape[0])


def cooccurrence(labels: Labels) -> np.ndarray:
    """Number of images that show two classes together, M_jk = sum_i [y_ij = 1][y_ik = 1].

    Args:
        labels: int8 [N, C], dense or sparse.

    Returns:
        int64 [C, C], symmetric, with the class counts on the diagonal.
    """
    positive = positives(labels)
    return (positive.T @ positive).toarray()


def imbalance_ratio(counts: np.ndarray) -> float:
    """Largest class count over the smallest one, max_c n_c / min_{c: n_c > 0} n_c.

    Args:
        counts: integers [C].

    Returns:
        The ratio, or NaN where no class has a positive. Classes without any are left out.
    """
    present = counts[counts > 0]
    return float(present.max() / present.min()) if present.size else float("nan")
