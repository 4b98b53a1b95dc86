import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchkit.base import random
from splits import labels as matrices
from splits.errors import InputError
from splits.labels import SparseLabels

FILLS = st.sampled_from((0, -1))
LABELS = np.array([[1, 0, -1], [0, 0, 0], [-1, 1, 1]], np.int8)


def dense_labels(rows=12, classes=8):
    shapes = st.tuples(st.integers(1, rows), st.integers(1, classes))
    return hnp.arrays(np.int8, shapes, elements=st.integers(-1, 1))


def test_by_hand():
    stored = SparseLabels.from_dense(LABELS, 0)
    assert stored.shape == (3, 3) and len(stored) == 3
    assert stored.indptr.tolist() == [0, 2, 2, 5]
    assert stored.indices.tolist() == [0, 2, 0, 1, 2]
    assert stored.values.tolist() == [1, -1, -1, 1, 1]
    assert [a.dtype for a in (stored.indptr, stored.indices, stored.values)] == ["i8", "i4", "i1"]
    assert stored.nbytes == 4 * 8 + 5 * 4 + 5
    unknown = SparseLabels.from_dense(LABELS, -1)
    assert unknown.indptr.tolist() == [0, 2, 5, 7]
    assert unknown.values.tolist() == [1, 0, 0, 0, 0, 1, 1]


@settings(deadline=None)
@given(dense_labels(), FILLS, st.randoms(use_true_random=False))
def test_every_constructor_gives_the_same_arrays(labels, fill, shuffler):
    stored = SparseLabels.from_dense(labels, fill)
    assert (stored.to_dense() == labels).all()
    entries = [(r, c) for r in range(labels.shape[0]) for c in range(labels.shape[1])]
    shuffler.shuffle(entries)
    rows, columns = np.array(entries).T
    other = SparseLabels.from_triplets(rows, columns, labels[rows, columns], labels.shape, fill)
    again = SparseLabels.from_arrays(labels.shape, stored.arrays())
    cut = shuffler.randint(0, len(labels))
    halves = [stored.rows(np.arange(cut)), stored.rows(np.arange(cut, len(labels)))]
    for built in (other, again, SparseLabels.stacked(halves)):
        assert built.shape == stored.shape and built.fill == fill
        for name in ("indptr", "indices", "values"):
            one, two = getattr(built, name), getattr(stored, name)
            assert one.dtype == two.dtype and np.array_equal(one, two)


@settings(deadline=None)
@given(dense_labels(), dense_labels(), FILLS, FILLS, st.data())
def test_sparse_results_equal_dense_ones(labels, other, fill, second, data):
    rows, columns = (min(pair) for pair in zip(labels.shape, other.shape, strict=True))
    labels, other = labels[:rows, :columns], other[:rows, :columns]
    stored = SparseLabels.from_dense(labels, fill)
    selected = np.array(data.draw(st.lists(st.integers(0, rows - 1))), int)
    assert (stored.rows(selected).to_dense() == labels[selected]).all()
    mask = np.isin(np.arange(rows), selected)
    assert (stored.rows(mask).to_dense() == labels[mask]).all()
    assert (matrices.positives(stored).toarray() == (labels == 1)).all()
    assert (matrices.positives(labels).toarray() == (labels == 1)).all()
    for code in (1, 0, -1):
        expected = (labels == code).sum(0)
        assert stored.counts(code).tolist() == expected.tolist()
        assert matrices.counts(labels, code).tolist() == expected.tolist()
        both = ((labels == code) & (other == 1)).sum(0).tolist()
        for one in (labels, stored):
            for two in (other, SparseLabels.from_dense(other, second)):
                assert matrices.count_both(one, two, code).tolist() == both


def valid():
    stored = SparseLabels.from_dense(LABELS, 0)
    return {"shape": stored.shape, "fill": 0, **{k: stored.arrays()[k] for k in ARRAYS}}


ARRAYS = ("indptr", "indices", "values")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(shape=(3, 0)), r"shape \[N, C\], C >= 1, not \(3, 0\)"),
        (dict(shape=(3,)), r"shape \[N, C\]"),
        (dict(fill=1), "fill of sparse labels must be 0 or -1, not 1"),
        (dict(indptr=np.zeros(4, np.int32)), "indptr as a list of int64, not int32"),
        (dict(indices=np.zeros((5, 1), np.int32)), r"int32, not int32 of shape \(5, 1\)"),
        (dict(values=np.ones(5)), "values as a list of int8, not float64"),
        (dict(shape=(4, 3)), "Sparse labels of 4 images need 5 entries of indptr"),
        (dict(values=np.ones(4, np.int8)), "not 4, 4 and 5"),
        (dict(indptr=np.array([0, 2, 1, 5])), "must increase from 0 to the number of entries, 5"),
        (dict(indptr=np.array([1, 2, 2, 5])), "must increase from 0"),
        (dict(indptr=np.array([0, 2, 2, 4])), "must increase from 0"),
        (dict(indices=np.array([0, 2, 0, 1, 3], "i4")), "class 3 in row 2 which is not one of the"),
        (dict(indices=np.array([-1, 2, 0, 1, 2], "i4")), "class -1 in row 0 which is not one"),
        (dict(indices=np.array([0, 2, 0, 0, 2], "i4")), "class 0 in row 2 twice or out of order"),
        (dict(indices=np.array([2, 0, 0, 1, 2], "i4")), "class 0 in row 0 twice or out of order"),
        (dict(values=np.array([1, -1, 2, 1, 1], "i1")), "row 2 with a label other than 1, 0 and"),
        (dict(values=np.array([1, 0, -1, 1, 1], "i1")), "class 2 in row 0 with the fill value 0"),
    ],
)
def test_arrays_are_checked(changes, message):
    SparseLabels(**valid())
    with pytest.raises(InputError, match=message):
        SparseLabels(**{**valid(), **changes})


@pytest.mark.parametrize(
    ("rows", "columns", "values", "message"),
    [
        ([0, 1, 1], [2, 0, 0], [1, 1, 1], "row 1, class 0 occurs twice"),
        ([1, 0, 1], [0, 0, 0], [0, 1, 1], "row 1, class 0 occurs twice"),  # also if one is the fill
        ([0, 2], [0, 0], [1, 1], "Label number 1 names row 2; there are 2"),
        ([0, -1], [0, 0], [1, 1], "Label number 1 names row -1"),
        ([0, 1], [3, 0], [1, 1], "Label number 0 names class 3; there are 3"),
        ([0, 1], [1, 2], [1, 2], "row 1, class 2 is 2; a label must be 1"),
        ([0, 1], [1], [1, 1], "not 2, 1 and 2"),
    ],
)
def test_triplets_are_checked(rows, columns, values, message):
    with pytest.raises(InputError, match=message):
        SparseLabels.from_triplets(np.array(rows), np.array(columns), np.array(values), (2, 3), 0)


def test_classes_may_decrease_across_empty_rows():
    # Rows 0, 2 and 4 are empty, so class 0 of row 3 is stored right after class 1 of row 1.
    stored = SparseLabels.from_triplets(
        np.array([1, 3]), np.array([1, 0]), np.array([1, 1]), (5, 2), -1
    )
    assert stored.indptr.tolist() == [0, 0, 1, 1, 2, 2]
    nothing = SparseLabels.from_triplets(*(np.zeros(0, int),) * 3, (2, 2), -1)
    assert (nothing.to_dense() == -1).all() and nothing.counts(-1).tolist() == [2, 2]


def codes(shape, seed, stored):
    """A random matrix with a share of stored codes other than -1."""
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    u = random.uniform(seed, "codes", rows, columns)
    return np.where(u < stored / 2, 1, np.where(u < stored, 0, -1)).astype(np.int8)


@pytest.mark.parametrize("fills", [(-1, -1), (0, 0), (0, -1), (-1, 0)])
@pytest.mark.parametrize("block", [1, 7, 1 << 18])
def test_pairs_yield_each_stored_entry_once(monkeypatch, fills, block):
    monkeypatch.setattr(matrices, "_BLOCK", block)
    dense = codes((40, 9), 0, 0.3), codes((40, 9), 1, 0.2)
    one, two = (SparseLabels.from_dense(d, fill) for d, fill in zip(dense, fills, strict=True))
    blocks = zip(*matrices.pairs(one, two), strict=True)
    rows, columns, x, y = (np.concatenate(block) for block in blocks)
    assert (np.diff(rows * 9 + columns) > 0).all()
    assert (x == dense[0][rows, columns]).all() and (y == dense[1][rows, columns]).all()
    assert len(rows) == ((dense[0] != fills[0]) | (dense[1] != fills[1])).sum()


def test_pairs_of_matrices_that_store_nothing():
    empty = SparseLabels.from_dense(np.full((3, 2), -1, np.int8), -1)
    assert sum(len(rows) for rows, *_ in matrices.pairs(empty, empty)) == 0


def test_columns_in_any_order():
    dense = codes((30, 6), 2, 0.4)
    stored = SparseLabels.from_dense(dense, -1)
    for columns in ([4, 0, 2], [5], [0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]):
        assert (stored.columns(np.array(columns)).to_dense() == dense[:, columns]).all()
