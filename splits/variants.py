"""Departures from the laws of the papers: how labels are counted, and noise that is not uniform.

Nothing here is part of a published setting. Every departure decides by the same number per image
and class as the paper's law, so that the levels of one variant nest like those of the law.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from splits.errors import InputError

_COUNTS = {"pal": "bernoulli", "ppl": "exact", "missing": "bernoulli", "candidates": "bernoulli"}
"""How the papers' laws count: each label on its own, or a share of each image's labels."""


@dataclass(frozen=True, eq=False)
class Variant:
    """What departs from a regime's law; nothing by default.

    The counts. With k the labels of an image that the law decides about (pal: the known ones; ppl
    and missing: the positives; candidates: the negatives):

        exact      pal shows the round(R k) with the smallest u, ppl the max(1, round(R k)), missing
                   drops the min(round(Q k), k - 1), candidates add the round(RHO k)
        bernoulli  each on its own, u < level; in ppl the one with the smallest u is always kept

    The rates of missing and candidates, for class c and image i, instead of one level p for all:

        p_c  = min(1, a w_c), with a such that the mean over the classes is p
        p_ic = p_c + h (2 v_i - 1),   h = min(spread * p_c, 1 - p_c)

    so that the mean over images and classes stays p. Where an image would lose all its positives,
    missing keeps the one with the largest u / w_c: the last to go as Q grows.

    Attributes:
        counts: exact or bernoulli; None for the papers' own.
        class_weights: w, float64 [C], at least 0, or None. Only missing and candidates.
        image_spread: in [0, 1]. Only candidates.
        image_numbers: v, one uniform number per image, float64 [N]; needed with a spread.
    """

    counts: str | None = None
    class_weights: np.ndarray | None = None
    image_spread: float = 0.0
    image_numbers: np.ndarray | None = None

    def departs(self, kind: str) -> bool:
        """Whether this is another law than the paper's."""
        counted = self.counts is not None and self.counts != _COUNTS.get(kind)
        return counted or self.class_weights is not None or self.image_spread != 0

    def is_exact(self, kind: str) -> bool:
        """Whether a share of each image's labels is chosen, not each label on its own."""
        return (self.counts or _COUNTS.get(kind)) == "exact"

    def check(self, kind: str, shape: tuple[int, ...] | None = None) -> None:
        """Refuse what does not go with a regime or, where their shape is given, with labels.

        Args:
            kind: the regime's.
            shape: N, C.

        Raises:
            InputError: see above.
        """
        if self.counts is not None and kind not in _COUNTS:
            raise InputError(f"The regime {kind} has one way to count; leave `counts` out.")
        if self.counts not in (None, "exact", "bernoulli"):
            raise InputError(f"Labels are counted exact or bernoulli, not {self.counts!r}.")
        if self.class_weights is not None and kind not in ("missing", "candidates"):
            raise InputError(
                f"Rates by class go with the regimes missing and candidates, not with {kind}."
            )
        if not 0 <= self.image_spread <= 1:
            raise InputError(f"The spread of image noise is in [0, 1], not {self.image_spread}.")
        if self.image_spread and kind != "candidates":
            raise InputError(f"Image noise goes with the regime candidates, not with {kind}.")
        if self.is_exact(kind) and (self.class_weights is not None or self.image_spread):
            raise InputError("Exact counts leave no room for rates by class or image; choose one.")
        weights = self.class_weights
        if weights is not None and not ((weights >= 0) & np.isfinite(weights)).all():
            raise InputError("The weights of the classes must be numbers >= 0.")
        if shape is None:
            return
        if weights is not None and weights.shape != shape[1:]:
            raise InputError(f"{shape[1]} classes need as many weights, not {weights.shape}.")
        numbers = self.image_numbers
        if self.image_spread and (numbers is None or numbers.shape != shape[:1]):
            raise InputError(f"Image noise needs one number for each of {shape[0]} images.")

    def rate(self, level: float, rows: np.ndarray, columns: np.ndarray) -> float | np.ndarray:
        """The rate p_ic of chosen places, broadcast like `rows` and `columns`."""
        if self.class_weights is None and not self.image_spread:
            return level
        rate = np.full(1, level)[0 * columns]
        if self.class_weights is not None:
            rate = class_rates(level, self.class_weights)[columns]
        if self.image_spread and self.image_numbers is not None:
            half = np.minimum(self.image_spread * rate, 1 - rate)
            rate = rate + half * (2 * self.image_numbers[rows] - 1)
        return rate

    def key(self, u: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """What the labels of an image are ordered by: u, or u over the weight of the class."""
        if self.class_weights is None:
            return u
        out = np.full(u.shape, np.inf)  # what is never dropped is the last to go
        weights = self.class_weights[columns]
        return np.divide(u, weights, out=out, where=weights > 0)


PAPER = Variant()


def class_rates(level: float, weights: np.ndarray) -> np.ndarray:
    """Rates in proportion to weights, at most 1, whose mean is the level.

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
            f"A mean rate of {level} over {len(weights)} classes cannot be reached where only "
            f"{np.count_nonzero(falling)} have a weight above 0."
        )
    if not total:
        return np.zeros(len(weights))
    rest = np.cumsum(falling[::-1])[::-1]  # of the classes that are not at 1 yet
    full = np.arange(len(weights))
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = (total - full) / rest
        fits = (factor * falling <= 1) & (rest > 0)
    if not fits.any():
        return (weights > 0).astype(np.float64)
    return np.minimum(1.0, factor[fits.argmax()] * weights)
