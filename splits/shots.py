"""Shot groups: how many training positives a class has, in three steps."""

from __future__ import annotations

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
        few: the smallest count of a class that is not few-shot any more.

    Returns:
        uint8 [C] of MANY, MEDIUM, FEW (positions in `SHOT_NAMES`).

    Raises:
        InputError: thresholds that leave no room for three groups, or counts that are no counts.

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
