"""Counts of a label matrix, and a comparison of observed with true labels.

Only known positives (code 1) are counted as positives; unknown labels never are.
"""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np

from splits.errors import InputError
from splits.labels import Labels, SparseLabels, count_both, counts, positives


def check_labels(labels: Labels) -> None:
    """Check that a matrix [N, C] is not empty and holds label codes only.

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
        return  # SparseLabels checks its codes on creation
    if labels.dtype.kind not in "biu":
        raise InputError(f"A label matrix must hold whole numbers (int8), not {labels.dtype}.")
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
    """Number of images in which two classes are both positive, M_jk = sum_i [y_ij = 1][y_ik = 1].

    Args:
        labels: int8 [N, C], dense or sparse.

    Returns:
        int64 [C, C], symmetric, with the class counts on the diagonal.
    """
    positive = positives(labels)
    return (positive.T @ positive).toarray()


def imbalance_ratio(counts: np.ndarray) -> float:
    """Largest class count over the smallest, max_c n_c / min_{c: n_c > 0} n_c.

    Args:
        counts: integers [C].

    Returns:
        The ratio over the classes that have positives, or NaN if no class has.
    """
    present = counts[counts > 0]
    return float(present.max() / present.min()) if present.size else float("nan")


class Rates(TypedDict):
    """Shares of an observed label matrix; NaN where the denominator is 0."""

    observed: float
    positives_kept: float
    candidate_noise: float
    observed_by_class: np.ndarray
    positives_kept_by_class: np.ndarray
    candidate_noise_by_class: np.ndarray


def observed_rates(labels: Labels, observed: Labels) -> Rates:
    """How much an observed label matrix reveals, over all entries and per class.

        observed         share of entries that are not unknown
        positives_kept   share of the true positives that are observed as positive
        candidate_noise  share of the observed positives that are known not to be true

    Args:
        labels: true labels, int8 [N, C], dense or sparse.
        observed: observed labels, int8 [N, C], dense or sparse.

    Returns:
        The three shares as numbers, and each `_by_class` as float64 [C].

    Raises:
        InputError: matrices of different shapes.
    """
    if labels.shape != observed.shape:
        raise InputError(
            f"True and observed labels must have one shape, not {labels.shape} and "
            f"{observed.shape}."
        )
    known = labels.shape[0] - counts(observed, -1)
    shown, positive = counts(observed, 1), counts(labels, 1)
    kept, noise = count_both(labels, observed, 1), count_both(labels, observed, 0)
    entries = np.full(labels.shape[1], labels.shape[0])
    return Rates(
        observed=float(_share(known.sum(), entries.sum())),
        positives_kept=float(_share(kept.sum(), positive.sum())),
        candidate_noise=float(_share(noise.sum(), shown.sum())),
        observed_by_class=_share(known, entries),
        positives_kept_by_class=_share(kept, positive),
        candidate_noise_by_class=_share(noise, shown),
    )


def _share(part: np.ndarray, total: np.ndarray) -> np.ndarray:
    out = np.full(np.shape(total), math.nan)
    return np.divide(part, total, out=out, where=np.asarray(total) > 0)
