"""Observed labels, candidates and a validation part that come with the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from commands import refuse, succeed

from benchkit.base import random
from benchkit.split import file as split_file
from benchkit.split.make import make
from benchkit.split.request import Request
from splits.labels import SparseLabels, dense

N = 60
ROWS, COLUMNS = np.arange(N)[:, None], np.arange(4)[None, :]
U = random.uniform(0, "labels", ROWS, COLUMNS)
V = random.uniform(0, "observed", ROWS, COLUMNS)
Y = (U < 0.4).astype(np.int8)
X = random.uniform(0, "features", ROWS, np.arange(8)[None, :]).astype(np.float32)
OBSERVED = np.where(V < 0.5, Y, -1).astype(np.int8)
POSITIVES = np.where((V < 0.6) & (Y == 1), 1, -1).astype(np.int8)
CANDIDATES = np.where(V < 0.3, 1, Y).astype(np.int8)
PART = np.array([0, 0, 0, 1, 2] * 12)


def split_of(tmp_path: Path, content: dict[str, Any], **arguments: Any) -> Any:
    np.savez(tmp_path / "a.npz", **{"X": X, "Y": Y, **content})
    request = Request(f"arrays:{tmp_path / 'a.npz'}", tmp_path / "a.h5", **arguments)
    split = make(request)
    assert split_file.verify(tmp_path / "a.h5") == []
    return split


def sparse(key: str, matrix: np.ndarray, fill: int) -> dict[str, Any]:
    """The arrays of a sparse matrix under a prefix."""
    labels = SparseLabels.from_dense(matrix, fill)
    return {f"{key}_{name}": array for name, array in labels.arrays().items()}


@pytest.mark.parametrize(
    ("key", "matrix", "kind"),
    [
        ("observed", OBSERVED, "pal"),
        ("observed", POSITIVES, "missing"),
        ("candidates", CANDIDATES, "candidates"),
    ],
)
@pytest.mark.parametrize("stored", ["dense", "sparse"])
def test_own_labels_and_an_own_validation_part(
    tmp_path: Path, key: str, matrix: np.ndarray, kind: str, stored: str
) -> None:
    fill = 0 if key == "candidates" else -1
    own = {"own": matrix} if stored == "dense" else sparse("own", matrix, fill)
    split = split_of(tmp_path, {**own, "split": PART}, source_options={key: "own"})
    for code, name in enumerate(("train", "test", "val")):
        rows = np.flatnonzero(code == PART)
        assert split.parts[name].ids.tolist() == [str(row) for row in rows]
        assert split.parts[name].true.tolist() == Y[rows].tolist()
        if name != "test":
            assert dense(split.parts[name].observed).tolist() == matrix[rows].tolist()
    assert split.test.observed is None
    recipe = split.recipe["labels"]
    assert (recipe["observed"], recipe["val_fraction"]) == ("own", "own")
    assert split.regime.kind == kind
    known = Y[PART != 1]
    shown = matrix[PART != 1]
    level = {
        "pal": (shown != -1).mean(),
        "missing": 1 - (shown == 1).sum() / known.sum(),
        "candidates": (shown[known == 0] == 1).mean(),
    }[kind]
    assert split.regime.level == round(float(level), 4)
    assert split.name == f"a-{split.regime}-own"
    assert split.provenance["source_options"][key] == "own"


def test_methods_for_the_kind_of_labels_run_on_own_labels(tmp_path: Path) -> None:
    split_of(tmp_path, {"own": CANDIDATES}, source_options={"candidates": "own"})
    arguments = ("run", "--split", tmp_path / "a.h5", "--method", "cc-pml", "--method", "bce")
    succeed(*arguments, "--recipe", "epochs=1", "--out", tmp_path / "runs")


def test_own_labels_follow_their_images_through_a_long_tail(tmp_path: Path) -> None:
    split = split_of(
        tmp_path,
        {"own": OBSERVED},
        source_options={"observed": "own"},
        long_tail="pareto",
        maximum=12,
        val_fraction=0.25,
    )
    assert len(split.train.ids) + len(split.val.ids) < 48
    for part in (split.train, split.val):
        assert part.observed.tolist() == OBSERVED[part.ids.astype(int)].tolist()


def test_hdf5_files_have_the_same_options(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["X"], file["Y"], file["group/own"], file["split"] = X, Y, OBSERVED, PART
    options = {"observed": "group/own"}
    split = make(Request(f"hdf5:{tmp_path / 'a.h5'}", tmp_path / "b.h5", source_options=options))
    assert split.train.observed.tolist() == OBSERVED[PART == 0].tolist()


def test_a_source_without_own_labels_keeps_its_recipe(tmp_path: Path) -> None:
    recipe = split_of(tmp_path, {}).recipe["labels"]
    assert recipe.keys() == {"source", "regime", "long_tail", "val_fraction", "test_fraction"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("-o observed=own -o candidates=own", "observed and candidates cannot be combined"),
        ("-o observed=own --regime full", "--regime has no effect, because the source has"),
        ("-o observed=own --published voc-lt", "cannot be used with --published"),
        ("-o observed=none", "there are no observed 'none', nor none_indptr and none_indices"),
        ("-o observed=wrong", "image 5 (row 5), class 'class_3': the observed label is negative, "),
        ("-o candidates=own", "a candidate label must be 1 or 0, not unknown"),
        ("-o observed=short", "the observed labels have shape (59, 4); they must have the shape "),
        ("-o observed=X", "'observed' has the label 0."),
    ],
)
def test_wrong_own_labels(tmp_path: Path, options: str, text: str) -> None:
    wrong = OBSERVED.copy()
    assert Y[5, 3] == 1
    wrong[5, 3] = 0
    np.savez(tmp_path / "a.npz", X=X, Y=Y, own=OBSERVED, wrong=wrong, short=OBSERVED[1:])
    command = ("make-split", f"arrays:{tmp_path / 'a.npz'}", *options.split())
    code = 2 if "--" in options or "=own -o" in options else 1
    refuse(code, text, arguments=(*command, "--out", tmp_path / "a.h5"))
    assert not (tmp_path / "a.h5").exists()
