"""Observed labels that a source has of its own, beside the true ones.

No regime draws them, so two questions are answered here: whether they contradict the true labels,
and which kind of regime describes them, so that the methods for this kind run on them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from splits.errors import InputError
from splits.labels import Labels, SparseLabels, count_both, counts, dense, pairs, positives, take
from splits.regimes import Regime

_BLOCK = 1 << 22  # entries compared at a time
_DIGITS = 4  # of a measured level
_NAMES = {1: "positive", 0: "negative", -1: "unknown"}

# Rows, columns, true codes and observed codes of some entries.
_Entries = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def first_conflict(
    true: Labels, observed: Labels, rows: np.ndarray, candidates: bool
) -> tuple[int, int, str] | None:
    """The first entry whose observed label contradicts the true one.

    A known observed label must equal the true one. Candidates must be known and contain every true
    positive, and the true labels must be known there too.

    Args:
        true: true labels, [N, C], dense or sparse.
        observed: observed labels, [N, C], dense or sparse.
        rows: the rows to compare, ascending.
        candidates: whether the positives of `observed` are candidates.

    Returns:
        Row, column and a phrase, or None if there is no contradiction.
    """
    for row, column, codes, seen in _entries(take(true, rows), take(observed, rows)):
        if candidates:
            wrong = ((codes == 1) & (seen != 1)) | (codes == -1) | (seen == -1)
        else:
            wrong = (seen != -1) & (seen != codes)
        if wrong.any():
            entry = int(wrong.argmax())
            reason = _reason(int(codes[entry]), int(seen[entry]), candidates)
            return int(rows[row[entry]]), int(column[entry]), reason
    return None


def _reason(code: int, seen: int, candidates: bool) -> str:
    if not candidates:
        return f"the observed label is {_NAMES[seen]}, but the true label is {_NAMES[code]}"
    if seen == -1:
        return "a candidate label must be 1 or 0, not unknown"
    if code == -1:
        return "the true label is unknown; candidates need known true labels in train and val"
    return "the true label is positive, but the class is not a candidate"


def _entries(true: Labels, observed: Labels) -> Iterator[_Entries]:
    """All entries in blocks; of two sparse matrices, the stored ones and one that is not."""
    rows, classes = true.shape
    if isinstance(true, SparseLabels) and isinstance(observed, SparseLabels):
        previous = -1
        missing = None
        for row, column, codes, seen in pairs(true, observed):
            yield row, column, codes, seen
            keys = row * classes + column
            gaps = np.flatnonzero(np.diff(keys, prepend=previous) > 1)
            if missing is None and len(gaps):
                missing = int(keys[gaps[0]]) - 1
            previous = int(keys[-1]) if len(keys) else previous
        if missing is None and previous < rows * classes - 1:
            missing = rows * classes - 1
        if missing is not None:
            row, column = divmod(missing, classes)
            fills = (np.array([true.fill]), np.array([observed.fill]))
            yield np.array([row]), np.array([column]), *fills
        return
    step = max(1, _BLOCK // classes)
    for start in range(0, rows, step):
        block = np.arange(start, min(start + step, rows))
        row, column = np.indices((len(block), classes)).reshape(2, -1)
        codes, seen = (dense(take(labels, block)).reshape(-1) for labels in (true, observed))
        yield row + start, column, codes, seen


def regime(true: Labels, observed: Labels, candidates: bool) -> Regime:
    """The regime that describes observed labels without contradictions, with its measured level.

        candidates:RHO  for candidates; RHO is the share of the negatives that are candidates
        full            every known label is observed
        pal:R           a negative is observed; R is the share of the known labels observed
        spl             only positives are observed, one in each image that has any
        missing:Q       only positives are observed; Q is the share of the positives dropped

    Args:
        true: true labels, [N, C], dense or sparse.
        observed: observed labels, [N, C], dense or sparse.
        candidates: whether the positives of `observed` are candidates.

    Returns:
        The regime. The level is rounded to 4 digits.

    Raises:
        InputError: no positive is observed, or every label is a candidate.
    """
    shown, negatives = counts(observed, 1).sum(), counts(observed, 0).sum()
    if not shown:
        raise InputError("No positive label is observed in the training images.")
    if candidates:
        total = counts(true, 0).sum()
        if shown == true.shape[0] * true.shape[1]:
            raise InputError("Every class is a candidate of every training image.")
        return Regime("candidates", _rounded(count_both(true, observed, 0).sum(), total))
    positive, known = counts(true, 1).sum(), counts(true, 1).sum() + counts(true, 0).sum()
    if shown + negatives == known:
        return Regime("full")
    if negatives:
        return Regime("pal", _rounded(shown + negatives, known))
    per_image, present = (np.diff(positives(labels).indptr) for labels in (observed, true))
    if np.array_equal(per_image, np.minimum(present, 1)):
        return Regime("spl")
    return Regime("missing", _rounded(positive - shown, positive))


def _rounded(part: int, total: int) -> float:
    """A share in [0, 1]; 0 or 1 only if it is exactly that."""
    if not total or part in (0, total):
        return float(part / total) if total else 0.0
    least = 10.0**-_DIGITS
    return round(min(max(float(part / total), least), 1 - least), _DIGITS)
