"""Marks of learning curves, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from leaderboard.curves import marks


def curve(key: str, *values: float, stage: str = "train") -> list[dict[str, Any]]:
    return [{"stage": stage, "loss": 1.0, key: value} for value in values]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((0.1, 0.2, 0.3, 0.4), ("climbing",)),  # epoch 3 to 4: 10 points
        ((0.3, 0.38, 0.395, 0.4), ()),  # epoch 3 to 4: half a point
        ((0.3, 0.45, 0.41, 0.4), ("fell",)),  # 5 points below epoch 2
        ((0.3, 0.409, 0.40, 0.4), ()),  # 0.9 points below epoch 2
        ((0.5, 0.2, 0.2, 0.4), ("climbing", "fell")),
        ((0.4,), ("climbing",)),  # one epoch shows nothing
        # Eight epochs: the sixth ends three quarters.
        ((0.1, 0.1, 0.1, 0.1, 0.1, 0.385, 0.39, 0.4), ("climbing",)),
        ((0.1, 0.1, 0.1, 0.1, 0.1, 0.391, 0.39, 0.4), ()),
    ],
)
def test_curves_with_a_validation_part(scores: tuple[float, ...], expected: Any) -> None:
    assert marks(curve("val_map", *scores), 0.4, 0.05) == expected


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((1.0, 0.8, 0.6, 0.4), ("climbing",)),  # a third of the fall in the last epoch
        ((1.0, 0.5, 0.43, 0.4), ()),  # 0.03 of 0.6
        ((1.0, 0.5, 0.47, 0.4), ("climbing",)),  # 0.07 of 0.6
        ((0.4, 0.5, 0.6, 0.7), ()),  # a loss that rises, as under a growing weight
        ((0.4,), ("climbing",)),
        ((), ()),
    ],
)
def test_curves_without_a_validation_part(losses: tuple[float, ...], expected: Any) -> None:
    assert marks(curve("loss", *losses), 0.4, 0.05) == expected


def test_only_the_last_stage_counts() -> None:
    first, second = curve("loss", 1.0, 0.5, stage="a"), curve("loss", 0.9, 0.2, 0.2, 0.2, stage="b")
    assert marks(first + second, 0.4, 0.05) == ()
    assert marks(second + first, 0.4, 0.05) == ("climbing",)


def test_a_curve_without_all_scores_uses_the_loss() -> None:
    entries = curve("loss", 1.0, 0.5, 0.5, 0.5)
    entries[1]["val_map"] = 0.4
    entries[2]["val_map"] = None
    assert marks(entries, 0.4, 0.05) == ()


@pytest.mark.parametrize(
    ("test_map", "chance", "expected"),
    [
        (0.10, 0.05, ()),  # 0.053 of the way
        (0.09, 0.05, ("near-chance",)),  # 0.042 of the way
        (0.51, 0.50, ("near-chance",)),
        (None, 0.5, ()),
        (0.5, None, ()),
        (1.0, 1.0, ()),
    ],
)
def test_near_chance(test_map: float | None, chance: float | None, expected: Any) -> None:
    assert marks(curve("val_map", 0.4, 0.4, 0.4, 0.4), test_map, chance) == expected
    assert marks([], test_map, chance) == expected
