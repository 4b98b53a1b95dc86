"""Mean and spread over seeds, with missing values that stay missing."""

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
