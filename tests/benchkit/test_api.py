"""The public API: its examples run, and it does what the command line does."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import succeed

import benchkit
from baselines.core import Method, positives
from baselines.core.losses import bce_terms

FUNCTIONS = ("make_split", "load_split", "run", "evaluate", "report", "read_records", "Method")


class Doubled(Method):
    info = benchkit.MethodInfo("doubled", "Doubled", "none", 2026, "L = 2 BCE", "negative")

    def loss(self, run: Any, logits: Any, batch: Any, clock: Any, draw: Any) -> Any:
        return 2 * bce_terms(logits, positives(batch.observed, logits.dtype)).mean()


def write_arrays(folder: Path) -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 3)) < (0.5, 0.3, 0.1)).astype(np.int8)
    features = rng.normal(size=(200, 8)) + labels @ rng.normal(size=(3, 8))
    is_test = np.arange(200) % 5 == 0
    np.savez(
        folder / "mine.npz",
        X=features.astype(np.float32),
        Y=labels,
        label_names=["cat", "dog", "moose"],
        split=is_test.astype(np.uint8),
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_arrays(tmp_path)
    benchkit.make_split("arrays:mine.npz", "mine.h5", regime="pal:0.5", many=60, few=20)
    return tmp_path


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_runs(folder: Path, name: str) -> None:
    """Each example may use mine.npz, mine.h5, scores, and runs of one method in `runs`."""
    benchkit.run("mine.h5", "bce", out="runs", recipe={"epochs": 1})
    scores = np.full((40, 3), -1, np.float32)
    names = {"benchkit": benchkit, "scores": scores}
    tests = doctest.DocTestFinder(recurse=False).find(getattr(benchkit, name), name, globs=names)
    assert tests and tests[0].examples
    failures, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(tests[0])
    assert failures == 0


def test_all_names_are_there() -> None:
    for name in benchkit.__all__:
        assert getattr(benchkit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        benchkit.nonsense  # noqa: B018


def test_a_split_is_the_same_as_the_commands(folder: Path) -> None:
    arguments = ("--regime", "pal:0.5", "--many", 60, "--few", 20, "--out", "other.h5")
    succeed("make-split", "arrays:mine.npz", *arguments)
    assert (folder / "other.h5").read_bytes() == (folder / "mine.h5").read_bytes()


def test_runs_are_the_same_as_the_commands(folder: Path) -> None:
    outcome = benchkit.run(
        "mine.h5",
        ["bce", "asl"],
        out="runs",
        seeds=[1, 4],
        hyperparameters={"asl": {"clip": 0.1}},
        recipe=["dbl", {"epochs": 2}],
    )
    assert len(outcome.done) == 4 and not outcome.failed
    arguments = ("--method", "bce,asl", "--seed", 1, "--seed", 4, "--set", "asl.clip=0.1")
    recipe = ("--recipe", "dbl", "--recipe", "epochs=2")
    result = succeed("run", "--split", "mine.h5", *arguments, *recipe, "--out", "runs")
    assert result.out.startswith("0 runs done, 4 kept, 0 failed, 0 methods skipped\n")


def test_a_class_is_a_method(folder: Path) -> None:
    outcome = benchkit.run("mine.h5", [Doubled, "bce"], out="runs", recipe={"epochs": 1})
    assert len(outcome.done) == 2
    frame = benchkit.read_records("runs")
    assert sorted(frame.method) == ["bce", "doubled"]
    (record,) = [
        json.loads(path.read_text())
        for path in (folder / "runs").glob("*/run.json")
        if "doubled" in path.read_text()
    ]
    assert record["method"]["kind"] == "plugin"
    assert record["science"]["method_version"].startswith("1+")


def test_records_are_a_frame(folder: Path) -> None:
    benchkit.run("mine.h5", "bce", out="runs", seeds=2, recipe={"epochs": 2})
    frame = benchkit.read_records("runs")
    records = {
        record["run_id"]: record
        for record in (json.loads(p.read_text()) for p in (folder / "runs").glob("*/run.json"))
    }
    assert frame.seed.tolist() in ([0, 1], [1, 0])
    for row in frame.itertuples():
        metrics = records[row.run_id]["metrics"]
        assert (row.total, row.few) == (metrics["map"], metrics["map_few"])
        assert row.recipe["epochs"] == 2


def test_scores_may_be_an_array(folder: Path) -> None:
    split = benchkit.load_split(str(folder / "mine.h5"))
    truth = split.test.dense("true").astype(np.float32)
    run_id = benchkit.evaluate("mine.h5", truth, name="truth", out="runs", scale="logit")
    np.savez("truth.npz", scores=truth)
    again = benchkit.evaluate("mine.h5", "truth.npz", name="truth", out="runs", scale="logit")
    assert again == run_id
    (row,) = benchkit.read_records("runs").itertuples()
    assert (row.run_id, row.method, row.total) == (run_id, "truth", 1.0)
    with pytest.raises(benchkit.BenchkitError, match=r"shape \[3, 40\]"):
        benchkit.evaluate("mine.h5", truth.T, name="truth", out="runs")


def test_reports(folder: Path) -> None:
    benchkit.run("mine.h5", "bce", out="runs", recipe={"epochs": 1})
    for form, sign in (("terminal", "─"), ("markdown", "|"), ("csv", ","), ("html", "<html")):
        text = benchkit.report("runs", format=form, out=f"page.{form}")
        assert sign in text and "bce" in text
        assert (folder / f"page.{form}").read_text(encoding="utf-8") == text
    with pytest.raises(benchkit.BenchkitError, match="'pdf' is not one of terminal, markdown"):
        benchkit.report("runs", format="pdf")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": "bec"}, "there is no method 'bec'; did you mean"),
        ({"hyperparameters": {"bce": {"x": 1}}}, "method 'bce' has no option 'x'"),
        ({"hyperparameters": {"asl": {"clip": 0.1}}}, "the method 'asl' is not in"),
        ({"recipe": {"epoch": 3}}, "'epochs'"),
        ({"recipe": "dbx"}, "there is no recipe 'dbx'; did you mean 'dbl'"),
        ({"select": "best"}, "'best' is not one of last, val, test-oracle"),
        ({"papers": ["imagenet"]}, "no method has values for it"),
    ],
)
def test_wrong_calls(folder: Path, changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"methods": "bce", "out": "runs", **changes}
    with pytest.raises(benchkit.BenchkitError, match=message):
        benchkit.run("mine.h5", **arguments)
    assert not (folder / "runs").exists()


def test_messages_go_to_the_log(folder: Path) -> None:
    messages: list[str] = []
    benchkit.run("mine.h5", "em", out="runs", papers=["voc"], log=messages.append)
    assert messages == ["em as in its paper: alpha=0.2"]
