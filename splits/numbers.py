"""The numbers that the rules take in: uniform ones, shares of whole numbers, numbers as texts."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import floor

import numpy as np

_DIGITS = 18  # always fit into int64, and Python refuses to read some thousands

Uniform = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Numbers in [0, 1), `(rows, columns) -> float64`: two integer index arrays, broadcast. A number
belongs to the names of its image and its class, whatever else is asked for."""


def whole(text: str) -> int | None:
    """A whole number >= 0 in decimal digits, or None for another text or one over 18 digits."""
    digits = text.lstrip("0") or "0"
    right = text.isascii() and text.isdigit() and len(digits) <= _DIGITS
    return int(digits) if right else None


def round_half_up(share: float, count: int) -> int:
    """The integer nearest to `share * count`, halves upwards: floor(share * count + 1/2).

    The share is taken as the decimal number it is written as, so that 0.29 of 50 is 14.5 and
    rounds to 15, although the nearest binary fraction gives 14.499999999999998.

    Args:
        share: a finite number >= 0.
        count: an integer >= 0.

    Returns:
        The rounded product.
    """
    return floor(Fraction(repr(float(share))) * count + Fraction(1, 2))
