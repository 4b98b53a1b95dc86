"""Metrics: scikit-learn's numbers, the published groupings, and undefined values."""

from __future__ import annotations

import doctest
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from benchkit.base import random
from leaderboard import metrics
from leaderboard.metrics import average_precision, summary, threshold_metrics

Vectors = Callable[[str], Any]


def drawn(stream: str, rows: int, classes: int) -> np.ndarray:
    return random.uniform(0, stream, np.arange(rows)[:, None], np.arange(classes)[None, :])


def sklearn_ap(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each class on its known labels; NaN where scikit-learn returns 0 with a warning."""
    values = []
    for score, label in zip(scores.T, labels.T, strict=True):
        known = label >= 0
        defined = (label == 1).any()
        values.append(average_precision_score(label[known], score[known]) if defined else math.nan)
    return np.array(values)


def test_a_table_computed_by_hand() -> None:
    # class 0, scores 4 3 2 1, labels 1 0 1 0: precisions at the positives 1/1 and 2/3
    # class 1, scores 5 5 5 1, labels 0 1 0 1: the tie enters whole, 1/3, then 2/4
    # class 2: no positive; class 3: the unknown top score leaves, so 1/1
    scores = np.array([[4, 5, 1, 9], [3, 5, 2, 8], [2, 5, 3, 7], [1, 1, 4, 6]], float)
    labels = np.array([[1, 0, 0, -1], [0, 1, 0, 1], [1, 0, -1, 0], [0, 1, 0, 0]], np.int8)
    expected = [(1 + 2 / 3) / 2, (1 / 3 + 2 / 4) / 2, math.nan, 1.0]
    np.testing.assert_allclose(average_precision(scores, labels), expected, rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("levels", [0, 1, 2, 7, 300])
def test_average_precision_is_scikit_learns(levels: int, dtype: type) -> None:
    scores = drawn("scores", 400, 12) * 6 - 3
    if levels:  # heavily tied, or constant
        scores = np.floor(scores / 6 * levels)
    shares = np.linspace(0.0, 0.9, 12)  # class 0 is empty
    labels = (drawn("labels", 400, 12) < shares).astype(np.int8)
    unknown = labels.copy()
    unknown[drawn("unknown", 400, 12) < 0.3] = -1
    for matrix in (labels, unknown):
        result = average_precision(scores.astype(dtype), matrix)
        np.testing.assert_allclose(
            result, sklearn_ap(scores.astype(dtype), matrix), rtol=0, atol=1e-12
        )
        assert np.isnan(result[0])
        assert not np.isnan(result[1:]).any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("span", [0.0, 1e-44, 1e-39, 1e-30, 0.5, 40.0, 6e4, 6e38])
def test_average_precision_of_many_scores(span: float, dtype: type) -> None:
    """Above 4096 scores ranks come from bins: of any width, with ties, and with an outlier."""
    spread = np.stack([drawn("wide", 5000, 1)[:, 0], np.floor(drawn("tie", 5000, 1)[:, 0] * 9) / 8])
    spread = np.append(spread, spread[:1] ** 8, axis=0).T - 0.5  # a crowd in the lowest bins
    with np.errstate(over="ignore"):
        scores = (spread * min(span, 3e38) * 2).astype(dtype)
    scores[~np.isfinite(scores)] = 0
    labels = (drawn("many", 5000, 3) < 0.1).astype(np.int8)
    result = average_precision(scores, labels)
    wide = scores.astype(np.float64)  # exact, and what scikit-learn understands
    np.testing.assert_allclose(result, sklearn_ap(wide, labels), rtol=0, atol=1e-12)


tables = st.tuples(st.integers(1, 12), st.integers(1, 4)).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float32, shape, elements=st.sampled_from([-50.0, -0.0, 0.0, 0.5, 2.0])),
        hnp.arrays(np.int8, shape, elements=st.sampled_from([-1, 0, 1])),
        st.permutations(range(shape[0])),
    )
)


@given(tables)
@settings(max_examples=150)
def test_average_precision_on_any_table(case: tuple[np.ndarray, np.ndarray, list[int]]) -> None:
    scores, labels, order = case
    result = average_precision(scores, labels)
    np.testing.assert_allclose(result, sklearn_ap(scores, labels), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(result, average_precision(scores[order], labels[order]))
    np.testing.assert_array_equal(result, average_precision(scores * 2 + 1, labels))  # ranks only


@pytest.mark.parametrize("name", ["distinct", "ties_empty_class", "coarse_scores_n24"])
def test_reference_average_precision(vectors: Vectors, name: str) -> None:
    (case,) = [c for c in vectors("metric_ap")["cases"] if c["name"] == name]
    labels = np.array(case["targets"], np.int8)
    expected = np.where(labels.any(0), case["ap"], math.nan)
    result = average_precision(np.array(case["scores"]), labels)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


def test_reference_shot_groups(vectors: Vectors) -> None:
    case = vectors("lt_map_groups")
    labels = np.array(case["targets"], np.int8)
    shot = np.empty(20, np.uint8)
    for code, group in enumerate(("head", "medium", "tail")):
        shot[case["groups"][group]] = code
    result = summary(np.array(case["scores"]), labels, shot)
    # The reference counts the empty class 19 (medium) as 0; here it leaves the mean.
    assert not labels[:, 19].any()
    assert result["ap"][19] is None
    assert result["undefined_classes"] == 1
    assert result["ap"][:19] == pytest.approx(case["ap"][:19], abs=1e-12)
    assert result["map_many"] == pytest.approx(case["map_head"], abs=1e-12)
    assert result["map_medium"] == pytest.approx(case["map_medium"] * 6 / 5, abs=1e-12)
    assert result["map_few"] == pytest.approx(case["map_tail"], abs=1e-12)
    assert result["map"] == pytest.approx(case["map_total"] * 20 / 19, abs=1e-12)


def test_reference_comic_metrics(vectors: Vectors) -> None:
    case = vectors("comic_metrics")
    expected, counts = case["expected"], np.array(case["class_counts"])
    shot = np.where(counts >= 100, 0, np.where(counts >= 20, 1, 2))
    probability = np.array(case["probs"])
    logits = np.log(probability) - np.log1p(-probability)
    result = summary(logits, np.array(case["targets"], np.int8), shot)
    # COMIC adds 1e-8 to a denominator of its AP; hence not closer.
    assert 100 * np.array(result["ap"]) == pytest.approx(
        100 * np.array(expected["per_class_AP"]), abs=1e-4
    )
    for key, reference in {
        "map": "total_mAP",
        "map_many": "many_mAP",
        "map_medium": "medium_mAP",
        "map_few": "few_mAP",
        "map_groups_average": "average_mAP",
    }.items():
        assert 100 * result[key] == pytest.approx(expected[reference], abs=1e-4)
    assert 100 * result["micro"]["recall"] == pytest.approx(expected["recall"], abs=1e-9)
    assert 100 * result["micro"]["precision"] == pytest.approx(expected["precision"], abs=1e-9)


def test_empty_groups_are_none_and_leave_no_average() -> None:
    scores = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 1.0]])
    labels = np.array([[1, 0, 0], [0, 0, 1]], np.int8)
    result = summary(scores, labels, np.array([0, 1, 0]))  # medium has no positive, few no class
    assert result["map_many"] == 1.0
    assert result["map_medium"] is None
    assert result["map_few"] is None
    assert result["map_groups_average"] is None
    assert result["map"] == 1.0
    assert result["ap"] == [1.0, None, 1.0]
    assert result["undefined_classes"] == 1
    nothing = summary(scores, np.zeros((2, 3), np.int8), np.array([0, 1, 2]))
    assert nothing["map"] is None
    assert nothing["undefined_classes"] == 3
    assert nothing["macro"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_the_average_of_the_groups_weights_groups_equally() -> None:
    scores = np.array([[4.0, 4.0, 1.0, 1.0], [3.0, 3.0, 2.0, 2.0]])
    labels = np.array([[1, 1, 1, 1], [0, 0, 0, 0]], np.int8)  # AP 1, 1, 1/2, 1/2
    result = summary(scores, labels, np.array([0, 0, 1, 2]))
    assert result["map"] == pytest.approx(3 / 4)
    assert result["map_groups_average"] == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)


def test_threshold_metrics_are_scikit_learns() -> None:
    scores = drawn("scores", 200, 6) - 0.4
    scores[:, 4] = -1.0  # never predicted: precision 0
    scores[:5, 0] = 0.0  # probability exactly 0.5 is not above it
    labels = (drawn("labels", 200, 6) < 0.3).astype(np.int8)
    result = threshold_metrics(scores, labels)
    for average in ("micro", "macro"):
        p, r, f, _ = precision_recall_fscore_support(
            labels, scores > 0, average=average, zero_division=0
        )
        assert result[average] == pytest.approx({"precision": p, "recall": r, "f1": f}, abs=1e-12)


def test_threshold_metrics_leave_unknown_labels_and_empty_classes_out() -> None:
    # class 0: known rows 0, 1, 3: called 0 and 1, right 0; missed 3.  P 1/2, R 1/2, F 1/2
    # class 1: no positive, one false call: in the micro precision, not in the macro means
    # class 2: hit in row 0, the call in row 1 is unknown.             P 1,   R 1,   F 1
    scores = np.array([[1, -1, 1], [1, 1, 1], [1, -1, -1], [-1, -1, -1]], float)
    labels = np.array([[1, 0, 1], [0, 0, -1], [-1, 0, 0], [1, 0, 0]], np.int8)
    result = threshold_metrics(scores, labels)
    assert result["macro"] == pytest.approx({"precision": 3 / 4, "recall": 3 / 4, "f1": 3 / 4})
    assert result["micro"] == pytest.approx({"precision": 2 / 4, "recall": 2 / 3, "f1": 4 / 7})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_an_error_with_its_position(value: float) -> None:
    scores, labels = np.zeros((5, 3)), np.ones((5, 3), np.int8)
    scores[3, 1] = value
    with pytest.raises(ValueError, match=r"row 3, class 1 is not finite"):
        average_precision(scores, labels)
    with pytest.raises(ValueError, match=r"row 3, class 1"):
        summary(scores, labels, np.zeros(3))


@pytest.mark.parametrize(("one", "two"), [((4, 3), (3, 4)), ((4,), (4,)), ((2, 2, 2), (2, 2, 2))])
def test_shapes_that_do_not_match(one: tuple[int, ...], two: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must both be \[N, C\]"):
        average_precision(np.zeros(one), np.zeros(two, np.int8))


def test_lists_and_names_of_shot_groups_are_accepted() -> None:
    scores = [[4.0, 4.0, 1.0], [3.0, 3.0, 2.0]]
    labels = [[1, 1, 1], [0, 0, 0]]
    by_name = summary(scores, labels, ["few", "many", "medium"])
    assert by_name == summary(np.array(scores), np.array(labels, np.int8), np.array([2, 0, 1]))
    assert by_name["map_medium"] == 0.5


@pytest.mark.parametrize(
    ("shot", "message"),
    [
        (["many", "head"], r"the shot group 'head' of class 1 is not one of many, medium, few"),
        ([3, 0], r"the shot group 3 of class 0 is not one of"),
        (["many"], r"shot \(1,\) must be \[C\], with C = 2 classes"),
    ],
)
def test_wrong_shot_groups(shot: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        summary(np.zeros((1, 2)), np.ones((1, 2), np.int8), shot)


def test_the_examples_of_the_documentation() -> None:
    results = doctest.testmod(metrics)
    assert results.attempted >= 6
    assert results.failed == 0
