"""What an observed label matrix says about its own noise, without the true labels.

The comparison with the true labels is `regimes.observed_rates`.
"""

from __future__ import annotations

import numpy as np

from splits.labels import Labels, counts, positives
from splits.regimes import Regime

_ENOUGH = 100
"""Labels that a class needs before its share of candidates is compared with the others'."""


def estimate(observed: Labels, regime: Regime, *, by_class: bool = False) -> dict[str, float]:
    """Estimate how the labels were observed, from the observed ones and the regime's kind alone.

    In every regime:

        observed_rate                share of the entries that are not unknown
        observed_positives_per_image mean number of observed positives (or candidates)
        images_without_positive      share of the images that show none

    and where the law lets the true labels be inferred (full, pal, candidates):

        positives_per_image          estimated mean number of true positives

    full and pal count the positives among the known labels of each class and take that share for
    the unknown ones; candidates use `candidate_rate` and `invert`, and add

        noise_rate                   rho^
        false_candidates             estimated share of the candidates that are not true

    ppl, spl and missing show positives only, which say nothing about how many were dropped.
    Candidates whose rate differs between classes say nothing of it either: a class may be frequent
    or noisy.

    Args:
        observed: int8 [N, C], codes 1, 0, -1, dense or sparse, at least one row.
        regime: the regime that the labels were observed in; its level is not used.
        by_class: whether the rate of false candidates differs between classes.

    Returns:
        Names and finite numbers; what cannot be told is left out.
    """
    images, classes = observed.shape
    shown, negative = counts(observed, 1), counts(observed, 0)
    known = shown + negative
    out = {
        "observed_rate": float(known.sum() / (images * classes)),
        "observed_positives_per_image": float(shown.sum() / images),
        "images_without_positive": float(np.mean(np.diff(positives(observed).indptr) == 0)),
    }
    if not known.sum():
        return out
    if regime.kind in ("full", "pal"):
        share = np.divide(shown, known, out=np.zeros(classes), where=known > 0)
        out["positives_per_image"] = float(share.sum())
    elif regime.kind == "candidates" and not by_class:
        rate = candidate_rate(observed)
        true = invert(observed, rate).sum()
        out["noise_rate"] = rate
        out["positives_per_image"] = float(true / images)
        if shown.sum():
            out["false_candidates"] = float(1 - true / shown.sum())
    return out


def candidate_rate(observed: Labels) -> float:
    """The rate at which negatives became candidates, from the rarest class.

        rho^ = min_c k_c,  k_c = share of the candidates among the known labels of class c

    works because a long tail makes the rarest classes nearly pure noise; it comes out a little low
    for being a minimum. Classes with fewer than 100 known labels are left out where others have
    more.

    Args:
        observed: candidates, int8 [N, C], dense or sparse, at least one known label.

    Returns:
        The estimate, in [0, 1].

    Source: prior inversion as in long-tailed partial multi-label learning.
    """
    shown = counts(observed, 1)
    known = shown + counts(observed, 0)
    enough = known >= min(_ENOUGH, int(known.max()))
    return float((shown[enough] / known[enough]).min())


def invert(observed: Labels, rate: float) -> np.ndarray:
    """How many true positives each class has among its candidates.

        n_c^ = K_c (k_c - rho) / (1 - rho), at least 0

    with K_c the known labels of class c and k_c the share of candidates among them.

    Args:
        observed: candidates, int8 [N, C], dense or sparse.
        rate: rho, given or from `candidate_rate`.

    Returns:
        float64 [C]; all 0 for a rate of 1.
    """
    shown = counts(observed, 1)
    known = shown + counts(observed, 0)
    if rate >= 1:
        return np.zeros(len(known))
    return np.maximum(0.0, (shown - rate * known) / (1 - rate))
