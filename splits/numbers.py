"""Numbers: the type of uniform random numbers, rounding of shares, parsing of whole numbers."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import floor

import numpy as np

_MAX_DIGITS = 18  # such numbers fit into int64

Uniform = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Numbers in [0, 1), `(rows, columns) -> float64`, for two integer index arrays that broadcast. A
number depends only on the id of its image and the name of its class."""


def parse_whole(text: str) -> int | None:
    """A whole number >= 0 of at most 18 decimal digits, or None for any other text."""
    digits = text.lstrip("0") or "0"
    is_number = text.isascii() and text.isdigit() and len(digits) <= _MAX_DIGITS
    return int(digits) if is_number else None


def round_half_up(share: float, count: int) -> int:
    """The integer nearest to `share * count`, halves upwards: floor(share * count + 1/2).

    The share is the decimal number that it is written as: 0.29 of 50 is 14.5 and rounds to 15,
    although the nearest binary fraction gives 14.499999999999998.

    Args:
        share: a finite number >= 0.
        count: an integer >= 0.

    Returns:
        The rounded product.
    """
    return floor(Fraction(repr(float(share))) * count + Fraction(1, 2))
