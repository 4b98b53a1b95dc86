"""Estimates of label noise from observed labels alone.

`statistics.observed_rates` compares observed labels with the true ones.
"""

from __future__ import annotations

import numpy as np

from splits.labels import Labels, counts, positives
from splits.regimes import Regime

_MIN_KNOWN = 100
"""Known labels that a class needs to take part in the estimate of the candidate rate."""


def estimate(observed: Labels, regime: Regime, *, by_class: bool = False) -> dict[str, float]:
    """Estimate how the labels were observed, from the observed labels and the kind of regime.

    In every regime:

        observed_rate                share of the entries that are not unknown
        observed_positives_per_image mean number of observed positives (or candidates)
        images_without_positive      share of the images without an observed positive

    and in the regimes that allow an estimate of the true labels (full, pal, candidates):

        positives_per_image          estimated mean number of true positives

    full and pal extend the share of positives among the known labels of each class to its unknown
    labels; candidates uses `candidate_rate` and `invert`, and adds

        noise_rate                   rho^
        false_candidates             estimated share of the candidates that are not true

    ppl, spl and missing reveal positives only, which do not tell how many were dropped. If the
    rate of candidates differs between classes, frequent classes and noisy classes look the same,
    so nothing is estimated either.

    Args:
        observed: int8 [N, C], codes 1, 0, -1, dense or sparse, at least one row.
        regime: the regime that the labels were observed in; its level is not used.
        by_class: whether the rate of false candidates differs between classes.

    Returns:
        Names and finite numbers; quantities without an estimate are left out.
    """
    images, classes = observed.shape
    shown, negative = counts(observed, 1), counts(observed, 0)
    known = shown + negative
    estimates = {
        "observed_rate": float(known.sum() / (images * classes)),
        "observed_positives_per_image": float(shown.sum() / images),
        "images_without_positive": float(np.mean(np.diff(positives(observed).indptr) == 0)),
    }
    if not known.sum():
        return estimates
    if regime.kind in ("full", "pal"):
        share = np.divide(shown, known, out=np.zeros(classes), where=known > 0)
        estimates["positives_per_image"] = float(share.sum())
    elif regime.kind == "candidates" and not by_class:
        rate = candidate_rate(observed)
        true = invert(observed, rate).sum()
        estimates["noise_rate"] = rate
        estimates["positives_per_image"] = float(true / images)
        if shown.sum():
            estimates["false_candidates"] = float(1 - true / shown.sum())
    return estimates


def candidate_rate(observed: Labels) -> float:
    """The rate at which negatives became candidates, from the rarest class.

        rho^ = min_c k_c,  k_c = share of the candidates among the known labels of class c

    In a long tail, nearly all candidates of the rarest classes are noise. As a minimum, the
    estimate is biased slightly downwards. Classes with fewer than 100 known labels are left out
    unless no class has more.

    Args:
        observed: candidates, int8 [N, C], dense or sparse, at least one known label.

    Returns:
        The estimate, in [0, 1].

    Source: prior inversion as in long-tailed partial multi-label learning.
    """
    shown = counts(observed, 1)
    known = shown + counts(observed, 0)
    has_enough = known >= min(_MIN_KNOWN, int(known.max()))
    return float((shown[has_enough] / known[has_enough]).min())


def invert(observed: Labels, rate: float) -> np.ndarray:
    """The number of true positives of each class among its candidates.

        n_c^ = K_c (k_c - rho) / (1 - rho), at least 0

    with K_c the known labels of class c and k_c the share of candidates among them.

    Args:
        observed: candidates, int8 [N, C], dense or sparse.
        rate: rho, for example from `candidate_rate`.

    Returns:
        float64 [C]; all 0 for a rate of 1.
    """
    shown = counts(observed, 1)
    known = shown + counts(observed, 0)
    if rate >= 1:
        return np.zeros(len(known))
    return np.maximum(0.0, (shown - rate * known) / (1 - rate))
