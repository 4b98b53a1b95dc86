"""The held-out part of a set of images: the rows with the smallest uniform numbers."""

from __future__ import annotations

import numpy as np

from splits.errors import InputError
from splits.numbers import round_half_up


def held_out(u: np.ndarray, fraction: float) -> np.ndarray:
    """Select the rows to hold out: the `round(fraction * N)` rows with the smallest numbers.

    Held-out sets nest: with the same numbers, a larger fraction holds out a superset.

    Args:
        u: one uniform number per row, float64 [N].
        fraction: the share of the rows to hold out, in [0, 1); halves are rounded up.

    Returns:
        bool [N], True for the rows that are held out. If the fraction is above 0 and there are at
        least two rows, each side has at least one row; a single row is never held out.

    Raises:
        InputError: a fraction outside [0, 1), or numbers that are not a list.
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
