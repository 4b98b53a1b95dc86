"""Sparse labels from a source to a split file: the same split as with dense labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from toy_splits import build_split, stored_sparsely, with_unknown_labels

from benchkit.base import random
from benchkit.base.errors import BenchkitError
from benchkit.split import diff as split_diff
from benchkit.split import file as split_file
from benchkit.split.build import build
from benchkit.split.features import source_features
from benchkit.split.options import LongTail, Options
from benchkit.split.summary import cross_counts
from splits.labels import SparseLabels, dense
from splits.regimes import Regime
from splits.source import Source

REGIMES = ["full", "pal:0.4", "ppl:0.5", "spl", "missing:0.5", "candidates:0.3"]


@pytest.fixture
def partial(make_source: Callable[..., Source]) -> Source:
    return with_unknown_labels(make_source(90))


@pytest.mark.parametrize("fill", [0, -1])
@pytest.mark.parametrize("regime", REGIMES)
def test_a_sparse_source_gives_the_same_split(partial: Source, regime: str, fill: int) -> None:
    tail = LongTail("pareto", maximum=30, minimum=2)
    options = dict(regime=regime, val_fraction=0.2, long_tail=tail, seed=3)
    dense_split = build_split(partial, **options)
    sparse_split = build_split(stored_sparsely(partial, fill), **options)
    assert list(dense_split.parts) == list(sparse_split.parts)
    for name, part in dense_split.parts.items():
        other = sparse_split.parts[name]
        assert isinstance(other.true, SparseLabels) and isinstance(part.true, np.ndarray)
        assert part.ids.tolist() == other.ids.tolist()
        np.testing.assert_array_equal(part.true, dense(other.true))
        assert (part.observed is None) == (other.observed is None)
        if part.observed is not None and other.observed is not None:
            np.testing.assert_array_equal(part.observed, dense(other.observed))
    for name in ("train_count", "observed_count", "shot"):
        np.testing.assert_array_equal(getattr(dense_split, name), getattr(sparse_split, name))
    # The storage of the labels is part of the identity.
    assert dense_split.fingerprints()["labels"] != sparse_split.fingerprints()["labels"]


@pytest.mark.parametrize("fill", [0, -1])
@pytest.mark.parametrize("regime", REGIMES)
def test_a_sparse_split_survives_its_file(
    partial: Source, tmp_path: Path, regime: str, fill: int
) -> None:
    split = build_split(stored_sparsely(partial, fill), regime=regime, val_fraction=0.2)
    path = tmp_path / "toy.h5"
    fingerprints = split_file.write(split, path)
    assert split_file.verify(path) == []
    loaded = split_file.read(path)
    assert loaded.fingerprints() == fingerprints == split.fingerprints()
    for name, part in split.parts.items():
        for written, read in (
            (part.true, loaded.parts[name].true),
            (part.observed, loaded.parts[name].observed),
        ):
            assert type(written) is type(read)
            if isinstance(written, SparseLabels) and isinstance(read, SparseLabels):
                assert (written.fill, written.shape) == (read.fill, read.shape)
                for key, array in written.arrays().items():
                    np.testing.assert_array_equal(array, read.arrays()[key])


def change_entry(path: Path, name: str, index: int, value: int) -> None:
    """Overwrite one entry of an array of a split file."""
    with h5py.File(path, "r+") as file:
        array = file[name][()]
        array[index] = value
        file[name][...] = array


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("train/true/indices", 77, "is damaged: Sparse labels name class 77"),
        ("train/true/values", 3, "is damaged: .* a label other than"),
        ("train/observed/fill", 1, "is damaged: The fill of sparse labels must be 0 or -1, not 1"),
        ("train/true/indptr", -1, "is damaged: The indptr of sparse labels must increase"),
    ],
)
def test_a_damaged_sparse_matrix(
    partial: Source, tmp_path: Path, name: str, value: int, message: str
) -> None:
    path = tmp_path / "toy.h5"
    split_file.write(build_split(stored_sparsely(partial, -1)), path)
    change_entry(path, name, 0, value)
    with pytest.raises(BenchkitError, match=message):
        split_file.read(path)


def test_verify_detects_a_changed_label(partial: Source, tmp_path: Path) -> None:
    path = tmp_path / "toy.h5"
    split_file.write(build_split(stored_sparsely(partial, -1)), path)
    negative = int(np.flatnonzero(split_file.read(path).parts["train"].true.values == 0)[0])
    change_entry(path, "train/true/values", negative, 1)
    problems = "; ".join(split_file.verify(path))
    assert "fingerprint of the labels" in problems and "train_count" in problems
    assert "the regime is full and a label is hidden" in problems


@pytest.mark.parametrize("fills", [(-1, -1), (0, 0), (0, -1), (-1, 0)])
def test_pairs_of_codes_are_counted_like_those_of_dense_labels(fills: tuple[int, int]) -> None:
    u = random.uniform(0, "codes", np.arange(2 * 50 * 7)).reshape(2, 50, 7)
    true, observed = np.where(u < 0.2, 1, np.where(u < 0.5, 0, -1)).astype(np.int8)
    counts = cross_counts(
        SparseLabels.from_dense(true, fills[0]), SparseLabels.from_dense(observed, fills[1])
    )
    assert counts.tolist() == cross_counts(true, observed).tolist()
    assert counts[3, 1, -1] == ((true[:, 3] == 1) & (observed[:, 3] == -1)).sum()


def side(seed: int, regime: str, class_names: str, *, sparse: bool) -> split_diff.Side:
    """A split of forty images with random labels and one class per letter, for `compare`."""
    u = random.uniform(seed, "labels", np.arange(40)[:, None], np.arange(5)[None, :])
    codes = np.where(u < 0.3, 1, np.where(u < 0.5, 0, -1)).astype(np.int8)
    source = Source(
        name="toy",
        class_names=tuple(class_names),
        image_ids=np.array([f"{i * (seed + 1)}" for i in range(40)]),
        labels=SparseLabels.from_dense(codes, -1) if sparse else codes,
        part=None,
        paths=None,
        roots=(),
        features=None,
        digests={},
    )
    options = Options(regime=Regime.parse(regime), seed=seed, many=5, few=2)
    split = build(source, options, source_features(source), "toy")
    return split_diff.Side(split, {"labels": "", "features": "", "both": str(seed)})


def test_sparse_splits_differ_like_dense_ones() -> None:
    sparse, dense = (
        split_diff.compare(
            side(0, "pal:0.6", "abcde", sparse=is_sparse),
            side(1, "ppl:0.5", "ecaxb", sparse=is_sparse),
        )
        for is_sparse in (True, False)
    )
    assert sparse == dense
    assert sparse["true_labels"]["different"] > 5
    assert sparse["classes"]["same_order"] is False


def test_hashed_image_ids_give_the_same_numbers_as_the_ids() -> None:
    names = np.array(["a", "bc", "ü" * 40, "x y"])
    hashes = random.hash_texts(names)
    assert hashes.tolist() == [random.hash_text(str(name)) for name in names]
    assert hashes.tolist() == random.hash_texts(list(names)).tolist()
    assert (random.image_uniform(3, "s", names) == random.image_uniform(3, "s", hashes)).all()
    by_name, by_hash = (
        random.image_class_uniform(3, "s", ids, ["p", "q"]) for ids in (names, hashes)
    )
    rows, columns = np.arange(4)[:, None], np.arange(2)[None, :]
    assert (by_name(rows, columns) == by_hash(rows, columns)).all()
