"""Fingerprints and metrics are those of version 0.1, number for number.

The bytes of split files are those of the current file format, with its `metadata_digest`.

Bytes and the last digits also depend on the libraries and the processor; where these are not those
of the recorded numbers, fingerprints still have to agree, and metrics to 0.05 (few test positives
make a single exchanged pair visible).
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
NUMBERS = json.loads((HERE / "numbers.json").read_text(encoding="utf-8"))


def _recipes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_recipes", HERE / "recipes.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


recipes = _recipes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("golden")
    recipes.write_inputs(path)
    return path


def assert_metrics(mine: Any, expected: Any, tolerance: float, where: str) -> None:
    if isinstance(expected, dict):
        assert mine.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_metrics(mine[key], value, tolerance, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(mine) == len(expected), where
        for place, (one, other) in enumerate(zip(mine, expected, strict=True)):
            assert_metrics(one, other, tolerance, f"{where}[{place}]")
    elif expected is None:
        assert mine is None, where
    else:
        assert mine == pytest.approx(expected, abs=tolerance, rel=0), where


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_split(folder: Path, name: str) -> None:
    fingerprints = recipes.fingerprints(recipes.make_split(folder, name))
    expected = NUMBERS["splits"][name]
    same_libraries = all(
        recipes.versions()[key] == NUMBERS["versions"][key] for key in ("numpy", "h5py", "benchkit")
    )
    for kind in ("labels", "features", "both", *(["file"] if same_libraries else [])):
        assert fingerprints[kind] == expected[kind], kind


@pytest.mark.parametrize("name", recipes.TRAINED)
def test_metrics(folder: Path, name: str) -> None:
    if not (folder / f"{name}.h5").exists():
        recipes.make_split(folder, name)
    metrics = recipes.train(folder, name)
    exact = recipes.versions() == NUMBERS["versions"]
    for method, expected in NUMBERS["metrics"][name].items():
        assert_metrics(metrics[method], expected, 1e-12 if exact else 0.05, method)
