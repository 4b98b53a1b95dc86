"""Scores to numbers: average precision, shot groups, threshold metrics. NumPy only.

AP is scikit-learn's: AP = sum_k (R_k - R_{k-1}) P_k over distinct thresholds in descending order,
ties entering together, no interpolation. Every positive of a tie adds 1/n to the recall at the
precision of its threshold, so AP is the mean over positives of

    (positives scoring at least s) / (images scoring at least s),   s the positive's own score,

which needs the ranks of the positives only. They come without sorting everything: scores are cut
into equal bins, whole bins above a positive's are counted, and only what shares a bin with some
positive is sorted. Rounding is monotone, so a score in a higher bin is a higher score and ties fall
into one bin: the ranks are exact, whatever the bins.
"""

from __future__ import annotations

from typing import Any

import numpy as np

METRIC_VERSION = "1"

_BINS = 1 << 16  # as many as a 16-bit integer tells apart
_FEW = 1 << 12  # below this many scores, sorting all of them is quicker


def average_precision(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Average precision per class.

    Args:
        scores: float [N, C], the higher the more positive; finite.
        labels: int8 [N, C]: 1 positive, 0 negative, -1 unknown (left out of its class).

    Returns:
        float64 [C]; NaN for a class without positives.

    Raises:
        ValueError: shapes differ, or a score is not finite.
    """
    if scores.shape != labels.shape or scores.ndim != 2:
        raise ValueError(f"scores {scores.shape} and labels {labels.shape} must both be [N, C]")
    if not np.isfinite(scores).all():
        row, column = np.argwhere(~np.isfinite(scores))[0]
        raise ValueError(f"the score in row {row}, class {column} is not finite")
    if scores.dtype.itemsize < 4 or scores.dtype.kind != "f":
        scores = scores.astype(np.float64)  # also because NumPy has been seen to missort float16
    ap = np.full(scores.shape[1], np.nan)
    # Columns as rows: the sort then runs over contiguous memory.
    for c, (score, label) in enumerate(
        zip(np.ascontiguousarray(scores.T), np.ascontiguousarray(labels.T), strict=True)
    ):
        if (label < 0).any():
            score, label = score[label >= 0], label[label >= 0]
        positive = np.sort(score[label == 1])
        if positive.size:
            hits = positive.size - np.searchsorted(positive, positive, side="left")
            ap[c] = (hits / _ranks(score, positive)).mean()
    return ap


def _ranks(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """How many of `score` [N] are at least as high as each of `positive`, sorted ascending."""
    low = score.min()
    with np.errstate(all="ignore"):
        span = score.max() - low
        scale = np.divide(_BINS - 1, span).astype(score.dtype)
        top = span * scale
    # Scores that are all equal, or too close or too far apart for the arithmetic, are sorted.
    if score.size < _FEW or not 0 < top < _BINS:
        return score.size - np.searchsorted(np.sort(score), positive, side="left")
    bins = ((score - low) * scale).astype(np.uint16)
    own = ((positive - low) * scale).astype(np.uint16)
    above = score.size - np.cumsum(np.bincount(bins, minlength=_BINS))
    shared = np.zeros(_BINS, bool)
    shared[own] = True
    near = np.sort(score[shared[bins]])
    near_bins = ((near - low) * scale).astype(np.uint16)
    last = np.searchsorted(near_bins, own, side="right")
    return above[own] + last - np.searchsorted(near, positive, side="left")


def _mean(values: np.ndarray) -> float | None:
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else None


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def threshold_metrics(scores: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 at probability 0.5 (logit 0), micro and macro.

    Macro means run over the classes with a test positive, as mAP does; an empty ratio is 0.
    """
    predicted, known = scores > 0, labels >= 0
    positive = labels == 1
    hit = (predicted & positive).sum(0).astype(float)
    called = (predicted & known).sum(0).astype(float)
    real = positive.sum(0).astype(float)
    defined = real > 0
    precision = np.divide(hit, called, out=np.zeros_like(hit), where=called > 0)
    recall = np.divide(hit, real, out=np.zeros_like(hit), where=real > 0)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(hit), where=total > 0)
    micro_p, micro_r = _ratio(hit.sum(), called.sum()), _ratio(hit.sum(), real.sum())
    return {
        "micro": {
            "precision": micro_p,
            "recall": micro_r,
            "f1": _ratio(2 * micro_p * micro_r, micro_p + micro_r),
        },
        "macro": {
            "precision": _mean(precision[defined]) or 0.0,
            "recall": _mean(recall[defined]) or 0.0,
            "f1": _mean(f1[defined]) or 0.0,
        },
    }


def evaluate(scores: np.ndarray, labels: np.ndarray, shot: np.ndarray) -> dict[str, Any]:
    """Everything a run record says about its test scores.

    Args:
        scores: float [N, C] logits.
        labels: int8 [N, C].
        shot: [C], 0 many, 1 medium, 2 few.

    Returns:
        Fractions in [0, 1]; None where no class of a group has a test positive.
    """
    ap = average_precision(scores, labels)
    groups = [_mean(ap[shot == group]) for group in (0, 1, 2)]
    known = [value for value in groups if value is not None]
    return {
        "map": _mean(ap),
        "map_many": groups[0],
        "map_medium": groups[1],
        "map_few": groups[2],
        "map_groups_average": float(np.mean(known)) if len(known) == 3 else None,
        "undefined_classes": int(np.isnan(ap).sum()),
        "ap": [None if np.isnan(value) else float(value) for value in ap],
        **threshold_metrics(scores, labels),
    }
