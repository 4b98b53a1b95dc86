"""Mean and spread over seeds, with missing values that stay missing; and what chance gives."""

from collections.abc import Sequence

import numpy as np


def mean(values: Sequence[float | None]) -> float | None:
    """Arithmetic mean; `None` if there is no value or if any value is missing.

    A mean over fewer seeds than the row claims would be a guess, so one missing value makes the
    mean missing.
    """
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return float(np.mean(known))


def sample_std(values: Sequence[float | None]) -> float | None:
    """Sample standard deviation, sqrt(sum (x - mean)^2 / (n - 1)).

    `None` for fewer than two values, or if any value is missing.
    """
    known = [value for value in values if value is not None]
    if len(known) < 2 or len(known) < len(values):
        return None
    return float(np.std(known, ddof=1))


def chance_ap(positives: int, images: int) -> float | None:
    """What average precision is in expectation if the scores are random and all different.

    The image at rank k is a positive with probability P / N, and then the precision there is
    (1 + (k - 1) (P - 1) / (N - 1)) / k in expectation, so that with H_N = 1 + 1/2 + ... + 1/N

        E[AP] = (H_N + (N - H_N) (P - 1) / (N - 1)) / N.

    Args:
        positives: P.
        images: N, those whose label is known.

    Returns:
        A fraction, or `None` where there is no positive.
    """
    if not 0 < positives <= images:
        return None
    if images == 1:
        return 1.0
    harmonic = float((1.0 / np.arange(1, images + 1)).sum())
    return (harmonic + (images - harmonic) * (positives - 1) / (images - 1)) / images
