import numpy as np
import pytest

from splits import noise, regimes, statistics
from splits.labels import SparseLabels


def observed_by_hand():
    """Eight images: 6 candidates of class a, 2 of b, and 1 among the 4 known labels of c."""
    labels = np.zeros((8, 3), np.int8)
    labels[:6, 0], labels[:2, 1], labels[0, 2], labels[4:, 2] = 1, 1, 1, -1
    return labels


def test_candidates_by_hand():
    estimates = noise.estimate(observed_by_hand(), regimes.parse("candidates:0.9"))
    # rho^ = 2/8; n^ = (6 - 2) / (3/4), 0, 0
    assert estimates == pytest.approx(
        {
            "observed_rate": 20 / 24,
            "observed_positives_per_image": 9 / 8,
            "images_without_positive": 2 / 8,
            "noise_rate": 1 / 4,
            "positives_per_image": 16 / 3 / 8,
            "false_candidates": 1 - 16 / 3 / 9,
        }
    )
    assert noise.invert(observed_by_hand(), 0.25).tolist() == pytest.approx([16 / 3, 0, 0])
    assert noise.invert(observed_by_hand(), 0).tolist() == [6, 2, 1]
    assert noise.invert(observed_by_hand(), 1).tolist() == [0, 0, 0]


def test_candidates_with_a_rate_per_class_are_not_estimated():
    estimates = noise.estimate(observed_by_hand(), regimes.parse("candidates:0.9"), by_class=True)
    assert estimates == pytest.approx(
        {
            "observed_rate": 20 / 24,
            "observed_positives_per_image": 9 / 8,
            "images_without_positive": 2 / 8,
        }
    )


def test_pal_and_positives_only_by_hand():
    estimates = noise.estimate(observed_by_hand(), regimes.parse("pal:0.9"))
    assert estimates["positives_per_image"] == pytest.approx(6 / 8 + 2 / 8 + 1 / 4)
    kept = noise.estimate(observed_by_hand(), regimes.parse("ppl:0.5"))
    assert set(kept) == {"observed_rate", "observed_positives_per_image", "images_without_positive"}


def test_nothing_known():
    for text in ("full", "pal:0.5", "spl", "candidates:0.5"):
        estimates = noise.estimate(np.full((2, 3), -1, np.int8), regimes.parse(text))
        assert estimates == {
            "observed_rate": 0,
            "observed_positives_per_image": 0,
            "images_without_positive": 1,
        }


def test_no_candidate():
    estimates = noise.estimate(np.zeros((2, 3), np.int8), regimes.parse("candidates:0.5"))
    assert estimates["noise_rate"] == 0 and "false_candidates" not in estimates


def test_a_class_with_few_known_labels_is_left_out():
    labels = np.full((300, 2), -1, np.int8)
    labels[:, 0] = np.arange(300) % 3 == 0
    labels[0, 1] = 0  # one known negative: its share of candidates is 0
    assert noise.candidate_rate(labels) == pytest.approx(1 / 3)


@pytest.mark.parametrize("fill", [0, -1])
@pytest.mark.parametrize("text", ["full", "pal:0.4", "ppl:0.5", "candidates:0.3"])
def test_sparse_labels(uniform_for, text, fill):
    u = uniform_for((40, 6))
    labels = (u(np.arange(40)[:, None], np.arange(6)[None, :]) < 0.3).astype(np.int8)
    regime = regimes.parse(text)
    observed = regimes.observe(labels, regime, uniform_for((40, 6), 1))
    stored = SparseLabels.from_dense(observed, fill)
    assert noise.estimate(stored, regime) == noise.estimate(observed, regime)


def test_a_long_tail_reveals_the_rate(uniform_for):
    n, c = 4000, 20
    u = uniform_for((n, c), 1)
    share = 0.5 * np.arange(1, c + 1) ** -1.5
    labels = (u(np.arange(n)[:, None], np.arange(c)[None, :]) < share).astype(np.int8)
    regime = regimes.parse("candidates:0.3")
    observed = regimes.observe(labels, regime, uniform_for((n, c), 2))
    estimates = noise.estimate(observed, regime)
    assert estimates["noise_rate"] == pytest.approx(0.3, abs=0.02)
    assert estimates["false_candidates"] == pytest.approx(
        statistics.observed_rates(labels, observed)["candidate_noise"], abs=0.04
    )
