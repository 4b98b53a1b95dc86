"""Splits at the edge of what can be trained: they work or end in a sentence, and record no NaN."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call, refuse, succeed

METHODS = "bce,db-focal,ll-cp,role,csl,comic,crt,epr,plain"
Arrays = dict[str, np.ndarray]


def arrays(images: int = 40, features: int = 4, classes: int = 3) -> Arrays:
    """Training images, and a quarter of test images with positives and negatives of all classes."""
    rows, columns = np.arange(images)[:, None], np.arange(classes)[None, :]
    part = np.zeros(images, np.int8)
    part[-max(1, images // 4) :] = 1
    return {
        "X": np.sin((rows + 1.3) * np.arange(1, features + 1)[None, :]).astype(np.float32),
        "Y": ((rows * 7 + columns * 3) % (columns + 3) == 0).astype(np.int8),
        "split": part,
    }


def changed(key: str, rows: slice, columns: Any, value: float, **options: int) -> Arrays:
    result = arrays(**options)
    result[key][rows, columns] = value
    return result


EVERY, TRAIN, TEST = slice(None), slice(0, 30), slice(30, None)
CASES: dict[str, Callable[[], Arrays]] = {
    "one class": lambda: arrays(classes=1),
    "one feature": lambda: arrays(features=1),
    "constant features": lambda: changed("X", EVERY, EVERY, 1.0),
    "features close to the limit": lambda: changed("X", TRAIN, 0, 1e36),
    "a class without training positives": lambda: changed("Y", TRAIN, 1, 0),
    "a class without test positives": lambda: changed("Y", TEST, 1, 0),
    "no training positives": lambda: changed("Y", TRAIN, EVERY, 0),
    "no positives": lambda: changed("Y", EVERY, EVERY, 0),
    "no training negatives": lambda: changed("Y", TRAIN, EVERY, 1),
    "all training labels unknown": lambda: changed("Y", TRAIN, EVERY, -1),
    "one training image": lambda: {**arrays(11), "split": np.array([0] + [1] * 10)},
}


def is_finite(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(is_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize("regime", ["full", "pal:0.5", "spl"])
@pytest.mark.parametrize("case", CASES)
def test_a_degenerate_split_trains(tmp_path: Path, case: str, regime: str) -> None:
    np.savez(tmp_path / "a.npz", **CASES[case]())
    made = call(
        *("make-split", f"arrays:{tmp_path / 'a.npz'}", "--out", tmp_path / "s.h5"),
        *("--regime", regime, "-o", "minus-one=unknown"),
    )
    if made.code:
        assert made.err.splitlines()[-1].startswith("error: "), made.err
        return
    words = ("run", "--split", tmp_path / "s.h5", "--method", METHODS, "--recipe", "batch=8")
    said = succeed(*words, "--recipe", "epochs=2", "--out", tmp_path / "runs")
    assert "Traceback" not in said.err and "Warning" not in said.err
    files = list((tmp_path / "runs").glob("*/run.json"))
    assert len(files) >= 5
    for file in files:
        assert is_finite(json.loads(file.read_text())), file.read_text()
    assert "nan" not in succeed("report", tmp_path / "runs").out


def test_a_validation_part_of_one_image(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays())
    words = ("make-split", f"arrays:{tmp_path / 'a.npz'}", "--out", tmp_path / "s.h5")
    succeed(*words, "--val-fraction", "0.03")
    words = ("run", "--split", tmp_path / "s.h5", "--method", "bce", "--select", "val")
    succeed(*words, "--recipe", "epochs=2", "--out", tmp_path / "runs")
    (file,) = (tmp_path / "runs").glob("*/run.json")
    assert is_finite(json.loads(file.read_text()))


def test_features_that_overflow(tmp_path: Path) -> None:
    source = changed("X", TEST, 0, 3e38)
    np.savez(tmp_path / "a.npz", **source)
    succeed("make-split", f"arrays:{tmp_path / 'a.npz'}", "--out", tmp_path / "s.h5")
    words = ("run", "--split", tmp_path / "s.h5", "--method", "bce", "--out", tmp_path / "runs")
    refuse(1, "split 'a-full'", "too large after standardising", arguments=words)


@pytest.mark.parametrize("field", ["epochs=1000000000000", "batch=1000000000000"])
def test_schedules_of_too_many_steps(tmp_path: Path, field: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays())
    succeed("make-split", f"arrays:{tmp_path / 'a.npz'}", "--out", tmp_path / "s.h5")
    words = ("run", "--split", tmp_path / "s.h5", "--method", "bce", "--out", tmp_path / "runs")
    refuse(2, "is greater than 2147483647", arguments=(*words, "--recipe", field))
    steps = ("--recipe", "epochs=2147483647", "--recipe", "batch=1")
    said = call(*words, *steps)
    assert said.code == 1
    assert "has 2147483647 epochs of 30 steps, and at most 2^31 steps are possible" in said.err
