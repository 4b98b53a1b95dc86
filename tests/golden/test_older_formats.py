"""Records in formats 1 and 2 are still read and still count as done.

`tests/golden/format1` and `format2` were written when these formats were current. They hold records
of runs on the split `pal-val`: BCE and ASL with clip=0.1 and two seeds, ML-GCN selected on
validation, SPLC selected on test, external scores, and a failure.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import io
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import benchkit
from benchkit.base.fields import Field
from benchkit.runs import records as writer
from benchkit.training import recipe as training_recipe
from leaderboard.columns import COLUMNS
from leaderboard.record import Failure, Record
from leaderboard.records import load

HERE = Path(__file__).parent
FORMATS = (1, 2)
RUN_FILES = sorted(HERE.glob("format[12]/*/run.json"))
EXTERNAL = {1: "7623a2c420f87e28", 2: "a53632f795437332"}


def _recipes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_recipes", HERE / "recipes.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The split of the records."""
    folder, recipes = tmp_path_factory.mktemp("format1"), _recipes()
    recipes.write_inputs(folder)
    path: Path = recipes.make_split(folder, "pal-val")
    return path


@pytest.fixture(params=FORMATS, ids=lambda format: f"format{format}")
def format(request: pytest.FixtureRequest) -> int:
    """The format of the records."""
    return int(request.param)


@pytest.fixture
def stored(format: int) -> Path:
    """The records as they are kept."""
    return HERE / f"format{format}"


@pytest.fixture
def runs(stored: Path, tmp_path: Path) -> Path:
    """A copy of the records."""
    return Path(shutil.copytree(stored, tmp_path / "runs"))


def run_grid(split: Path, runs: Path, **changes: Any) -> Any:
    """Run the grid of the BCE and ASL records."""
    options = {"seeds": 2, "recipe": ["features-v1", "epochs=2", "batch=16"], **changes}
    return benchkit.run(
        split, "bce,asl", hyperparameters={"asl": {"clip": 0.1}}, out=runs, **options
    )


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def table_rows(runs: Path) -> dict[tuple[str, str], dict[str, str]]:
    """(method, selection) -> row of the CSV report."""
    lines = csv.DictReader(io.StringIO(benchkit.report(runs, format="csv")))
    rows = list(lines)
    by_key = {(row["method"], row["selection"]): row for row in rows}
    assert len(by_key) == len(rows)
    return by_key


@pytest.mark.parametrize("path", RUN_FILES, ids=lambda path: path.parent.name)
def test_a_record_is_read_and_written_without_loss(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    record = Record.from_json(json.loads(text), path)
    assert path.parent.parent.name == f"format{record.format}"
    assert json.dumps(record.to_json(), indent=1) + "\n" == text


def test_a_failure_is_read_and_written_without_loss(format: int, stored: Path) -> None:
    (path,) = (stored / "failures").glob("*.json")
    text = path.read_text(encoding="utf-8")
    failure = Failure.from_json(json.loads(text), path)
    assert failure.format == format
    assert json.dumps(failure.to_json(), indent=1) + "\n" == text


def test_the_departures_are_those_of_the_command(stored: Path) -> None:
    departures = {
        (record.method.key, record.arguments.seed): record.arguments.departures
        for record in load(stored).records
    }
    names = {key: (each.recipe, each.hyperparameters) for key, each in departures.items()}
    assert names == {
        ("bce", 0): (("epochs", "batch"), ()),
        ("bce", 1): (("epochs", "batch"), ()),
        ("asl", 0): (("epochs", "batch"), ("clip",)),
        ("asl", 1): (("epochs", "batch"), ("clip",)),
        ("ml-gcn", 0): (("epochs",), ()),
        ("splc", 0): (("lr", "epochs"), ()),
        ("outside", 1): ((), ()),
    }


def test_the_report_shows_the_recorded_numbers(stored: Path) -> None:
    recorded: dict[tuple[str, str], list[Record]] = {}
    for path in stored.glob("*/run.json"):
        record = Record.from_json(json.loads(path.read_text(encoding="utf-8")), path)
        recorded.setdefault((record.method.key, record.arguments.selection), []).append(record)
    rows = table_rows(stored)
    assert rows.keys() == recorded.keys()
    for key, seeds in recorded.items():
        assert rows[key]["seeds"] == str(len(seeds))
        for column in COLUMNS:
            values = [column.value(record.metrics) for record in seeds]
            mean = sum(values) / len(values)
            assert float(rows[key][f"{column.key}_mean"]) == pytest.approx(mean, rel=1e-12)
    assert "failed: broken, seed 0" in benchkit.report(stored, format="markdown")


def test_the_same_grid_keeps_all_records_and_trains_nothing(split: Path, runs: Path) -> None:
    before = contents(runs)
    outcome = run_grid(split, runs)
    assert len(outcome.cached) == 4
    assert (outcome.done, outcome.failed, outcome.skipped) == ([], {}, {})
    assert all((runs / run_id / "run.json").is_file() for run_id in outcome.cached)
    assert contents(runs) == before


def test_a_field_that_is_added_later_keeps_the_records(
    split: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = dataclasses.make_dataclass(
        "LongerRecipe", [("accumulate", int, 0)], bases=(training_recipe.Recipe,), frozen=True
    )
    fields = (*training_recipe.FIELDS, Field("accumulate", 0))
    monkeypatch.setattr(training_recipe, "FIELDS", fields)
    default = longer(**vars(training_recipe.DEFAULTS["1"]))
    monkeypatch.setitem(training_recipe.DEFAULTS, "1", default)
    monkeypatch.setitem(training_recipe.RECIPES, "features-v1", ("longer", default))
    parsed = training_recipe.parse(["features-v1", "epochs=2"])
    assert parsed == dataclasses.replace(default, epochs=2)
    assert parsed.values()["accumulate"] == 0
    outcome = run_grid(split, runs)
    assert (len(outcome.cached), outcome.done) == (4, [])


def test_records_of_all_formats_share_a_row(split: Path, runs: Path) -> None:
    before = contents(runs)
    outcome = run_grid(split, runs, seeds=3)
    assert (len(outcome.cached), len(outcome.done)) == (4, 2)
    assert before.items() <= contents(runs).items()
    new = [json.loads((runs / run_id / "run.json").read_text()) for run_id in outcome.done]
    assert [(record["format"], record["science"]["seed"]) for record in new] == [(3, 2), (3, 2)]
    rows = table_rows(runs)
    assert len(rows) == 5
    assert {key: row["seeds"] for key, row in rows.items()} == {
        ("bce", "last"): "3",
        ("asl", "last"): "3",
        ("outside", "last"): "1",
        ("ml-gcn", "val"): "1",
        ("splc", "test-oracle"): "1",
    }
    assert run_grid(split, runs, seeds=3).done == []


def test_every_record_is_found_by_its_arguments(runs: Path) -> None:
    folders = {record.arguments.run_id: record.path.parent for record in load(runs).records}
    assert len(folders) == len(RUN_FILES) / len(FORMATS)
    assert writer.find(runs, {*folders, "0" * 16}) == folders


def test_the_same_external_scores_are_the_same_run(
    split: Path, runs: Path, stored: Path, format: int
) -> None:
    before = contents(runs)
    path = stored / EXTERNAL[format] / "run.json"
    messages: list[str] = []
    run_id = benchkit.evaluate(
        split, path.with_name("scores.npz"), name="outside", seed=1, out=runs, log=messages.append
    )
    assert run_id == path.parent.name
    after = contents(runs)
    if format == 1:
        assert after == before
        assert messages == [f"these scores are already in {runs / run_id} and are kept"]
        return
    # A record under the same id is replaced, because its note and oracles may have changed.
    assert messages == []
    replaced = runs / run_id / "run.json"
    old, new = (json.loads(files.pop(replaced)) for files in (before, after))
    assert after == before
    assert (old["format"], new["format"]) == (2, 3)
    for key in ("science", "split", "method", "metrics"):
        assert new[key] == old[key]
