"""Validation scores from observed labels: numbers by hand, and expectations over all masks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest

from benchkit.base import random
from benchkit.runs import selection
from benchkit.runs.selection import CHOSEN, ESTIMATORS, RULES, candidates_for, validation_score
from leaderboard import metrics
from splits.regimes import KINDS, Regime, observe

FULL, PAL, PPL, SPL = (Regime.parse(text) for text in ("full", "pal:0.5", "ppl:0.25", "spl"))
MISSING, CANDIDATES = Regime.parse("missing:0.4"), Regime.parse("candidates:0.2")
REGIMES = [FULL, PAL, PPL, SPL, MISSING, CANDIDATES]


def column(values: list[float]) -> np.ndarray:
    return np.array(values, float)[:, None]


def codes(values: list[int]) -> np.ndarray:
    return np.array(values, np.int8)[:, None]


def drawn(images: int = 80, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits and true labels; every image has a positive."""
    rows, columns = np.arange(images)[:, None], np.arange(classes)[None, :]
    true = (random.uniform(0, "labels", rows, columns) < 0.3).astype(np.int8)
    true[true.sum(1) == 0, 0] = 1
    return random.uniform(0, "scores", rows, columns) + 0.3 * true, true


def observed(true: np.ndarray, regime: Regime) -> np.ndarray:
    rows, columns = map(np.arange, true.shape)
    result = observe(true, regime, lambda i, c: random.uniform(1, "mask", rows[i], columns[c]))
    assert isinstance(result, np.ndarray)
    return result


# ----------------------------------------------------------------------------- the rules


def test_true_labels_give_the_map() -> None:
    logits, true = drawn()
    true[3, 1] = -1
    expected = metrics.summary(logits, true, [0] * 4)["map"]
    for regime in REGIMES:
        assert validation_score(logits, true, regime, "val") == expected
    assert validation_score(logits, true, FULL, "val-observed") == expected


@pytest.mark.parametrize("regime", REGIMES, ids=str)
def test_observed_labels_are_scored_by_the_estimator_of_their_regime(regime: Regime) -> None:
    logits, true = drawn()
    labels = observed(true, regime)
    name = CHOSEN[regime.kind]
    assert name in candidates_for(regime)
    score = validation_score(logits, labels, regime, "val-observed")
    assert score == ESTIMATORS[name](logits, labels, regime)
    assert score is not None and 0 < score < 1


@pytest.mark.parametrize("regime", REGIMES, ids=str)
def test_a_better_setting_has_a_better_score(regime: Regime) -> None:
    logits, true = drawn(400)
    labels = observed(true, regime)
    for name in candidates_for(regime):
        scores = [ESTIMATORS[name](logits + s * true, labels, regime) for s in (-0.2, 0, 0.2, 0.4)]
        assert np.all(np.diff(np.array(scores, float)) >= 0), name


@pytest.mark.parametrize("regime", REGIMES, ids=str)
def test_scores_depend_on_ranks_only_and_not_on_the_order_of_images(regime: Regime) -> None:
    logits, true = drawn()
    labels = observed(true, regime)
    order = random.generator(0, "order").permutation(len(true))
    logits = np.round(logits, 1)  # with ties
    for name in candidates_for(regime):
        score = ESTIMATORS[name](logits, labels, regime)
        assert score is not None
        assert ESTIMATORS[name](np.exp(3 * logits), labels, regime) == score
        moved = ESTIMATORS[name](logits[order], labels[order], regime)
        assert moved == pytest.approx(score, rel=1e-12)


def test_undefined_scores() -> None:
    logits, true = drawn()
    nothing = np.zeros_like(true)
    infinite = logits.copy()
    infinite[2, 1] = math.inf
    for rule, regime in itertools.product(RULES, REGIMES):
        assert validation_score(infinite, true, regime, rule) is None
        assert validation_score(logits, nothing, regime, rule) is None
    for regime in REGIMES:
        for name in candidates_for(regime):
            assert ESTIMATORS[name](logits, nothing, regime) is None
            with pytest.raises(ValueError, match=r"\(80, 4\).*\(79, 4\)"):
                ESTIMATORS[name](logits, true[1:], regime)
    assert selection.known_labels(logits, np.where(true == 1, 1, -1), SPL) is None
    with pytest.raises(ValueError, match="the rule 'test' is not one of val, val-observed"):
        validation_score(logits, true, FULL, "test")


def test_every_regime_has_an_estimator() -> None:
    assert tuple(CHOSEN) == KINDS


# ----------------------------------------------------------------------------- by hand


def test_numbers_by_hand() -> None:
    # rank      1   2   3   4   5   6;  observed positives at ranks 2 and 5
    # hits          1           2
    # known (o >= 0)  1         3       of ranks 2, 3, 5
    logits, labels = column([9, 8, 7, 6, 5, 4]), codes([-1, 1, 0, -1, 1, -1])
    expected = {
        "unknown_as_negative": (1 / 2 + 2 / 5) / 2,
        "known_labels": (1 / 1 + 2 / 3) / 2,
        "known_precision": (1 / 2 + (1 + 4 * 1 / 2) / 5) / 2,
        "share_corrected": (1 / 2 + (1 + 1 / 0.5) / 5) / (1 + (1 + 1 / 0.5) / 2),
        "area_under_curve": (3 / 4 + 1 / 4) / 2,  # ranks 3, 4, 6 are below 8; rank 6 is below 5
    }
    assert expected.keys() == set(candidates_for(PAL))
    for name, value in expected.items():
        assert ESTIMATORS[name](logits, labels, PAL) == pytest.approx(value, rel=1e-14), name


def test_ties_share_a_rank() -> None:
    logits, labels = column([2, 2, 2, 1]), codes([1, 0, 1, -1])
    expected = {
        "unknown_as_negative": 2 / 3,
        "known_labels": 2 / 3,
        "known_precision": (1 + 2 * 1 / 2) / 3,
        "share_corrected": 2 * (1 + 1 / 0.5) / 3 / (1 + (1 + 1 / 0.5) / 2),
        "area_under_curve": (1 + 0.5) / 2,
    }
    for name, value in expected.items():
        assert ESTIMATORS[name](logits, labels, PAL) == pytest.approx(value, rel=1e-14), name


@pytest.mark.parametrize(("regime", "share"), [(PPL, 0.25), (SPL, 0.5), (MISSING, 0.6)])
def test_the_share_of_observed_positives(regime: Regime, share: float) -> None:
    logits, labels = column([3, 2, 1]), codes([1, -1, 1])
    expected = (1 + (1 + 1 / share) / 3) / (1 + (1 + 1 / share) / 2)
    assert selection.share_corrected(logits, labels, regime) == pytest.approx(expected, rel=1e-14)


def test_the_noise_of_candidates_is_removed() -> None:
    # y' = 1, -1/4, 1, -1/4 at ranks 1 to 4 and rho = 1/5, so n' = 3/2, and
    # A = 1 + (-1/4)(1 + 1)/2 + (1 + 3/4)/3 + (-1/4)(1 + 7/4)/4
    logits, labels = column([4, 3, 2, 1]), codes([1, 0, 1, 0])
    a = 1 - 1 / 4 + 1.75 / 3 - 2.75 / 16
    score = selection.noise_corrected(logits, labels, CANDIDATES)
    assert score == pytest.approx(a / 1.5, rel=1e-14)
    # Two classes, the second with n' = -1/4 + ... < 0, so it has no weight; d = sqrt(4 / 4) = 1.
    # A of the second: -1/4 - (1/4)(3/4)/2 + (1/2)/3 ... by the same rule.
    other = codes([0, 0, 0, 0])
    soft = -0.25
    b = sum(soft * (1 + soft * k) / (k + 1) for k in range(4))
    both = selection.noise_corrected(
        np.hstack([logits, logits]), np.hstack([labels, other]), CANDIDATES
    )
    assert both == pytest.approx((a / 2.5 + b / 1.0) / (1.5 / 2.5), rel=1e-14)


def test_candidates_without_noise_are_true_labels() -> None:
    logits, true = drawn()
    none = Regime.parse("candidates:0")
    expected = validation_score(logits, true, none, "val")
    assert selection.noise_corrected(logits, true, none) == pytest.approx(expected, rel=1e-12)


def test_a_perfect_ranking_has_the_score_1() -> None:
    logits, true = drawn()
    for regime in (PAL, PPL, SPL, MISSING):
        labels = observed(true, regime)
        assert selection.share_corrected(logits + 9 * labels, labels, regime) == pytest.approx(
            1, rel=1e-12
        )


# ----------------------------------------------------------------------------- expectations


def masks(size: int, rate: float) -> Iterator[tuple[np.ndarray, float]]:
    """Every mask of `size` labels, each kept with probability `rate`, and its probability."""
    for mask in itertools.product([False, True], repeat=size):
        hits = sum(mask)
        yield np.array(mask), rate**hits * (1 - rate) ** (size - hits)


TRUE = np.array([1, 0, 1, 1, 0, 0, 1], np.int8)
SCORES = np.array([7, 6, 5, 5, 3, 2, 1], float)  # with a tie
AP = float(metrics.average_precision(SCORES[:, None], TRUE[:, None])[0])


def test_the_corrected_share_has_no_bias() -> None:
    regime = Regime.parse("pal:0.3")
    total = 0.0
    for mask, probability in masks(len(TRUE), 0.3):
        labels = np.where(mask, TRUE, -1).astype(np.int8)
        score = selection.share_corrected(SCORES[:, None], labels[:, None], regime)
        ranks = np.arange(1, (labels == 1).sum() + 1)
        total += probability * ((1 + (ranks - 1) / 0.3) / ranks).sum() * (score or 0.0)
    assert total == pytest.approx(0.3 * TRUE.sum() * AP, rel=1e-12)


def test_corrected_candidates_have_no_bias() -> None:
    total = 0.0
    for mask, probability in masks(3, 0.2):
        labels = TRUE.copy()
        labels[TRUE == 0] = mask
        score = selection.noise_corrected(SCORES[:, None], labels[:, None], CANDIDATES)
        count = np.where(labels == 1, 1, -0.25).sum()
        assert score is not None and count > 0
        total += probability * count * score
    assert total == pytest.approx(TRUE.sum() * AP, rel=1e-12)


def test_the_area_is_an_affine_function_of_the_true_one() -> None:
    # Each positive is the only observed one in turn; 3 of the other 6 images are positive too.
    areas, regime = [], SPL
    for i in np.flatnonzero(TRUE):
        labels = np.full(len(TRUE), -1, np.int8)
        labels[i] = 1
        areas.append(selection.area_under_curve(SCORES[:, None], labels[:, None], regime))
    true = selection.area_under_curve(SCORES[:, None], TRUE[:, None], FULL)
    assert true is not None
    assert np.mean(np.array(areas, float)) == pytest.approx(0.5 * true + 0.5 / 2, rel=1e-12)
