"""Shot groups: the classes in three groups by their number of training positives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from splits.errors import InputError

MANY, MEDIUM, FEW = 0, 1, 2
SHOT_NAMES = ("many", "medium", "few")


def shot_groups(counts: np.ndarray, many: int = 100, few: int = 20) -> np.ndarray:
    """The shot group of each class.

        many: n_c >= many        medium: few <= n_c < many        few: n_c < few

    Args:
        counts: training positives per class, integers [C].
        many: the smallest count of a many-shot class.
        few: the smallest count of a medium-shot class.

    Returns:
        uint8 [C] of MANY, MEDIUM, FEW (positions in `SHOT_NAMES`).

    Raises:
        InputError: thresholds that do not satisfy 0 < few < many, or counts that are not a list
            of integers >= 0.

    Source: Wu et al., ECCV 2020. Papers word it "more than 100"; the class lists they publish put
    a class with exactly 100 images into many and one with exactly 20 into medium.
    """
    if not 0 < few < many:
        raise InputError(
            f"Shot thresholds must satisfy 0 < few < many, not few = {few} and many = {many}."
        )
    counts = np.asarray(counts)
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise InputError(
            f"Class counts must be a list of integers >= 0, one per class, not {counts.dtype} of "
            f"shape {counts.shape}."
        )
    return np.where(counts >= many, MANY, np.where(counts >= few, MEDIUM, FEW)).astype(np.uint8)


def groups_of(
    train_count: np.ndarray, observed_count: np.ndarray, thresholds: Mapping[str, Any]
) -> np.ndarray:
    """The shot group of each class of a split.

    Args:
        train_count: true training positives per class, integers [C].
        observed_count: observed training positives per class, integers [C].
        thresholds: `many` and `few` as in `shot_groups`, and `reference`: "observed" groups the
            classes by their observed counts, "true" by their true ones.

    Returns:
        uint8 [C], as from `shot_groups`.

    Raises:
        InputError: as `shot_groups`, and for another reference.
    """
    counts = {"true": train_count, "observed": observed_count}
    if thresholds["reference"] not in counts:
        raise InputError(
            f"The shot reference must be true or observed, not {thresholds['reference']!r}."
        )
    return shot_groups(counts[thresholds["reference"]], thresholds["many"], thresholds["few"])
