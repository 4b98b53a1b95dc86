import numpy as np
import pytest

from benchkit.base import random
from splits.consistency import contradictions
from splits.labels import SparseLabels

TRUE = np.array([[1, 1, 0], [0, 0, -1]], np.int8)


@pytest.mark.parametrize("fill", [None, 0, -1])
@pytest.mark.parametrize(
    ("kind", "observed", "expected"),
    [
        ("full", [[1, 1, 0], [0, 0, -1]], []),
        ("full", [[1, 1, 0], [0, -1, -1]], ["the regime is full and a label is hidden"]),
        ("pal", [[1, -1, 0], [-1, 0, -1]], []),
        ("pal", [[1, 0, 0], [0, 0, -1]], ["an observed label differs from the true one"]),
        ("ppl", [[1, -1, -1], [-1, -1, -1]], []),
        ("ppl", [[1, -1, 0], [-1, -1, -1]], ["a negative is observed, which ppl must not reveal"]),
        ("missing", [[-1] * 3, [-1] * 3], ["an image with positives has none observed"]),
        ("spl", [[1, 1, -1], [-1] * 3], ["an image has more than one observed positive"]),
        ("candidates", [[1, 1, 1], [0, 1, -1]], []),
        ("candidates", [[1, 0, 1], [0, 1, -1]], ["a true positive is not a candidate"]),
        (
            "candidates",
            [[1, 1, 1], [0, 1, 0]],
            ["a label is unknown in one matrix and known in the other"],
        ),
    ],
)
def test_each_rule(kind, observed, expected, fill):
    labels = [TRUE, np.array(observed, np.int8)]
    if fill is not None:
        labels = [SparseLabels.from_dense(one, fill) for one in labels]
    assert contradictions(*labels, kind) == expected


@pytest.mark.parametrize("kind", ["full", "pal", "ppl", "spl", "missing", "candidates"])
def test_sparse_and_dense_matrices_give_the_same_problems(kind):
    results = set()
    for seed in range(60):
        rows, columns = np.arange(6)[:, None], np.arange(3)[None, :]
        u = random.uniform(seed, "true", rows, columns)
        v = random.uniform(seed, "seen", rows, columns)
        true = np.where(u < 0.3, 1, np.where(u < 0.6, 0, -1)).astype(np.int8)
        seen = np.where(v < 0.85, true, np.where(v < 0.93, -1, 1)).astype(np.int8)
        if kind in ("ppl", "spl", "missing") and seed % 2:
            seen[seen == 0] = -1
        expected = contradictions(true, seen, kind)
        for fills in ((-1, -1), (0, 0), (0, -1), (-1, 0)):
            one, two = (
                SparseLabels.from_dense(m, f) for m, f in zip((true, seen), fills, strict=True)
            )
            assert contradictions(one, two, kind) == expected
            assert contradictions(one, seen, kind) == expected
        results.add(tuple(expected))
    assert len(results) > 1


def test_large_sparse_matrices_stay_sparse(monkeypatch):
    def refuse(_):
        raise AssertionError("a dense matrix of 10^12 entries was created")

    monkeypatch.setattr(SparseLabels, "to_dense", refuse)
    true = SparseLabels.from_triplets([5, 5, 9], [7, 8, 1], [1, 0, 1], (10**6, 10**6), -1)
    seen = SparseLabels.from_triplets([5, 9], [7, 1], [1, 1], (10**6, 10**6), -1)
    assert contradictions(true, seen, "ppl") == []
    assert contradictions(seen, true, "ppl") == [
        "an observed label differs from the true one",
        "a negative is observed, which ppl must not reveal",
    ]
