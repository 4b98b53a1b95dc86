"""Observed labels of a source: contradictions with the true ones, and the regime they get."""

from __future__ import annotations

import numpy as np
import pytest

from splits.errors import InputError
from splits.labels import Labels, SparseLabels
from splits.own_labels import first_conflict, regime

TRUE = [[1, 1, 0, 0], [1, 0, 0, -1], [0, 1, 1, 0], [0, 0, 0, 0]]
U = -1


def stored(rows: list[list[int]], fill: int | None) -> Labels:
    dense = np.array(rows, np.int8)
    return dense if fill is None else SparseLabels.from_dense(dense, fill)


@pytest.mark.parametrize("fills", [(None, None), (0, 0), (-1, -1), (0, -1), (-1, 0), (0, None)])
@pytest.mark.parametrize(
    ("row", "column", "code", "candidates", "expected"),
    [
        (0, 0, 1, False, None),
        (3, 0, 1, False, "the observed label is positive, but the true label is negative"),
        (2, 2, 0, False, "the observed label is negative, but the true label is positive"),
        (1, 3, 1, False, "the observed label is positive, but the true label is unknown"),
    ],
)
def test_the_first_contradiction_of_observed_labels(
    fills: tuple[int | None, int | None],
    row: int,
    column: int,
    code: int,
    candidates: bool,
    expected: str | None,
) -> None:
    observed = [[U] * 4 for _ in range(4)]
    observed[row][column] = code
    rows = np.array([0, 1, 2, 3])
    conflict = first_conflict(stored(TRUE, fills[0]), stored(observed, fills[1]), rows, candidates)
    assert conflict == (None if expected is None else (row, column, expected))


@pytest.mark.parametrize("fill", [None, 0])
@pytest.mark.parametrize(
    ("row", "column", "code", "expected"),
    [
        (0, 0, 1, None),
        (2, 1, 0, "the true label is positive, but the class is not a candidate"),
        (3, 3, -1, "a candidate label must be 1 or 0, not unknown"),
    ],
)
def test_the_first_contradiction_of_candidates(
    fill: int | None, row: int, column: int, code: int, expected: str | None
) -> None:
    candidates = [[1, 1, 0, 1], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0]]
    candidates[row][column] = code
    rows = np.array([0, 2, 3])  # row 1, with an unknown true label, is in the test part
    conflict = first_conflict(stored(TRUE, fill), stored(candidates, fill), rows, True)
    assert conflict == (None if expected is None else (row, column, expected))
    rows = np.array([1])
    found = first_conflict(stored(TRUE, fill), stored(candidates, fill), rows, True)
    assert found == (
        *(1, 3),
        "the true label is unknown; candidates need known true labels in train and val",
    )


def test_fill_values_that_contradict_each_other() -> None:
    true, observed = SparseLabels.from_dense(np.full((2, 3), -1, np.int8), -1), [[0] * 3] * 2
    conflict = first_conflict(true, stored(observed, 0), np.arange(2), False)
    assert conflict is not None
    assert conflict[2] == "the observed label is negative, but the true label is unknown"


@pytest.mark.parametrize("fill", [None, -1])
@pytest.mark.parametrize(
    ("observed", "candidates", "expected"),
    [
        (TRUE, False, "full"),
        ([[1, U, U, 0], [1, 0, U, U], [U, U, 1, U], [U, U, U, 0]], False, "pal:0.4"),
        ([[1, U, U, U], [1, U, U, U], [U, U, 1, U], [U] * 4], False, "spl"),
        ([[1, 1, U, U], [U] * 4, [U, U, 1, U], [U] * 4], False, "missing:0.4"),
        ([[1, 1, U, U], [1, U, U, U], [U, 1, 1, U], [U] * 4], False, "missing:0"),
        ([[1, 1, 1, 0], [1, 1, 0, 0], [0, 1, 1, 1], [0] * 4], True, "candidates:0.3"),
    ],
)
def test_the_regime_of_observed_labels(
    fill: int | None, observed: list[list[int]], candidates: bool, expected: str
) -> None:
    assert str(regime(stored(TRUE, fill), stored(observed, fill), candidates)) == expected


def test_a_rounded_level_is_not_an_excluded_one() -> None:
    true = np.zeros((100, 200), np.int8)
    true[:, 0] = 1
    observed = np.full_like(true, -1)
    observed[0, :2] = true[0, :2]
    assert str(regime(true, observed, False)) == "pal:0.0001"
    candidates = np.ones_like(true)
    candidates[0, 1] = 0
    assert str(regime(true, candidates, True)) == "candidates:0.9999"


@pytest.mark.parametrize(
    ("observed", "candidates", "message"),
    [
        ([[U] * 4] * 4, False, "No positive label is observed in the training images"),
        ([[1] * 4] * 4, True, "Every class is a candidate of every training image"),
    ],
)
def test_labels_that_no_regime_describes(
    observed: list[list[int]], candidates: bool, message: str
) -> None:
    true = np.array(TRUE, np.int8)
    with pytest.raises(InputError, match=message):
        regime(true, stored(observed, None), candidates)
