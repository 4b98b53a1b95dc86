"""What the learning curve of a run says about its training: whether it was too short or too long.

The marks are stored in the record, so that a table can show them. They are computed from the last
stage of the run, and never from test scores of an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

CLIMBING = "climbing"
FELL = "fell"
NEAR_CHANCE = "near-chance"

MEANINGS = {
    CLIMBING: "still learning at the end",
    FELL: "more than 1 mAP below an earlier epoch on the validation part",
    NEAR_CHANCE: "close to random scores",
}
"""Mark -> its meaning, for tables."""

_POINT = 0.01  # of mAP
_STILL_FALLING = 0.1  # of the fall of the loss over the stage
_LIFT = 0.05  # of the distance between chance and a perfect mAP


def marks(
    curve: Sequence[Mapping[str, Any]], test_map: float | None, chance: float | None
) -> tuple[str, ...]:
    """The marks of a run.

    `climbing`: with a validation part, its mAP rose by more than 1 point over the last quarter of
    the epochs; without one, more than a tenth of the fall of the training loss happened there. A
    stage of one epoch counts as climbing, because nothing shows that it has converged.
    `fell`: with a validation part, the last epoch is more than 1 point below the best one.
    `near-chance`: (mAP - chance) / (1 - chance) of the test part is below 0.05.

    Args:
        curve: the entries of a record: `stage`, `loss` and, with a validation part, `val_map`.
        test_map: the mAP of the record, as a fraction.
        chance: the mAP of random scores, as a fraction.

    Returns:
        Some of `MEANINGS`, in their order.
    """
    stage = [entry for entry in curve if entry.get("stage") == curve[-1].get("stage")]
    scores = _numbers(stage, "val_map")
    found = []
    if _is_climbing(scores, _numbers(stage, "loss")):
        found.append(CLIMBING)
    if scores and max(scores) - scores[-1] > _POINT:
        found.append(FELL)
    if test_map is not None and chance is not None and test_map - chance < _LIFT * (1 - chance):
        found.append(NEAR_CHANCE)
    return tuple(found)


def _is_climbing(scores: Sequence[float], losses: Sequence[float]) -> bool:
    if scores:
        return len(scores) == 1 or scores[-1] - scores[_three_quarters(scores)] > _POINT
    if not losses:
        return False
    if len(losses) == 1:
        return True
    fall = losses[0] - losses[-1]
    return fall > 0 and losses[_three_quarters(losses)] - losses[-1] > _STILL_FALLING * fall


def _three_quarters(values: Sequence[float]) -> int:
    """The position of the epoch that ends three quarters of the stage, before the last one."""
    return min(math.ceil(0.75 * len(values)) - 1, len(values) - 2)


def _numbers(entries: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """The values of a key if every entry has one, else nothing."""
    values = [entry[key] for entry in entries if isinstance(entry.get(key), int | float)]
    return values if len(values) == len(entries) else []
