"""Training on sparse labels, and label matrices that are too large."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_splits import build_split, stored_sparsely, with_unknown_labels

from baselines.bce import BCE
from baselines.core import labels as label_tables
from baselines.core.labels import CompressedTable
from baselines.pseudo_label import PseudoLabel
from benchkit.base.errors import BenchkitError
from benchkit.runs import execute as runs
from benchkit.runs import plan as grids
from benchkit.split.model import Split
from benchkit.training import inputs
from benchkit.training.recipe import Recipe
from splits.source import Source


@pytest.fixture
def partial(make_source: Callable[..., Source]) -> Source:
    return with_unknown_labels(make_source(90))


def grid_of(split: Split, out: Path) -> grids.Grid:
    """One run of BCE, selected on the validation part."""
    spec = grids.Spec(BCE, BCE.Hyper())
    recipe = Recipe(epochs=2, batch=16)
    fingerprints = split.fingerprints()
    return grids.Grid(Path("toy.h5"), split, fingerprints, [spec], [0], recipe, "val", "cpu", out)


@pytest.mark.parametrize("largest_matrix", [0, 1 << 28])
def test_sparse_and_dense_labels_give_the_same_metrics(
    partial: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, largest_matrix: int
) -> None:
    monkeypatch.setattr(label_tables, "MOST_WHOLE", largest_matrix)
    results = []
    for kind, source in (("dense", partial), ("sparse", stored_sparsely(partial, -1))):
        split = build_split(source, regime="pal:0.6", val_fraction=0.2)
        table = inputs.label_table(split.parts["train"].true, "cpu")
        is_compressed = kind == "sparse" and largest_matrix == 0
        assert isinstance(table, CompressedTable) == is_compressed
        outcome = runs.execute(grid_of(split, tmp_path / kind), lambda _: None, fail_fast=True)
        (run_id,) = outcome.done
        record = json.loads((tmp_path / kind / run_id / "run.json").read_text())
        results.append((record["metrics"], record["curve"], record["split"]["test_positives"]))
    assert results[0] == results[1]


def test_a_part_with_too_many_scores_is_refused(
    partial: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MOST_SCORES", 50)
    split = build_split(stored_sparsely(partial, -1), val_fraction=0.2)
    rows, classes = split.parts["val"].true.shape
    assert rows * classes > 50
    message = rf"has {rows} x {classes} labels in its val part, and at most 50 scores are"
    with pytest.raises(BenchkitError, match=message):
        runs.execute(grid_of(split, tmp_path), lambda _: None)


def test_only_methods_that_keep_every_label_fail_if_these_do_not_fit(
    partial: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_tables, "MOST_WHOLE", 100)
    split = build_split(stored_sparsely(partial, -1), regime="pal:0.6", val_fraction=0.2)
    grid = grid_of(split, tmp_path)
    grid.specs.insert(0, grids.Spec(PseudoLabel, PseudoLabel.Hyper()))
    outcome = runs.execute(grid, lambda _: None)
    assert len(outcome.done) == 1
    (reason,) = outcome.failed.values()
    assert reason.startswith("the method stores a value for each of 48 x 5 labels, and at most 100")
    assert "48 x 5 labels" in reason


def test_stacks_are_narrower_if_there_are_many_labels(
    partial: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = grid_of(build_split(partial, val_fraction=0.2), tmp_path)
    assert runs.stack_width(grid) == grids.DEFAULT_WIDTH
    for limit, width in ((48 * 5 * 3, 3), (48 * 5 - 1, 1)):
        monkeypatch.setattr(label_tables, "MOST_WHOLE", limit)
        assert runs.stack_width(grid) == width
