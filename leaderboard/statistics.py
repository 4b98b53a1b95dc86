"""Mean and spread over seeds, and the average precision of random scores."""

import functools
from collections.abc import Sequence

import numpy as np


def mean(values: Sequence[float | None]) -> float | None:
    """Arithmetic mean; `None` if there is no value or if any value is missing.

    A mean over fewer seeds than the row states would be a guess, so one missing value makes the
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
    """The expected average precision of random scores without ties.

    The image at rank k is a positive with probability P / N. The precision at that rank is then
    (1 + (k - 1) (P - 1) / (N - 1)) / k in expectation. With H_N = 1 + 1/2 + ... + 1/N:

        E[AP] = (H_N + (N - H_N) (P - 1) / (N - 1)) / N

    Args:
        positives: P, the number of positives.
        images: N, the number of images whose label is known.

    Returns:
        A fraction, or `None` if there is no positive.
    """
    if not 0 < positives <= images:
        return None
    if images == 1:
        return 1.0
    harmonic = float((1.0 / np.arange(1, images + 1)).sum())
    return (harmonic + (images - harmonic) * (positives - 1) / (images - 1)) / images


def chance_deviation(positives: int, images: int) -> float | None:
    """The standard deviation of the average precision of random scores without ties.

    Let y_i be 1 if rank i is a positive, and S_i = y_1 + ... + y_i. Then P AP = sum_i y_i S_i / i.
    Any r ranks are all positives with probability
    p_r = P ... (P - r + 1) / (N ... (N - r + 1)), so

        E[(P AP)^2] = sum_i (p_1 + 3 (i - 1) p_2 + (i - 1) (i - 2) p_3) / i^2
                      + 2 sum_{i < k} (2 p_2 + (3 i + k - 5) p_3 + (i - 1) (k - 3) p_4) / (i k).

    Args:
        positives: P, the number of positives.
        images: N, the number of images whose label is known.

    Returns:
        A fraction, or `None` if there is no positive.
    """
    expected = chance_ap(positives, images)
    if expected is None:
        return None
    p, square = 1.0, 0.0
    for r, factor in enumerate(_square_factors(images)):
        if r >= positives:
            break
        p *= (positives - r) / (images - r)
        square += p * factor
    return float(np.sqrt(max(0.0, square / positives**2 - expected**2)))


@functools.lru_cache(maxsize=1024)
def _square_factors(images: int) -> tuple[float, float, float, float]:
    """The factors of p_1, ..., p_4 in the second moment of `chance_deviation`."""
    i = np.arange(1.0, images + 1)
    before = np.cumsum(1 / i) - 1 / i  # [N], the sum of 1 / j over the ranks j < i
    pairs = (before / i).sum()
    return (
        float((1 / i**2).sum()),
        float((3 * (i - 1) / i**2).sum() + 4 * pairs),
        float(
            ((i - 1) * (i - 2) / i**2).sum()
            + 2 * ((3 * (i - 1) / i).sum() + before.sum() - 5 * pairs)
        ),
        float(2 * ((1 - 3 / i) * (i - 1 - before)).sum()),
    )
