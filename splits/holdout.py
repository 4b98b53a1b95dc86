"""The validation part: rows that leave the training set because their number is small."""

from __future__ import annotations

import numpy as np

from splits.errors import InputError
from splits.numbers import round_half_up


def held_out(u: np.ndarray, fraction: float) -> np.ndarray:
    """Choose the validation rows: the `round(fraction * N)` rows with the smallest number.

    Held-out sets nest: with the same numbers, a larger fraction holds out the same rows and more.

    Args:
        u: one uniform number per row, float64 [N].
        fraction: share of the rows to hold out, in [0, 1). The product with N is rounded half up.

    Returns:
        bool [N], True where a row is held out. With a fraction above 0 and at least two rows, at
        least one row is on either side; a single row is never held out.

    Raises:
        InputError: a fraction outside [0, 1), or numbers that are not one per row.
    """
    if not 0 <= fraction < 1:
        raise InputError(f"The held-out fraction must be in [0, 1), not {fraction}.")
    if u.ndim != 1:
        raise InputError(f"Holding out needs one number per row, [N], not shape {u.shape}.")
    rows = len(u)
    count = 0
    if fraction > 0 and rows > 1:
        count = min(max(round_half_up(fraction, rows), 1), rows - 1)
    held = np.zeros(rows, bool)
    held[np.argsort(u, kind="stable")[:count]] = True
    return held
