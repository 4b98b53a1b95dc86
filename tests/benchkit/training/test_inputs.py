"""The inputs of training: standardised features, label tables, and the training set of a split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from baselines.bce import BCE
from baselines.core import LabelTable, MethodError
from baselines.core import labels as label_tables
from baselines.core.labels import CompressedTable, DenseTable
from benchkit.base.errors import BenchkitError
from benchkit.split.model import Part, Split
from benchkit.training import inputs
from benchkit.training.inputs import TrainingSet
from splits.labels import SparseLabels

# ----------------------------------------------------------------------------- features


def with_features(split: Split, **features: np.ndarray | None) -> Split:
    parts: dict[str, Part] = {
        name: replace(part, features=features.get(name, part.features))
        for name, part in split.parts.items()
    }
    return replace(split, parts=parts)


@pytest.mark.parametrize("on", [True, False])
def test_features_that_are_not_finite_are_refused(make_toy: Callable[..., Split], on: bool) -> None:
    split = make_toy()
    features = split.test.features
    assert features is not None
    features[3, 0, 1] = np.inf
    with pytest.raises(BenchkitError, match="the test features of split 'toy' hold a value that"):
        inputs.standardised(split, on=on)


def test_features_are_standardised_by_the_training_part(make_toy: Callable[..., Split]) -> None:
    train = np.array([[[1.0, 5.0], [3.0, 5.0]], [[5.0, 5.0], [7.0, 5.0]]], np.float16)  # [2, 2, 2]
    test = np.array([[[9.0, 4.0]]], np.float32)
    split = with_features(make_toy(), train=train, test=test)
    standardised = inputs.standardised(split, on=True)
    # Over rows and views, feature 0 has mean 4 and deviation sqrt(5). Feature 1 is constant.
    expected = np.array([[-3, -1], [1, 3]]) / np.sqrt(5)
    np.testing.assert_allclose(standardised["train"][:, :, 0], expected, rtol=1e-6)
    assert standardised["train"][:, :, 1].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    np.testing.assert_allclose(standardised["test"], [[[5 / np.sqrt(5), -1.0]]], rtol=1e-6)
    assert {array.dtype for array in standardised.values()} == {np.dtype(np.float32)}


def test_features_can_stay_as_they_are(make_toy: Callable[..., Split]) -> None:
    split = make_toy()
    features = inputs.standardised(split, on=False)
    original = split.parts["train"].features
    assert original is not None
    assert np.array_equal(features["train"], original)
    features["train"][:] = 0.0
    assert original.any()  # a copy


def test_a_split_without_features_is_refused(make_toy: Callable[..., Split]) -> None:
    split = replace(with_features(make_toy(), test=None), name="bare")
    with pytest.raises(BenchkitError, match="the test part of split 'bare' has no features; make"):
        inputs.standardised(split, on=True)


def test_moments_in_blocks_equal_those_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "_BLOCK", 7)
    rows = np.random.default_rng(0).normal(100.0, 0.1, size=(50, 3)).astype(np.float32)
    mean, deviation = inputs.moments(rows)
    assert mean.tolist() == rows.astype(np.float64).mean(0).tolist()
    assert deviation.tolist() == rows.astype(np.float64).std(0).tolist()


# ----------------------------------------------------------------------------- label tables


def test_sparse_labels_stay_compressed_only_if_the_matrix_is_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dense = np.array([[1, -1, 0], [-1, -1, 1]], np.int8)
    for labels, limit, kind in (
        (dense, 0, DenseTable),
        (SparseLabels.from_dense(dense, -1), 6, DenseTable),
        (SparseLabels.from_dense(dense, -1), 5, CompressedTable),
        (SparseLabels.from_dense(dense, 0), 5, CompressedTable),
    ):
        monkeypatch.setattr(label_tables, "MOST_WHOLE", limit)
        table = inputs.label_table(labels, "cpu")
        assert type(table) is kind
        assert table.rows(torch.tensor([1, 0])).tolist() == [[-1, -1, 1], [1, -1, 0]]


# ----------------------------------------------------------------------------- training sets


@pytest.mark.parametrize(
    ("regime", "kind", "noise_rate"),
    [
        ("full", "full", None),
        ("pal:0.7", "pal", pytest.approx(0.3)),
        ("candidates:0.2", "candidates", 0.2),
        ("missing:0.4", "missing", None),
    ],
)
def test_the_training_set_of_a_split(
    make_toy: Callable[..., Split], regime: str, kind: str, noise_rate: Any
) -> None:
    split = make_toy()
    recipe = {**split.recipe, "labels": {**split.recipe["labels"], "regime": regime}}
    split, part = replace(split, recipe=recipe), split.parts["train"]
    embeddings = np.eye(5, 3)
    assert part.features is not None and part.observed is not None
    data = inputs.training_set(split, part.features, "cpu", embeddings)
    assert (data.regime, data.noise_rate) == (kind, noise_rate)
    assert np.array_equal(data.features.numpy(), part.features)
    assert np.array_equal(data.observed.whole().numpy(), part.observed)
    assert np.array_equal(data.true.whole().numpy(), part.true)
    assert data.shot.tolist() == split.shot.tolist()
    assert data.class_embeddings is not None
    assert data.class_embeddings.dtype == torch.float32
    assert np.array_equal(data.class_embeddings.numpy(), embeddings)
    assert inputs.training_set(split, part.features, "cpu").class_embeddings is None


def tiny(views: int) -> TrainingSet:
    """Three images; feature 0 is 10 * image + view."""
    features = 10.0 * torch.arange(3)[:, None, None] + torch.arange(views)[None, :, None]
    observed = torch.tensor([[0, 1], [1, -1], [-1, 0]], dtype=torch.int8)
    table = LabelTable.of(observed)
    return TrainingSet(features, table, table, "full", torch.tensor([0, 2]))


def test_gather_takes_rows_and_views() -> None:
    data, rows = tiny(views=2), torch.tensor([[2, 0], [1, 2]])
    features, observed = data.gather(rows, torch.tensor([[1, 0], [1, 0]]))
    assert features.tolist() == [[[21.0], [0.0]], [[11.0], [20.0]]]
    assert observed.tolist() == [[[-1, 0], [0, 1]], [[1, -1], [-1, 0]]]
    assert data.gather(rows)[0].tolist() == [[[20.0], [0.0]], [[10.0], [20.0]]]
    features, observed = tiny(views=1).gather(torch.tensor([2, 1]))
    assert features.tolist() == [[20.0], [10.0]]
    assert observed.tolist() == [[-1, 0], [1, -1]]


def test_oracle_values() -> None:
    true = LabelTable.of(torch.tensor([[1, 1, -1], [1, 0, 0]], dtype=torch.int8))
    data = TrainingSet(torch.zeros(2, 1, 1), true, true, "full", torch.zeros(3), noise_rate=0.5)
    values = data.oracle_values()
    assert values["true_labels"] is true
    assert values["true_counts"].tolist() == [2.0, 1.0, 0.0]
    assert values["expected_positives"] == 1.5
    assert values["noise_rate"] == 0.5
    assert "noise_rate" not in replace(data, noise_rate=None).oracle_values()


def test_problems_open_only_the_declared_oracles() -> None:
    class Declared(BCE):
        def oracle(self) -> tuple[str, ...]:
            return ("true_counts",)

    data = replace(tiny(views=1), class_embeddings=torch.ones(2, 3))
    closed, opened = data.problems([BCE(), Declared()], epochs=9)
    assert (closed.feature_dim, closed.regime, closed.epochs) == (1, "full", 9)
    assert closed.labels is data.observed and closed.class_embeddings is data.class_embeddings
    assert opened.oracle["true_counts"].tolist() == [1.0, 1.0]
    with pytest.raises(MethodError, match="'true_counts'"):
        closed.oracle["true_counts"]
