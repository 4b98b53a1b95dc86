"""A split in memory: its parts as arrays, as a torch dataset and as a pandas frame."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from benchkit.base.errors import BenchkitError
from benchkit.split.model import Part, Split
from splits.labels import SparseLabels
from splits.regimes import Regime

TRUE = np.array([[1, 0], [0, 1], [1, -1]], np.int8)
OBSERVED = np.array([[1, -1], [-1, -1], [1, -1]], np.int8)
FEATURES = np.arange(18, dtype=np.float16).reshape(3, 2, 3)


def split(**recipe: object) -> Split:
    train = Part(np.array(["a", "b", "c"]), None, TRUE, OBSERVED, FEATURES)
    test = Part(np.array(["d", "e"]), None, TRUE[:2], None, FEATURES[:2] + 100)
    return Split(
        name="small",
        recipe={"labels": {"regime": "ppl:0.5", **recipe}, "features": {"kind": "raw"}},
        class_names=("cat", "dog"),
        train_count=np.array([2, 1]),
        observed_count=np.array([2, 0]),
        shot=np.array([2, 2], np.uint8),
        thresholds={"many": 100, "few": 20, "reference": "true"},
        parts={"train": train, "test": test},
        provenance={},
    )


def stored_sparsely(made: Split) -> Split:
    train = dataclasses.replace(
        made.train,
        true=SparseLabels.from_dense(TRUE, 0),
        observed=SparseLabels.from_dense(OBSERVED, -1),
    )
    return dataclasses.replace(made, parts={**made.parts, "train": train})


STORED = pytest.mark.parametrize(
    "made", [split(), stored_sparsely(split())], ids=["dense", "sparse"]
)


def test_parts_by_name() -> None:
    made = split()
    assert made.train is made.parts["train"]
    assert made.test is made.parts["test"]
    assert made.val is None
    val = dataclasses.replace(made, parts={**made.parts, "val": made.train})
    assert val.val is made.train


@STORED
def test_labels_as_arrays(made: Split) -> None:
    np.testing.assert_array_equal(made.train.dense("true"), TRUE, strict=True)
    np.testing.assert_array_equal(made.train.dense("observed"), OBSERVED, strict=True)
    with pytest.raises(BenchkitError, match="a test part has no observed labels"):
        made.test.dense("observed")
    with pytest.raises(BenchkitError, match="labels are 'true' or 'observed', not 'ids'"):
        made.train.dense("ids")


@STORED
def test_a_part_as_a_torch_dataset(made: Split) -> None:
    dataset = made.dataset()
    assert isinstance(dataset, Dataset)
    assert len(dataset) == 3
    features, labels, row = dataset[1]
    assert (features.dtype, features.tolist()) == (torch.float32, [6, 7, 8])
    assert (labels.dtype, labels.tolist()) == (torch.int8, [-1, -1])
    assert row == 1
    assert dataset[-1][2] == 2
    assert made.dataset(labels="true")[2][1].tolist() == [1, -1]
    assert made.dataset(view=1)[1][0].tolist() == [9, 10, 11]
    assert made.dataset(view=None)[1][0].tolist() == [[6, 7, 8], [9, 10, 11]]
    assert made.dataset("test", "true")[0][0].tolist() == [100, 101, 102]
    assert len(list(dataset)) == 3  # iteration ends with an IndexError
    ((x, y, rows),) = DataLoader(dataset, batch_size=3)
    assert (x.shape, y.tolist(), rows.tolist()) == ((3, 3), OBSERVED.tolist(), [0, 1, 2])


def test_items_do_not_share_memory_with_the_split() -> None:
    made = split()
    features, labels, _ = made.dataset()[0]
    features.zero_()
    labels.zero_()
    assert made.train.features[0, 0].tolist() == [0, 1, 2]
    assert made.train.observed[0].tolist() == [1, -1]


def test_datasets_that_do_not_exist() -> None:
    made = split()
    for arguments, message in (
        (("val",), "the split 'small' has no part 'val'; it has train, test"),
        (("test",), "a test part has no observed labels"),
        (("train", "seen"), "labels are 'true' or 'observed'"),
    ):
        with pytest.raises(BenchkitError, match=message):
            made.dataset(*arguments)
    with pytest.raises(BenchkitError, match="there is no view 2; the split has 2"):
        made.dataset(view=2)
    bare = dataclasses.replace(made.train, features=None)
    with pytest.raises(BenchkitError, match="has no features"):
        dataclasses.replace(made, parts={"train": bare}).dataset()


@STORED
def test_a_part_as_a_pandas_frame(made: Split) -> None:
    frame = made.frame()
    assert frame.index.tolist() == ["a", "b", "c"]
    assert frame.index.name == "id"
    assert frame.columns.tolist() == ["cat", "dog"]
    assert set(frame.dtypes) == {np.dtype(np.int8)}
    assert frame.to_numpy().tolist() == OBSERVED.tolist()
    assert made.frame(labels="true").loc["c", "dog"] == -1
    assert made.frame("test", "true").loc["e"].tolist() == [0, 1]
    with pytest.raises(BenchkitError, match="no part 'val'"):
        made.frame("val")


def test_the_regime_with_its_variants() -> None:
    assert split().regime == Regime("ppl", 0.5)
    variants = {"beyond_papers": True, "noise_by_class": "frequency", "instance_noise": 0.5}
    noisy = split(regime="candidates:0.2", regime_options=variants).regime
    assert noisy == Regime("candidates", 0.2, by_class="frequency", by_image=0.5)
    assert str(noisy) == "candidates:0.2"
    exact = split(regime="pal:0.4", regime_options={"counts": "exact"}).regime
    assert exact == Regime("pal", 0.4, counts="exact")
    missing = split(regime="missing:0.4", regime_options={"missing_by_class": "0ab1"}).regime
    assert missing == Regime("missing", 0.4, by_class="0ab1")


def test_a_split_needs_neither_torch_nor_pandas() -> None:
    program = "import sys, benchkit.split.model; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not {"torch", "pandas", "h5py"} & set(ended.stdout.split())
