import math

import numpy as np
import pytest

from splits import statistics
from splits.errors import InputError
from splits.labels import SparseLabels
from splits.sources import arrays

LABELS = np.array([[1, 1, 0], [1, 0, -1], [0, 0, 0], [1, 1, 0]], np.int8)


def test_counts_by_hand():
    assert statistics.class_counts(LABELS).tolist() == [3, 2, 0]
    assert statistics.class_counts(LABELS).dtype == np.int64
    assert statistics.cardinality(LABELS) == 5 / 4
    assert statistics.cooccurrence(LABELS).tolist() == [[3, 2, 0], [2, 2, 0], [0, 0, 0]]
    assert statistics.cooccurrence(LABELS).dtype == np.int64


@pytest.mark.parametrize("fill", [0, -1])
def test_counts_of_sparse_labels(fill):
    stored = SparseLabels.from_dense(LABELS, fill)
    statistics.check_labels(stored)
    assert statistics.class_counts(stored).tolist() == [3, 2, 0]
    assert statistics.class_counts(stored).dtype == np.int64
    assert statistics.cardinality(stored) == 5 / 4
    assert statistics.cooccurrence(stored).tolist() == [[3, 2, 0], [2, 2, 0], [0, 0, 0]]
    with pytest.raises(InputError, match=r"at least one image.*\(0, 3\)"):
        statistics.check_labels(stored.rows(np.zeros(0, int)))


def test_imbalance_ratio_leaves_out_absent_classes():
    assert statistics.imbalance_ratio(np.array([3, 2, 0])) == 1.5
    assert math.isnan(statistics.imbalance_ratio(np.array([0, 0])))


@pytest.mark.parametrize(
    ("name", "largest", "smallest", "cardinality"),
    [("labels/coco2014_train", 45174, 128, 2.9366), ("labels/voc2012_trainval", 4374, 309, 1.535)],
)
def test_real_counts(data, name, largest, smallest, cardinality):
    labels = arrays.load(data(f"{name}.npz")).labels
    counts = statistics.class_counts(labels)
    assert (counts.max(), counts.min()) == (largest, smallest)
    assert statistics.cardinality(labels) == pytest.approx(cardinality, abs=5e-4)
    assert (np.diag(statistics.cooccurrence(labels)) == counts).all()
    assert statistics.imbalance_ratio(counts) == largest / smallest


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((0, 3), np.int8), r"at least one image and one class.*\(0, 3\)"),
        (np.zeros((3, 0), np.int8), r"at least one image and one class.*\(3, 0\)"),
        (np.zeros(3, np.int8), r"at least one image and one class.*\(3,\)"),
        (np.zeros((1, 1)), "whole numbers.*float64"),
        (np.array([[0, 1], [0, 2]], np.int8), "row 1, class 1 is 2"),
        (np.array([[0, 1], [-2, 1]], np.int8), "row 1, class 0 is -2"),
    ],
)
def test_labels_are_checked(labels, message):
    with pytest.raises(InputError, match=message):
        statistics.check_labels(labels)


def test_rates_by_hand():
    labels = np.array([[1, 0], [1, 0], [0, 0], [-1, 0]], np.int8)
    observed = np.array([[1, 1], [-1, 0], [1, -1], [-1, 0]], np.int8)
    rates = statistics.observed_rates(labels, observed)
    assert rates["observed"] == 5 / 8
    assert rates["positives_kept"] == 1 / 2
    assert rates["candidate_noise"] == 2 / 3
    assert rates["observed_by_class"].tolist() == [1 / 2, 3 / 4]
    assert rates["positives_kept_by_class"][0] == 1 / 2
    assert math.isnan(rates["positives_kept_by_class"][1])
    assert rates["candidate_noise_by_class"].tolist() == [1 / 2, 1]


def test_rates_of_nothing():
    nothing = np.full((2, 2), -1, np.int8)
    rates = statistics.observed_rates(nothing, nothing)
    assert rates["observed"] == 0
    assert math.isnan(rates["positives_kept"]) and math.isnan(rates["candidate_noise"])


def test_rates_need_one_shape():
    with pytest.raises(InputError, match=r"one shape, not \(2, 2\) and \(2, 3\)"):
        statistics.observed_rates(np.zeros((2, 2), np.int8), np.zeros((2, 3), np.int8))
