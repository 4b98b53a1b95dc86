"""The rates of the non-standard variants: false and missing labels that are not uniform.

No published setting uses them. Each variant decides with the same number per image and class as
its regime, so the levels of a variant nest as those of the regime do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from splits.errors import InputError


@dataclass(frozen=True, eq=False)
class LabelRates:
    """The rate p_ic of each label, whose mean over classes and images is the level p.

        p_c  = min(1, a w_c),  with a such that mean_c p_c = p
        p_ic = p_c + h (2 v_i - 1),  h = min(spread * p_c, 1 - p_c)

    Attributes:
        level: p.
        class_weights: w, float64 [C] of numbers >= 0, or None for the same rate in every class.
        spread: in [0, 1]; 0 for the same rate in every image.
        image_numbers: v, one uniform number per image, float64 [N]; needed if `spread` is not 0.
    """

    level: float
    class_weights: np.ndarray | None = None
    spread: float = 0.0
    image_numbers: np.ndarray | None = None

    def at(self, rows: np.ndarray, columns: np.ndarray) -> float | np.ndarray:
        """The rates of labels: a number if all are equal, else an array.

        Args:
            rows: row numbers of the labels.
            columns: their columns; the two broadcast.
        """
        if self.class_weights is None and not self.spread:
            return self.level
        rates = np.full(1, self.level)[0 * columns]
        if self.class_weights is not None:
            rates = class_rates(self.level, self.class_weights)[columns]
        if self.spread and self.image_numbers is not None:
            half_width = np.minimum(self.spread * rates, 1 - rates)
            rates = rates + half_width * (2 * self.image_numbers[rows] - 1)
        return rates

    def sort_keys(self, u: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The keys that order the labels of an image: u, or u / w_c with rates by class.

        The label with the largest u / w_c is the last to be dropped as the level rises; a label
        of weight 0 is never dropped, so its key is infinite.
        """
        if self.class_weights is None:
            return u
        keys = np.full(u.shape, np.inf)
        weights = self.class_weights[columns]
        return np.divide(u, weights, out=keys, where=weights > 0)


def class_rates(level: float, weights: np.ndarray) -> np.ndarray:
    """Rates proportional to weights, at most 1, whose mean is the level.

        p_c = min(1, a w_c),  mean_c p_c = level

    Args:
        level: in [0, 1).
        weights: float64 [C], at least 0.

    Returns:
        float64 [C]; no rate falls when the level rises.

    Raises:
        InputError: too many classes have weight 0 for this level.
    """
    order = np.argsort(-weights, kind="stable")
    falling = weights[order].astype(np.float64)
    total = level * len(weights)
    if np.count_nonzero(falling) < total:
        raise InputError(
            f"A mean rate of {level} over {len(weights)} classes cannot be reached, because only "
            f"{np.count_nonzero(falling)} have a weight above 0."
        )
    if not total:
        return np.zeros(len(weights))
    # Give the k largest weights the rate 1 and scale the others; the smallest k that fits wins.
    remaining = np.cumsum(falling[::-1])[::-1]
    capped = np.arange(len(weights))
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = (total - capped) / remaining
        fits = (factor * falling <= 1) & (remaining > 0)
    if not fits.any():
        return (weights > 0).astype(np.float64)
    return np.minimum(1.0, factor[fits.argmax()] * weights)
