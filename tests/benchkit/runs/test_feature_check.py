"""Features that were changed under their fingerprint are not trained on."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import refuse

import benchkit
from benchkit.base.errors import BenchkitError
from benchkit.runs.feature_check import FeatureCheck
from benchkit.split import file


@pytest.fixture
def split(tmp_path: Path) -> Path:
    rows = np.arange(60)[:, None]
    labels = (rows % np.array([[2, 3]]) == 0).astype(np.int8)
    np.savez(tmp_path / "mine.npz", X=np.sin(rows * [[1.0, 2.0]]).astype(np.float32), Y=labels)
    benchkit.make_split(f"arrays:{tmp_path / 'mine.npz'}", tmp_path / "mine.h5")
    return tmp_path / "mine.h5"


def test_unchanged_features(split: Path) -> None:
    FeatureCheck(file.read(split), file.stored_fingerprints(split), split).confirm()


@pytest.mark.parametrize("part", ["train", "test"])
def test_one_changed_number_ends_the_run_without_a_record(split: Path, part: str) -> None:
    with h5py.File(split, "r+") as opened:
        opened[f"{part}/features"][3, 0, 1] += 0.5
    check = FeatureCheck(file.read(split), file.stored_fingerprints(split), split)
    with pytest.raises(BenchkitError, match=r"mine\.h5 is damaged: its features are not those"):
        check.confirm()
    out = split.parent / "runs"
    arguments = ("run", "--split", split, "--method", "bce,asl", "--recipe", "epochs=1")
    refuse(1, split, "its features", arguments=(*arguments, "--out", out))
    assert not list(out.glob("*/run.json"))
