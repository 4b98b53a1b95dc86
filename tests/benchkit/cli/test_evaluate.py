"""`benchkit evaluate`, and the results that `run` and `evaluate` print."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call, refuse, succeed

import benchkit

CLASSES = 3


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """s.h5 with 12 test images and 3 classes; logits.npz and probabilities.npz of the same scores.

    Image i has the labels (i % 2 == 0, i % 3 == 0, i % 4 == 0).
    """
    folder = tmp_path_factory.mktemp("evaluate")
    rows = np.arange(60)[:, None]
    labels = (rows % np.arange(2, 2 + CLASSES) == 0).astype(np.int8)
    features = np.hstack([labels, np.sin(rows * np.arange(1, 5))]).astype(np.float32)
    np.savez(folder / "s.npz", X=features, Y=labels, split=(rows[:, 0] >= 48).astype(np.uint8))
    options = ("--many", "20", "--few", "14", "--name", "toy")
    succeed("make-split", f"arrays:{folder / 's.npz'}", "--out", folder / "s.h5", *options)
    logits = np.sin(np.arange(12 * CLASSES) * 1.7).reshape(12, CLASSES) * 4
    np.savez(folder / "logits.npz", scores=logits)
    np.savez(folder / "probabilities.npz", scores=1 / (1 + np.exp(-logits)))
    return folder


def evaluate(shared: Path, out: Path, scores: str | Path, *options: object) -> tuple[object, ...]:
    """The arguments of `benchkit evaluate`."""
    head = ("evaluate", "--split", shared / "s.h5", "--scores", shared / scores)
    return (*head, "--name", "mine", "--out", out, *options)


def record_of(out: Path, run_id: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((out / run_id / "run.json").read_text(encoding="utf-8"))
    return record


def test_probabilities_are_not_taken_for_logits(shared: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    message = refuse(2, arguments=evaluate(shared, out, "probabilities.npz"))
    assert message == (
        f"error: {shared / 'probabilities.npz'}: scores all lie between 0 and 1: say with --scale "
        "probability or --scale logit what they are; see `benchkit evaluate --help`\n"
    )
    assert not out.exists()


def test_probabilities_and_logits_give_the_same_numbers(shared: Path, tmp_path: Path) -> None:
    logits, declared, converted, wrong = (
        record_of(tmp_path, succeed(*evaluate(shared, tmp_path, *arguments)).out.split()[0])
        for arguments in (
            ("logits.npz",),
            ("logits.npz", "--scale", "logit"),
            ("probabilities.npz", "--scale", "probability"),
            ("probabilities.npz", "--scale", "logit"),
        )
    )
    assert declared["run_id"] == logits["run_id"] != wrong["run_id"] != converted["run_id"]
    records = (logits, declared, converted, wrong)
    assert [r["method"].get("scale") for r in records] == [None, "logit", "probability", "logit"]
    assert converted["metrics"] == logits["metrics"]
    assert wrong["metrics"]["ap"] == logits["metrics"]["ap"]
    assert wrong["metrics"]["micro"]["recall"] == 1.0 > logits["metrics"]["micro"]["recall"]
    with np.load(tmp_path / converted["run_id"] / "scores.npz") as stored:
        given = np.load(shared / "logits.npz")["scores"]
        np.testing.assert_allclose(stored["scores"], given, atol=1e-5)


def test_the_command_of_a_record_repeats_it(shared: Path, tmp_path: Path) -> None:
    options = ("--scale", "probability", "--oracle", "noise_rate", "--note", "a b", "--seed", "3")
    run_id = succeed(*evaluate(shared, tmp_path, "probabilities.npz", *options)).out.split()[0]
    record = record_of(tmp_path, run_id)
    assert succeed(*record["command"][1:]).out.split()[0] == run_id
    assert record_of(tmp_path, run_id) == record
    scores = np.load(shared / "probabilities.npz")["scores"]
    split = shared / "s.h5"
    of_array = benchkit.evaluate(split, scores, name="x", out=tmp_path, scale="probability")
    again = succeed(*record_of(tmp_path, of_array)["command"][1:]).out.split()[0]
    assert again == of_array


def test_values_that_are_no_probabilities(shared: Path, tmp_path: Path) -> None:
    for value in (1.25, -0.5):
        scores = np.full((12, CLASSES), 0.5)
        scores[4, 1] = value
        np.savez(tmp_path / "s.npz", scores=scores)
        words = evaluate(shared, tmp_path / "runs", tmp_path / "s.npz", "--scale", "probability")
        refuse(2, tmp_path / "s.npz", f"hold {value}, which is no probability", arguments=words)
    with pytest.raises(benchkit.BenchkitError, match="scale 'percent' is not one of probability,"):
        benchkit.evaluate(shared / "s.h5", scores, name="x", out=tmp_path / "r", scale="percent")
    assert not (tmp_path / "runs").exists()


def test_declared_oracles_and_notes_are_recorded_and_shown(shared: Path, tmp_path: Path) -> None:
    declared = ("--oracle", "true_counts", "--oracle", "noise_rate", "--note", " at 448 pixels ")
    first = succeed(*evaluate(shared, tmp_path, "logits.npz", *declared)).out
    record = record_of(tmp_path, first.split()[0])
    assert record["method"]["oracle"] == ["true_counts", "noise_rate"]
    assert record["method"]["note"] == "at 448 pixels"
    for form in ("terminal", "markdown", "html"):
        text = " ".join(succeed("report", tmp_path, "--format", form).out.split())
        assert "mine †" in text, form
        assert "mine uses true counts, noise rate; these rows are not ranked" in text, form
        assert "mine: at 448 pixels" in text, form
    (row,) = csv.DictReader(io.StringIO(succeed("report", tmp_path, "--format", "csv").out))
    assert (row["oracle"], row["note"]) == ("true_counts noise_rate", "at 448 pixels")
    # The same scores with other declarations are the same run: the last declaration holds.
    selected = evaluate(shared, tmp_path, "logits.npz", "--oracle", "true_labels")
    assert succeed(*selected).out == first
    assert record_of(tmp_path, first.split()[0])["method"]["oracle"] == ["true_labels"]
    refuse(2, "'counts'", arguments=evaluate(shared, tmp_path, "logits.npz", "--oracle", "counts"))


def test_the_best_test_epoch_is_declared_once(shared: Path, tmp_path: Path) -> None:
    options = ("--select", "test-oracle", "--oracle", "best_test_epoch")
    run_id = succeed(*evaluate(shared, tmp_path, "logits.npz", *options)).out.split()[0]
    assert record_of(tmp_path, run_id)["method"]["oracle"] == ["best_test_epoch"]


def printed_rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()[1:]]


def test_evaluate_prints_its_result(shared: Path, tmp_path: Path) -> None:
    out = succeed(*evaluate(shared, tmp_path, "logits.npz")).out
    run_id, head, row = out.splitlines()
    metrics = record_of(tmp_path, run_id)["metrics"]
    names = ("map", "map_many", "map_medium", "map_few", "map_groups_average")
    values = [f"{100 * metrics[name]:.2f}" for name in names]
    assert head.split() == ["method", "seeds", "total", "many", "medium", "few", "average"]
    assert row.split() == ["mine", "1", *values]
    assert len(head) == len(row)


def test_run_prints_the_means_of_its_methods(shared: Path, tmp_path: Path) -> None:
    words = ("run", "--split", shared / "s.h5", "--out", tmp_path, "--recipe", "epochs=1")
    first = succeed(*words, "--method", "bce,asl", "--seeds", "2").out
    assert first.startswith("4 runs done, 0 kept, 0 failed, 0 methods skipped\nmethod  seeds  ")
    report = csv.DictReader(io.StringIO(succeed("report", tmp_path, "--format", "csv").out))
    columns = ("total", "many", "medium", "few", "average")
    assert printed_rows(first)[1:] == [
        [row["label"], "2", *(f"{100 * float(row[f'{name}_mean']):.2f}" for name in columns)]
        for row in report
    ]
    again = succeed(*words, "--method", "bce", "--seeds", "3").out
    assert again.startswith("1 runs done, 2 kept")
    assert [row[:2] for row in printed_rows(again)[1:]] == [["bce", "3"]]


def test_a_kept_record_that_cannot_be_read_hides_the_results_only(
    shared: Path, tmp_path: Path
) -> None:
    words = ("run", "--split", shared / "s.h5", "--out", tmp_path, "--recipe", "epochs=1")
    succeed(*words, "--method", "bce")
    (path,) = tmp_path.glob("*/run.json")
    record = json.loads(path.read_text())
    record["metrics"]["map"] = 7
    path.write_text(json.dumps(record))
    result = call(*words, "--method", "bce")
    assert "Traceback" not in result.err
    assert "7" in result.err and str(path) in result.err


@pytest.mark.parametrize("text", ["bce asl", "bce,asl focal", "bce bcee", "all bce"])
def test_methods_without_commas(shared: Path, tmp_path: Path, text: str) -> None:
    words = ("run", "--split", shared / "s.h5", "--out", tmp_path / "r", "--method", text)
    message = refuse(2, "methods are separated by commas", arguments=words)
    wrong = text.rpartition(",")[2]
    assert f"'{wrong.replace(' ', ',')}' instead of '{wrong}'" in message
