"""Metrics from scores and labels: average precision, shot groups, precision, recall and F1.

NumPy only. Average precision (AP) follows scikit-learn: AP = sum_k (R_k - R_{k-1}) P_k over the
distinct thresholds in descending order, where tied scores share a threshold and nothing is
interpolated. Every positive with score s adds 1/n to the recall at the precision of its threshold,
so AP is the mean over the positives of

    (positives scoring at least s) / (images scoring at least s).

This needs the ranks of the positives only, and no full sort: the scores are divided into bins of
equal width, the bins above that of a positive are counted, and only the scores that share a bin
with a positive are sorted. Rounding is monotone: a score in a higher bin is a higher score, and
tied scores share a bin. The ranks are therefore exact for any number of bins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from leaderboard.record_parts import SHOTS

METRIC_VERSION = "1"

_BINS = 1 << 16  # the number of values of a 16-bit integer
_FEW = 1 << 12  # below this number of scores, sorting all of them is faster


def average_precision(scores: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Average precision of every class.

    Args:
        scores: float [N, C], finite; higher means more positive.
        labels: int8 [N, C]: 1 positive, 0 negative, -1 unknown. An unknown label is left out of
            its class.

    Returns:
        float64 [C]; NaN for a class without positives.

    Raises:
        ValueError: the shapes differ, or a score is not finite.

    Example:
        >>> scores = [[0.9, 0.2], [0.8, 0.6], [0.1, 0.4]]
        >>> labels = [[1, 0], [0, 0], [1, 1]]
        >>> average_precision(scores, labels).round(3)
        array([0.833, 0.5  ])
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.shape != labels.shape or scores.ndim != 2:
        raise ValueError(f"scores {scores.shape} and labels {labels.shape} must both be [N, C]")
    if not np.isfinite(scores).all():
        row, column = np.argwhere(~np.isfinite(scores))[0]
        raise ValueError(f"the score in row {row}, class {column} is not finite")
    if scores.dtype.itemsize < 4 or scores.dtype.kind != "f":
        # float16 is converted as well: NumPy has been seen to sort it wrongly.
        scores = scores.astype(np.float64)
    ap = np.full(scores.shape[1], np.nan)
    # Columns become rows, so that sorting runs over contiguous memory.
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
    """The number of scores [N] that are at least as high as each positive, sorted ascending."""
    low = score.min()
    with np.errstate(all="ignore"):
        span = score.max() - low
        scale = np.divide(_BINS - 1, span).astype(score.dtype)
        top = span * scale
    # Scores that are all equal, or too close together or too far apart for bins, are sorted.
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


def _ratio(part: float, total: float) -> float:
    return float(part / total) if total else 0.0


def threshold_metrics(scores: ArrayLike, labels: ArrayLike) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 at a probability of 0.5 (logit 0), micro and macro.

    A macro value is the mean over the classes with a positive label, as for mAP. A ratio with an
    empty denominator is 0.

    Args:
        scores: float [N, C] logits.
        labels: int8 [N, C]: 1 positive, 0 negative, -1 unknown.

    Returns:
        `micro` and `macro`, each with `precision`, `recall` and `f1`.

    Example:
        >>> threshold_metrics([[2.0], [1.0], [-1.0]], [[1], [0], [1]])["micro"]
        {'precision': 0.5, 'recall': 0.5, 'f1': 0.5}
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    predicted, known = scores > 0, labels >= 0
    positive = labels == 1
    hits = (predicted & positive).sum(0).astype(float)
    predictions = (predicted & known).sum(0).astype(float)
    positives = positive.sum(0).astype(float)
    defined = positives > 0
    precision = np.divide(hits, predictions, out=np.zeros_like(hits), where=predictions > 0)
    recall = np.divide(hits, positives, out=np.zeros_like(hits), where=defined)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(hits), where=total > 0)
    micro_precision = _ratio(hits.sum(), predictions.sum())
    micro_recall = _ratio(hits.sum(), positives.sum())
    return {
        "micro": {
            "precision": micro_precision,
            "recall": micro_recall,
            "f1": _ratio(2 * micro_precision * micro_recall, micro_precision + micro_recall),
        },
        "macro": {
            "precision": _mean(precision[defined]) or 0.0,
            "recall": _mean(recall[defined]) or 0.0,
            "f1": _mean(f1[defined]) or 0.0,
        },
    }


def summary(scores: ArrayLike, labels: ArrayLike, shot: ArrayLike) -> dict[str, Any]:
    """All metrics of a run record.

    Args:
        scores: float [N, C] logits, finite.
        labels: int8 [N, C]: 1 positive, 0 negative, -1 unknown.
        shot: [C], the shot group of every class: "many", "medium", "few", or 0, 1, 2.

    Returns:
        Fractions from 0 to 1, None where undefined: `map` (mean AP over the classes with a
        positive), `map_many`, `map_medium`, `map_few`, `map_groups_average` (the mean of the three
        groups), `undefined_classes` (the number of classes without a positive), `ap` (a list), and
        the values of `threshold_metrics`.

    Raises:
        ValueError: the shapes do not fit, a score is not finite, or a shot group is unknown.

    Example:
        >>> scores = [[2.0, -1.0, 1.0], [1.0, 0.5, 2.0], [-1.0, -2.0, 3.0]]
        >>> labels = [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
        >>> result = summary(scores, labels, ["many", "medium", "few"])
        >>> result["map_many"], result["map_medium"], round(result["map_few"], 3)
        (1.0, 1.0, 0.333)
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    ap = average_precision(scores, labels)
    codes = _shot_codes(shot, len(ap))
    groups = [_mean(ap[codes == code]) for code in range(len(SHOTS))]
    defined = [value for value in groups if value is not None]
    return {
        "map": _mean(ap),
        **{f"map_{name}": value for name, value in zip(SHOTS, groups, strict=True)},
        "map_groups_average": float(np.mean(defined)) if len(defined) == len(SHOTS) else None,
        "undefined_classes": int(np.isnan(ap).sum()),
        "ap": [None if np.isnan(value) else float(value) for value in ap],
        **threshold_metrics(scores, labels),
    }


def _shot_codes(shot: ArrayLike, classes: int) -> np.ndarray:
    """Shot groups as positions in `SHOTS`."""
    groups = np.asarray(shot)
    if groups.shape != (classes,):
        raise ValueError(f"shot {groups.shape} must be [C], with C = {classes} classes")
    names = np.array(SHOTS) if groups.dtype.kind == "U" else np.arange(len(SHOTS))
    unknown = ~np.isin(groups, names)
    if unknown.any():
        c = int(unknown.argmax())
        raise ValueError(
            f"the shot group {groups[c].item()!r} of class {c} is not one of {', '.join(SHOTS)} "
            "or 0, 1, 2"
        )
    return (groups[:, None] == names[None, :]).argmax(1)
