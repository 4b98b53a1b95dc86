"""Real, small data through the command line; skipped where the data is not beside the checkout."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import succeed

FEATURES = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "features"

pytestmark = pytest.mark.skipif(
    not FEATURES.is_dir(), reason="the shared real data is not beside this checkout"
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Heads this small are trained faster by one thread where the cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def bce_on(name: str, folder: Path, *options: str) -> dict[str, Any]:
    """The record of BCE under the default recipe on a data set, with its split beside it."""
    split, runs = folder / "s.h5", folder / "runs"
    succeed("make-split", f"arrays:{FEATURES / name}.npz", "--out", split, *options)
    succeed("run", "--split", split, "--method", "bce", "--out", runs)
    (path,) = runs.glob("*/run.json")
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def chance(record: dict[str, Any]) -> float:
    """The mAP of random scores: the mean share of positives over the classes that count."""
    positives = np.array(record["split"]["test_positives"])
    return float((positives[positives > 0] / record["split"]["sizes"]["test"]).mean())


def test_corel5k_reaches_what_ridge_regression_does(tmp_path: Path) -> None:
    record = bce_on("corel5k", tmp_path)
    assert record["split"]["sizes"] == {"train": 4500, "val": 0, "test": 500}
    assert len(record["metrics"]["ap"]) == 374
    # Ridge regression on the same features: 12.1 percent, chance 1.3.
    assert record["metrics"]["map"] >= 0.115
    assert record["metrics"]["map"] > 8 * chance(record)
    assert record["metrics"]["map_many"] > record["metrics"]["map_few"]
    # 111 classes have no positive in the test part: undefined, counted, and said.
    assert record["metrics"]["undefined_classes"] == 111
    assert record["metrics"]["ap"].count(None) == 111
    for form in ("terminal", "markdown", "html"):
        text = succeed("report", tmp_path / "runs", "--format", form).out
        assert "111" in text
        assert f"{100 * record['metrics']['map']:.2f}" in text
    (row,) = csv.DictReader(
        io.StringIO(succeed("report", tmp_path / "runs", "--format", "csv").out)
    )
    assert float(row["total_mean"]) == record["metrics"]["map"]
    shown = json.loads(succeed("show", tmp_path / "s.h5", "--json").out)
    assert shown["classes_without_test_positives"] == 111
    assert sum(entry["train"] == 0 for entry in shown["classes"]) == 3


# Chance is 3.7 and 24.9 percent, ridge regression on all labels 50.8 and 77.8.
@pytest.mark.parametrize(
    ("name", "classes", "least"), [("nuswide_vgg64_998", 81, 0.25), ("mirflickr_pml5000", 7, 0.65)]
)
def test_half_of_the_labels_are_enough_to_learn(
    tmp_path: Path, name: str, classes: int, least: float
) -> None:
    record = bce_on(name, tmp_path, "--regime", "pal:0.5")
    assert record["split"]["regime"] == "pal:0.5"
    assert len(record["metrics"]["ap"]) == classes
    assert record["metrics"]["map"] >= least
    assert record["metrics"]["map"] > 2 * chance(record)
    rates = json.loads(succeed("show", tmp_path / "s.h5", "--json").out)["rates"]
    assert rates["observed"] == pytest.approx(0.5, abs=0.01)
    assert rates["positives_kept"] == pytest.approx(0.5, abs=0.05)
