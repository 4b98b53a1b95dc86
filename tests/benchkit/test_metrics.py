"""The public metrics: the functions of the leaderboard, documented, and without torch."""

from __future__ import annotations

import doctest
import subprocess
import sys

import numpy as np
import pytest

import leaderboard.metrics
from benchkit import metrics

FUNCTIONS = [name for name in metrics.__all__ if name != "METRIC_VERSION"]


@pytest.mark.parametrize("name", ["", *FUNCTIONS])
def test_examples_run(name: str) -> None:
    """The example of every function, and that of the module ("")."""
    target = getattr(metrics, name) if name else metrics
    (test,) = doctest.DocTestFinder(recurse=False).find(
        target, name or "metrics", globs={**vars(metrics), "np": np}
    )
    assert test.examples
    runner = doctest.DocTestRunner()
    runner.run(test)
    assert runner.failures == 0


def test_they_are_those_of_the_leaderboard() -> None:
    for name in metrics.__all__:
        assert getattr(metrics, name) is getattr(leaderboard.metrics, name)


def test_the_module_describes_every_function() -> None:
    assert metrics.__doc__ is not None
    for name in FUNCTIONS:
        assert f"- `{name}(" in metrics.__doc__


def test_a_table_worked_by_hand() -> None:
    # Class 0: positives at ranks 1 and 3, (1/1 + 2/3) / 2. Class 1: the unknown label leaves its
    # class, and the positive ranks first of two. Class 2 has no positive.
    scores = np.array([[2.0, -1.0, 1.0], [1.0, 0.5, 2.0], [-1.0, 0.1, 3.0]])
    labels = np.array([[1, 0, 0], [0, -1, 0], [1, 1, 0]], np.int8)
    expected = [5 / 6, 1.0, np.nan]
    np.testing.assert_allclose(metrics.average_precision(scores, labels), expected, rtol=1e-15)
    result = metrics.summary(scores, labels, ["many", "few", "few"])
    assert result["map"] == pytest.approx((5 / 6 + 1) / 2)
    assert result["map_many"] == pytest.approx(5 / 6)
    assert result["map_medium"] is None
    assert result["map_few"] == 1.0
    assert result["undefined_classes"] == 1
    # Positive predictions of known labels: 2 in class 0, 1 in class 1, 3 in class 2; hits 1, 1, 0.
    micro = metrics.threshold_metrics(scores, labels)["micro"]
    assert micro["precision"] == pytest.approx(2 / 6)
    assert micro["recall"] == pytest.approx(2 / 3)


def test_the_module_imports_no_torch() -> None:
    code = "import sys, benchkit.metrics; print('torch' in sys.modules, 'h5py' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False False\n"
