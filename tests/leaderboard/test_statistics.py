import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboard.marks import Mark, mark_column, percent
from leaderboard.statistics import chance_ap, chance_deviation, mean, sample_std

BEST, SECOND, LOWEST, NONE = Mark.BEST, Mark.SECOND, Mark.LOWEST, Mark.NONE


def test_mean_and_sample_standard_deviation():
    assert mean([0.60, 0.62, 0.64]) == pytest.approx(0.62)
    assert sample_std([0.60, 0.62, 0.64]) == pytest.approx(0.02)


def test_one_seed_has_a_mean_and_no_spread():
    assert mean([0.7]) == 0.7
    assert sample_std([0.7]) is None


@pytest.mark.parametrize("images", [1, 2, 5, 7])
def test_chance_is_over_all_orders(images):
    for positives in range(1, images + 1):
        orders = list(itertools.combinations(range(1, images + 1), positives))  # their ranks
        precisions = [[(k + 1) / rank for k, rank in enumerate(ranks)] for ranks in orders]
        values = [np.mean(each) for each in precisions]
        assert chance_ap(positives, images) == pytest.approx(np.mean(values), rel=1e-12)
        spread = pytest.approx(np.std(values), rel=1e-9, abs=1e-7)
        assert chance_deviation(positives, images) == spread
    assert chance_ap(0, images) is None
    assert chance_deviation(0, images) is None


def test_a_missing_value_makes_the_result_missing():
    assert mean([0.5, None]) is None
    assert sample_std([0.5, 0.6, None]) is None
    assert mean([]) is None


@pytest.mark.parametrize(
    ("values", "marks"),
    [
        ([0.9, 0.8, 0.7, 0.6], [BEST, SECOND, NONE, LOWEST]),
        ([0.7, 0.9, 0.8], [LOWEST, BEST, SECOND]),
        ([0.9, 0.8], [BEST, SECOND]),
        ([0.9], [NONE]),
        ([0.9, None, 0.8], [BEST, NONE, SECOND]),
        ([0.9, None], [NONE, NONE]),
        ([0.9, 0.9, 0.8, 0.8, 0.7, 0.7], [BEST, BEST, SECOND, SECOND, LOWEST, LOWEST]),
        ([0.9, 0.9], [NONE, NONE]),
        ([0.90001, 0.90004, 0.8, 0.7], [BEST, BEST, SECOND, LOWEST]),  # both read 90.00
        ([], []),
    ],
)
def test_marks(values, marks):
    assert mark_column(values, [True] * len(values)) == marks


def test_rows_that_do_not_compete_change_no_mark():
    values = [0.99, 0.9, 0.8, 0.7, 0.1]
    assert mark_column(values, [False, True, True, True, False]) == [
        NONE,
        BEST,
        SECOND,
        LOWEST,
        NONE,
    ]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_equal_looking_cells_carry_equal_marks_and_the_highest_is_best(values):
    marks = mark_column(values, [True] * len(values))
    by_text = {}
    for value, mark in zip(values, marks, strict=True):
        assert by_text.setdefault(percent(value), mark) == mark
    assert marks[values.index(max(values))] == (BEST if len(by_text) > 1 else NONE)
