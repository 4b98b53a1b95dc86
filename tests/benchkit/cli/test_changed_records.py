"""Records that were changed after they were written: `report` names them, `run` repeats them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call, refuse, succeed

import benchkit

GRID = ("--method", "bce", "--seeds", "2", "--recipe", "epochs=2", "--recipe", "batch=16")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """s.h5, a split of 60 images, and runs, the records of BCE with two seeds."""
    folder = tmp_path_factory.mktemp("changed")
    rows = np.arange(60)[:, None]
    labels = (rows % np.arange(2, 5) == 0).astype(np.int8)
    features = np.hstack([labels, np.sin(rows * np.arange(1, 5))]).astype(np.float32)
    np.savez(folder / "s.npz", X=features, Y=labels)
    succeed("make-split", f"arrays:{folder / 's.npz'}", "--out", folder / "s.h5")
    succeed("run", "--split", folder / "s.h5", *GRID, "--out", folder / "runs")
    return folder


@pytest.fixture
def runs(shared: Path, tmp_path: Path) -> Path:
    """A copy of the records."""
    return Path(shutil.copytree(shared / "runs", tmp_path / "runs"))


def record_of(runs: Path, seed: int) -> Path:
    """The `run.json` of a seed."""
    (path,) = (
        path
        for path in runs.glob("*/run.json")
        if json.loads(path.read_text())["science"]["seed"] == seed
    )
    return path


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "total": lambda record: record["metrics"].update(map=0.99),
    "few": lambda record: record["metrics"].update(map_few=0.99),
    "average precision": lambda record: record["metrics"]["ap"].__setitem__(0, 0.99),
    "count": lambda record: record["split"]["test_positives"].__setitem__(0, 1),
    "curve": lambda record: record["curve"][0].update(loss=0.0),
    "seconds": lambda record: record.update(wall_seconds=0.0),
    "default": lambda record: record["science"]["recipe"].update(momentum=0.5),
    "type of a default": lambda record: record["science"]["recipe"].update(momentum="0.9"),
    "deleted default": lambda record: record["science"]["recipe"].pop("momentum"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_record_is_named_left_out_and_repeated(
    shared: Path, runs: Path, name: str
) -> None:
    path = record_of(runs, 1)
    original = json.loads(path.read_text())
    changed = json.loads(path.read_text())
    CHANGES[name](changed)
    path.write_text(json.dumps(changed, indent=1))
    sentence = (
        f"{path}: the content does not match its digest, so the file was changed after it was "
        "written: repeat the run."
    )
    for format in ("terminal", "markdown", "csv", "html"):
        shown = succeed("report", runs, "--format", format)
        assert shown.err == f"left out: {sentence}\n"
    assert benchkit.read_records(runs)["seed"].tolist() == [0]
    assert refuse(1, arguments=("report", runs, "--strict")) == f"error: {sentence}\n"
    again = succeed("run", "--split", shared / "s.h5", *GRID, "--out", runs)
    assert again.out.startswith("1 runs done, 1 kept")
    assert again.err.startswith(
        f"the record {path.parent} is damaged and does not count as done: {sentence[:-1]}\n"
    )
    repeated = json.loads(path.read_text())
    assert repeated["metrics"] == original["metrics"]
    assert succeed("report", runs).err == ""


def test_changed_scores_are_repeated(shared: Path, runs: Path) -> None:
    path = record_of(runs, 1).with_name("scores.npz")
    with np.load(path) as file:
        original = dict(file)
    np.savez(path, scores=original["scores"][::-1], ids=original["ids"])
    again = succeed("run", "--split", shared / "s.h5", *GRID, "--out", runs)
    assert again.out.startswith("1 runs done, 1 kept")
    assert f"{path} does not match its digest in run.json" in again.err
    with np.load(path) as file:
        np.testing.assert_array_equal(file["scores"], original["scores"])


@pytest.mark.parametrize("format", ["terminal", "markdown", "csv", "html"])
def test_every_format_reports_interrupted_runs_and_failures(runs: Path, format: str) -> None:
    record_of(runs, 1).unlink()
    (runs / "failures").mkdir()
    failure = {"run_id": "00ff", "method": "asl", "seed": 3, "error": "the loss is not finite"}
    (runs / "failures" / "00ff.json").write_text(json.dumps(failure))
    assert succeed("report", runs, "--format", format).err == (
        "1 folder holds an interrupted run without a record: start the same command again to "
        "finish it.\n"
        "failed: asl, seed 3 (run 00ff): the loss is not finite\n"
    )


def test_void_claims_are_removed_when_nothing_has_to_be_trained(shared: Path, runs: Path) -> None:
    claims = runs / ".claims"
    claims.mkdir()
    for name in ("lock", "0123456789abcdef.claim"):
        (claims / name).write_text("")
    again = call("run", "--split", shared / "s.h5", *GRID, "--out", runs)
    assert again.out.startswith("0 runs done, 2 kept")
    assert again.err.startswith(
        f"ignoring and removing claims in {claims}: their process was interrupted\n"
    )
    assert not claims.exists()
