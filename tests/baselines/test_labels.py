"""Label tables: compressed rows give the same answers as the tensor, and limit memory."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from baselines.core import LabelTable, Method, MethodError, labels, registry
from baselines.core.labels import CompressedTable
from baselines.core.statistics import class_counts, cooccurrence
from benchkit.base.draw import Draw
from benchkit.training import check
from benchkit.training.inputs import TrainingSet
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import train
from splits.labels import SparseLabels

KEYS = sorted(registry.builtin())


def compressed(dense: torch.Tensor, fill: int) -> CompressedTable:
    stored = SparseLabels.from_dense(dense.numpy(), fill)
    parts = (torch.from_numpy(part) for part in (stored.indptr, stored.indices, stored.values))
    return CompressedTable(stored.shape, *parts, fill)  # type: ignore[misc]


@st.composite
def matrices(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 6)))
    share = draw(st.sampled_from([0.0, 0.2, 0.9]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    codes = random.choice(
        [1, 0, -1], shape, p=[share, 1 - share - (1 - share) / 3, (1 - share) / 3]
    )
    return torch.from_numpy(codes.astype(np.int8))


@given(matrices(), st.sampled_from([0, -1]), st.integers(1, 20), st.data())
def test_compressed_rows_equal_the_tensor(
    dense: torch.Tensor, fill: int, block: int, data: st.DataObject
) -> None:
    table, other = compressed(dense, fill), LabelTable.of(dense)
    drawn = data.draw(st.lists(st.integers(0, len(dense) - 1), max_size=7))
    rows = torch.tensor(drawn, dtype=torch.int64)
    assert table.shape == other.shape == tuple(dense.shape)
    assert len(table) == len(other) == len(dense)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labels, "_BLOCK", block)
        for one in (table, other):
            assert torch.equal(one.rows(rows), dense[rows])
            assert one.rows(rows).dtype == torch.int8
            assert torch.equal(one.whole(), dense)
            assert torch.equal(torch.cat(list(one.blocks())), dense)
            for codes in ((1,), (0,), (-1,), (1, -1), (1, 0), (0, 1, -1)):
                mask = torch.isin(dense, torch.tensor(codes))
                assert torch.equal(one.count(*codes), mask.sum(0))
                for actual, expected in zip(one.places(*codes), mask.nonzero().T, strict=True):
                    assert torch.equal(actual, expected)
                assert torch.equal(cooccurrence(one, *codes), mask.float().T @ mask.float())
            assert torch.equal(class_counts(one), (dense == 1).sum(0).float())


def test_labels_above_the_limit_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = torch.tensor([[1, 0, 1], [0, 0, 1], [0, 1, 0]], dtype=torch.int8)
    table = compressed(dense, 0)
    monkeypatch.setattr(labels, "MOST_WHOLE", 4)
    assert torch.equal(table.places(1)[0], torch.tensor([0, 0, 1, 2]))
    for one in (table, LabelTable.of(dense)):
        with pytest.raises(MethodError, match="each of 3 x 3 labels, and at most 4 fit; take"):
            one.whole()
    with pytest.raises(MethodError, match=r"lists 5 labels class by class, and at most 4 fit"):
        table.places(0)


def toy(method: type[Method]) -> tuple[TrainingSet, TrainingSet]:
    """A training set with its labels as tensors, and the same with compressed rows."""
    data = check.toy_data(check.suitable_regime(method))[0]
    tables = {name: compressed(getattr(data, name).whole(), 0) for name in ("observed", "true")}
    return data, dataclasses.replace(data, **tables)


@pytest.mark.parametrize("key", KEYS)
def test_every_method_trains_on_compressed_rows_bit_for_bit(key: str) -> None:
    method, recipe = registry.get(key), Recipe(epochs=2, batch=16)
    results = [train([method(), method()], [0, 1], data, recipe) for data in toy(method)]
    for dense, sparse in zip(*results, strict=True):
        assert dense.failure is None
        for name, value in dense.run.params.items():
            assert torch.equal(value, sparse.run.params[name]), name
        assert dense.curve == sparse.curve


def keeps_every_label(method: Method, data: TrainingSet) -> bool:
    """Whether a run stores a value for every label of every image."""
    (problem,) = data.problems([method], epochs=2)
    setup = method.setup(problem, Draw(0).at(0, 0))
    parts = (setup.params, setup.state, setup.memory, setup.constants)
    return any(value.shape[:2] == data.true.shape for part in parts for value in part.values())


@pytest.mark.parametrize("key", KEYS)
def test_only_methods_that_keep_every_label_read_them_all(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = registry.get(key)()
    dense, sparse = toy(registry.get(key))
    keeps_all = keeps_every_label(method, dense)
    monkeypatch.setattr(labels, "MOST_WHOLE", 700)  # of 160 x 5; lists of positives still fit
    if keeps_all:
        with pytest.raises(MethodError, match="160 x 5 labels, and at most 700 fit"):
            train([method], [0], sparse, Recipe(epochs=2, batch=16))
    else:
        train([method], [0], sparse, Recipe(epochs=2, batch=16))


def test_a_step_reads_no_more_than_its_rows() -> None:
    """Four rows of a million: neither the table nor the step makes the labels dense."""
    rows, classes = 1_000_000, 4000
    indptr = torch.arange(rows + 1)
    indices = (torch.arange(rows) * 37 % classes).to(torch.int32)
    table = CompressedTable((rows, classes), indptr, indices, torch.ones(rows, dtype=torch.int8), 0)
    batch = torch.tensor([5, 999_999, 5, 17])
    observed = table.rows(batch)
    assert observed.shape == (4, classes)
    assert observed.sum(1).tolist() == [1, 1, 1, 1]
    assert torch.equal(observed.argmax(1), indices[batch].long())
    assert int(table.count(1).sum()) == rows
    with pytest.raises(MethodError, match="each of 1000000 x 4000 labels"):
        table.whole()
