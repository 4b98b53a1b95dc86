"""Validation scores: the number by which a setting is chosen.

The rule `val` is the mAP on the true labels of the validation part. The rule `val-observed` uses
its observed labels only, those that an annotator would have given under the regime of the split. It
ranks settings as the mAP would, and most estimators are lower than the mAP. `CHOSEN` names the
estimator of each regime; docs/tuning.md has the study that chose them, and
`benchmarks/selection_study.py` repeats it.

Notation, for one class: N images with scores s; true labels y and observed labels o; P the observed
positives (or candidates), n their number; R_i the number of images that score at least s_i; h_i the
number of those in P. Image i counts in R_i and h_i. The true average precision is the mean of
h_i / R_i over the true positives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from leaderboard.metrics import average_precision
from splits.regimes import Regime

RULES = ("val", "val-observed")
"""The rules of `validation_score`."""

Estimator = Callable[[np.ndarray, np.ndarray, Regime], float | None]
"""(logits [N, C], observed labels int8 [N, C], regime) -> the score; None if it is undefined."""


def validation_score(
    logits: np.ndarray, labels: np.ndarray, regime: Regime, rule: str
) -> float | None:
    """The score of one setting on the validation part.

    Args:
        logits: float [N, C].
        labels: int8 [N, C], codes 1, 0 and -1: the true labels for the rule `val`, the observed
            labels for `val-observed`.
        regime: the regime of the split.
        rule: one of `RULES`.

    Returns:
        A number; higher is better. None if a logit is not finite or no class has a positive.

    Raises:
        ValueError: another rule, or shapes that differ.
    """
    if rule not in RULES:
        raise ValueError(f"the rule {rule!r} is not one of {', '.join(RULES)}")
    if not np.isfinite(logits).all():
        return None
    name = "known_labels" if rule == "val" else CHOSEN[regime.kind]
    return ESTIMATORS[name](np.asarray(logits), np.asarray(labels), regime)


# ----------------------------------------------------------------------------- all regimes but one


def known_labels(logits: np.ndarray, labels: np.ndarray, regime: Regime) -> float | None:
    """The mAP on the known labels alone: h_i / K_i, with K_i the known labels among R_i.

    With all labels known this is the mAP. Where each label is known with one probability (pal) it
    has no bias for many images; with few known positives it is too high, because image i itself
    always counts as a hit. It is undefined where only positives are known.
    """
    if not (labels == 0).any():
        return None
    return _mean(average_precision(logits, labels))


def known_precision(logits: np.ndarray, labels: np.ndarray, regime: Regime) -> float | None:
    """The mAP with the precision among the known labels, applied to all images.

        AP = mean over P of (1 + (R_i - 1) (h_i - 1) / (K_i - 1)) / R_i

    with K_i the known labels among R_i. If each label is known with one probability, the known
    images above i are a random sample of those above i, so a term has no bias if K_i > 1. If no
    other image is known, the quotient is taken as 0, which is too low by little, as R_i is small.
    """
    ap = np.full(logits.shape[1], np.nan)
    for c, score, label in _columns(logits, labels):
        positive = np.sort(score[label == 1])
        if positive.size:
            hits = positive.size - np.searchsorted(positive, positive)
            rank = _rank(score, positive)
            known = _rank(score[label >= 0], positive)
            precision = (hits - 1) / np.maximum(known - 1, 1)
            ap[c] = ((1 + (rank - 1) * precision) / rank).mean()
    return _mean(ap)


def unknown_as_negative(logits: np.ndarray, labels: np.ndarray, regime: Regime) -> float | None:
    """The mAP with every unknown label as a negative: the mean of h_i / R_i over P.

    If a positive of the class is observed with probability e, whatever its score, h_i has the
    expectation 1 + e (true hits besides i). For frequent classes the estimate is therefore e AP:
    too low, by a factor that all settings share. For rare classes image i itself dominates h_i and
    the factor tends to 1. If the probability depends on the image, as in ppl, spl and missing,
    where images with few positives reveal more of theirs, such images count for more. Candidates
    count as positives: false ones add their share of the images to the precision of every rank.
    """
    return _mean(average_precision(logits, (labels == 1).astype(np.int8)))


def share_corrected(logits: np.ndarray, labels: np.ndarray, regime: Regime) -> float | None:
    """The mAP with the hits besides image i scaled up by the share e of observed positives.

        A = mean over P of (1 + (h_i - 1) / e) / R_i
        B = mean over h = 1 .. n of (1 + (h - 1) / e) / h
        score = sum over classes of A  /  sum over classes of B

    with e = R in pal and ppl, 1 - Q in missing. In spl, whose share is 1 / (positives per image),
    e = 1/2 stands in. A is the AP without bias if every positive is observed with probability e,
    whatever its score. In ppl, spl and missing the first positive of an image always is, so e is
    too small for images with one positive, and A may exceed 1. B, the A of a perfect ranking
    without ties, is the same for all settings. It keeps the score in [0, 1], and makes it too low
    if positives that are not observed rank high.
    """
    e = _observed_share(regime)
    total, best = 0.0, 0.0
    for _, score, label in _columns(logits, labels):
        positive = np.sort(score[label == 1])
        if positive.size:
            hits = positive.size - np.searchsorted(positive, positive)
            total += ((1 + (hits - 1) / e) / _rank(score, positive)).mean()
            ranks = np.arange(1, positive.size + 1)
            best += ((1 + (ranks - 1) / e) / ranks).mean()
    return float(total / best) if best else None


def area_under_curve(logits: np.ndarray, labels: np.ndarray, regime: Regime) -> float | None:
    """The mean over classes of the area under the ROC curve of P against all other images.

        AUC = mean over i in P, j not in P of [s_i > s_j] + [s_i = s_j] / 2

    If the images outside P hold a share a of positives and P is a random sample of the positives,
    the expectation is (1 - a) AUC* + a / 2 with the true AUC*: an increasing affine function that
    all settings share. In candidates the same holds with a the share of false ones in P. The
    measure has no such bias by score, but it is no mAP, which weighs the top ranks.
    """
    area = np.full(logits.shape[1], np.nan)
    for c, score, label in _columns(logits, labels):
        positive, rest = score[label == 1], np.sort(score[label != 1])
        if positive.size and rest.size:
            below = np.searchsorted(rest, positive) + np.searchsorted(rest, positive, "right")
            area[c] = below.mean() / (2 * rest.size)
    return _mean(area)


# ----------------------------------------------------------------------------- candidates


def noise_corrected(logits: np.ndarray, labels: np.ndarray, regime: Regime) -> float | None:
    """The mAP with the known noise rate rho removed from the candidates.

        y'_i = (o_i - rho) / (1 - rho),  n' = sum of y'
        A = sum over all i of y'_i (1 + sum over j != i, s_j >= s_i of y'_j) / R_i
        score = sum over classes of A / (n' + d)  /  sum over classes of n' / (n' + d)

    with n' of at least 0 and d = sqrt(N rho / (1 - rho)), the standard deviation of n'. As y' has
    the expectation y and is independent between images, A has the expectation n AP without bias. n'
    does not depend on the scores, so its error changes the weight of a class only. The score is the
    mean of A / n' with the weights n' / (n' + d): a class whose positives drown in false candidates
    counts for little.
    """
    rho = regime.level or 0.0
    low = -rho / (1 - rho)  # y' of an image that is no candidate; that of a candidate is 1
    total, weight = 0.0, 0.0
    for _, score, label in _columns(logits, labels):
        score, label = score[label >= 0], label[label >= 0]
        if not score.size:
            continue
        order = np.argsort(-score, kind="stable")
        soft, ordered = np.where(label[order] == 1, 1.0, low), -score[order]
        rank = np.searchsorted(ordered, ordered, "right")
        others = np.cumsum(soft)[rank - 1] - soft
        count = max(soft.sum(), 0.0)
        scale = count + math.sqrt(score.size * rho / (1 - rho))
        if scale > 0:
            total += float((soft * (1 + others) / rank).sum() / scale)
            weight += count / scale
    return total / weight if weight > 0 else None


# ----------------------------------------------------------------------------- choice


ESTIMATORS: Mapping[str, Estimator] = {
    "known_labels": known_labels,
    "known_precision": known_precision,
    "unknown_as_negative": unknown_as_negative,
    "share_corrected": share_corrected,
    "area_under_curve": area_under_curve,
    "noise_corrected": noise_corrected,
}
"""Name -> estimator."""

CHOSEN: Mapping[str, str] = {
    "full": "known_labels",
    "pal": "known_labels",
    "ppl": "share_corrected",
    "spl": "share_corrected",
    "missing": "share_corrected",
    "candidates": "unknown_as_negative",
}
"""Kind of regime -> the estimator of the rule `val-observed`."""


def candidates_for(regime: Regime) -> tuple[str, ...]:
    """The names of the estimators that are defined in a regime."""
    if regime.kind == "full":
        return ("known_labels",)
    if regime.kind == "candidates":
        return ("unknown_as_negative", "area_under_curve", "noise_corrected")
    general = ("unknown_as_negative", "share_corrected", "area_under_curve")
    return (*general, "known_labels", "known_precision") if regime.kind == "pal" else general


def _observed_share(regime: Regime) -> float:
    """The share e of the positives that a regime reveals, as `share_corrected` assumes it."""
    level = regime.level or 0.0
    return {"pal": level, "ppl": level, "missing": 1 - level, "spl": 0.5}.get(regime.kind, 1.0)


def _columns(logits: np.ndarray, labels: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Class, scores [N] and labels [N] of every class, contiguous."""
    if logits.shape != labels.shape:
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} must both be [N, C]")
    scores, codes = np.ascontiguousarray(logits.T), np.ascontiguousarray(labels.T)
    return [(c, scores[c], codes[c]) for c in range(len(scores))]


def _rank(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """The number of scores that are at least as high as each positive."""
    return score.size - np.searchsorted(np.sort(score), positive)


def _mean(values: np.ndarray) -> float | None:
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else None
