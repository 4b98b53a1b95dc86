"""Whether observed labels can come from true ones under a regime: the invariants of the laws."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from splits.labels import Labels, SparseLabels, dense, pairs, positives, take

_ENTRIES = 1 << 22  # compared at a time, so that a sparse matrix is never dense as a whole


def contradictions(true: Labels, observed: Labels, kind: str) -> list[str]:
    """What a regime never does and was found in the labels.

    Args:
        true: true labels, int8 [N, C], dense or sparse; where both are sparse, the work grows with
            the labels that they store.
        observed: observed labels of the same shape, dense or sparse.
        kind: the regime's, as in `Regime.kind`.

    Returns:
        One phrase per kind of contradiction; none where all is well.
    """
    found: dict[str, None] = {}  # each once, in the order of the rules
    for codes, seen in _blocks(true, observed):
        found.update(dict.fromkeys(_of_entries(codes, seen, kind)))
    shown, there = (np.diff(positives(labels).indptr) for labels in (observed, true))
    if kind in ("ppl", "spl", "missing") and ((there > 0) & (shown == 0)).any():
        found["an image with positives has none observed"] = None
    if kind == "spl" and (shown > 1).any():
        found["an image has more than one observed positive"] = None
    return list(found)


def _blocks(true: Labels, observed: Labels) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of codes, together every pair that occurs."""
    if isinstance(true, SparseLabels) and isinstance(observed, SparseLabels):
        stored = 0
        for _, _, codes, seen in pairs(true, observed):
            stored += len(codes)
            yield codes, seen
        if stored < true.shape[0] * true.shape[1]:
            yield np.array([true.fill], np.int8), np.array([observed.fill], np.int8)
        return
    step = max(1, _ENTRIES // true.shape[1])
    for start in range(0, true.shape[0], step):
        rows = np.arange(start, min(start + step, true.shape[0]))
        yield dense(take(true, rows)), dense(take(observed, rows))


def _of_entries(true: np.ndarray, seen: np.ndarray, kind: str) -> Iterator[str]:
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
        yield f"a negative is observed, which {kind} must not show"
