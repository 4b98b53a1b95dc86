"""Whether observed labels can come from true ones under a regime: the invariants of the laws."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from splits.labels import Labels, dense, take

_ENTRIES = 1 << 22  # compared at a time, so that a sparse matrix is never dense as a whole


def contradictions(true: Labels, observed: Labels, kind: str) -> list[str]:
    """What a regime never does and was found in the labels.

    Args:
        true: true labels, int8 [N, C], dense or sparse.
        observed: observed labels of the same shape, dense or sparse.
        kind: the regime's, as in `Regime.kind`.

    Returns:
        One phrase per kind of contradiction; none where all is well.
    """
    step = max(1, _ENTRIES // true.shape[1])
    found: dict[str, None] = {}  # each once, in the order of the rules
    for start in range(0, true.shape[0], step):
        rows = np.arange(start, min(start + step, true.shape[0]))
        block = dense(take(true, rows)), dense(take(observed, rows))
        found.update(dict.fromkeys(_in_block(*block, kind)))
    return list(found)


def _in_block(true: np.ndarray, seen: np.ndarray, kind: str) -> Iterator[str]:
    if kind == "candidates":
        if ((true == 1) & (seen != 1)).any():
            yield "a true positive is not a candidate"
        if ((seen == -1) != (true == -1)).any():
            yield "a label is unknown in one matrix and known in the other"
    elif ((seen != -1) & (seen != true)).any():
        yield "an observed label differs from the true one"
    if kind == "full" and not np.array_equal(seen, true):
        yield "the regime is full and a label is hidden"
    if kind in ("ppl", "spl", "missing"):
        if (seen == 0).any():
            yield f"a negative is observed, which {kind} must not show"
        if ((true == 1).any(1) & ~(seen == 1).any(1)).any():
            yield "an image with positives has none observed"
    if kind == "spl" and ((seen == 1).sum(1) > 1).any():
        yield "an image has more than one observed positive"
