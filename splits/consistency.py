"""Invariants of the regimes: whether observed labels can come from true ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from splits.labels import Labels, SparseLabels, dense, pairs, positives, take

_BLOCK = 1 << 18  # entries compared at a time: no large matrix becomes dense, blocks stay in cache


def contradictions(true: Labels, observed: Labels, kind: str, *, drawn: bool = True) -> list[str]:
    """The invariants of a regime that the labels violate.

    Args:
        true: true labels, int8 [N, C], dense or sparse. If both matrices are sparse, the work
            grows with the number of stored labels.
        observed: observed labels of the same shape, dense or sparse.
        kind: the kind of regime, as in `Regime.kind`.
        drawn: whether the regime drew the labels, and so left a positive in each image that has
            any; labels that the source observed itself need not.

    Returns:
        One phrase per violated invariant; an empty list if the labels are consistent.
    """
    problems: dict[str, None] = {}  # an ordered set
    for codes, seen in _blocks(true, observed):
        problems.update(dict.fromkeys(_entry_problems(codes, seen, kind)))
    if kind in ("ppl", "spl", "missing"):
        shown, present = (_positives_per_image(labels) for labels in (observed, true))
        if drawn and ((present > 0) & (shown == 0)).any():
            problems["an image with positives has none observed"] = None
        if kind == "spl" and (shown > 1).any():
            problems["an image has more than one observed positive"] = None
    return list(problems)


def _positives_per_image(labels: Labels) -> np.ndarray:
    if isinstance(labels, SparseLabels):
        return np.diff(positives(labels).indptr)
    return np.count_nonzero(labels == 1, axis=1)


def _blocks(true: Labels, observed: Labels) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """True and observed codes of all entries, in blocks."""
    if isinstance(true, SparseLabels) and isinstance(observed, SparseLabels):
        stored = 0
        for _, _, codes, seen in pairs(true, observed):
            stored += len(codes)
            yield codes, seen
        if stored < true.shape[0] * true.shape[1]:
            yield np.array([true.fill], np.int8), np.array([observed.fill], np.int8)
        return
    step = max(1, _BLOCK // true.shape[1])
    for start in range(0, true.shape[0], step):
        yield _rows(true, start, start + step), _rows(observed, start, start + step)


def _rows(labels: Labels, start: int, stop: int) -> np.ndarray:
    if isinstance(labels, SparseLabels):
        return dense(take(labels, np.arange(start, min(stop, len(labels)))))
    return labels[start:stop]


def _entry_problems(true: np.ndarray, seen: np.ndarray, kind: str) -> Iterator[str]:
    if kind == "candidates":
        if ((true == 1) & (seen != 1)).any():
            yield "a true positive is not a candidate"
        if ((seen == -1) != (true == -1)).any():
            yield "a label is unknown in one matrix and known in the other"
    elif ((seen != -1) & (seen != true)).any():
        yield "an observed label differs from the true one"
    if kind == "full" and not np.array_equal(seen, true):
        yield "the regime is full and a label is hidden"
    if kind in ("ppl", "spl", "missing") and (seen == 0).any():
        yield f"a negative is observed, which {kind} must not reveal"
