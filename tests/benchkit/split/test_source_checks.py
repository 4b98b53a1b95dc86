"""Sources that give misleading splits are refused, or mentioned with counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import refuse

from benchkit.base import random
from benchkit.base.errors import BenchkitError
from benchkit.split.make import make
from benchkit.split.request import Request
from benchkit.split.source_checks import is_repeated

N = 60
ROWS, COLUMNS = np.arange(N)[:, None], np.arange(3)[None, :]
Y = (random.uniform(0, "labels", ROWS, COLUMNS) < 0.4).astype(np.int8)
X = random.uniform(0, "features", ROWS, np.arange(20)[None, :]).astype(np.float32)
PART = np.where(np.arange(N) < 40, 0, 1)


def messages(tmp_path: Path, content: dict[str, Any], **options: str) -> str:
    """The log of `make` on arrays."""
    np.savez(tmp_path / "a.npz", **content)
    log: list[str] = []
    source = f"arrays:{tmp_path / 'a.npz'}"
    make(Request(source, tmp_path / "a.h5", source_options=options), log.append)
    return "\n".join(log).replace(str(tmp_path), "")


@pytest.mark.parametrize("kind", ["arrays", "csv"])
def test_minus_one_for_negatives_is_refused(kind: str, tmp_path: Path) -> None:
    labels = np.where(Y == 1, 1, -1)
    np.savez(tmp_path / "a.npz", X=X, Y=labels, split=PART)
    rows = "".join(f"{i},{','.join(map(str, row))}\n" for i, row in enumerate(labels))
    (tmp_path / "a.csv").write_text(f"image,a,b,c\n{rows}")
    source = f"{kind}:{tmp_path / {'arrays': 'a.npz', 'csv': 'a.csv'}[kind]}"
    command = ("make-split", source, "--out", tmp_path / "a.h5")
    refuse(
        1,
        "the test part has no known negative label",
        "if -1 means negative, use -o minus_one=negative",
        arguments=command,
    )
    assert not (tmp_path / "a.h5").exists()
    options = {"minus_one": "negative"}
    split = make(Request(source, tmp_path / "a.h5", source_options=options))
    assert set(np.unique(split.test.dense("true"))) == {0, 1}


def test_minus_one_has_one_name_in_every_source_that_has_it() -> None:
    from splits.sources import registry

    kinds = [kind for kind in registry.names() if "minus_one" in registry.get(kind).OPTIONS]
    assert kinds == ["arrays", "csv", "hdf5", "mat", "parquet"]


def test_a_validation_part_without_a_known_negative_is_refused(tmp_path: Path) -> None:
    part = np.where(np.arange(N) % 4 == 3, 2, PART)
    labels = np.where((part == 2)[:, None], 1, Y)
    with pytest.raises(BenchkitError, match="the val part has no known negative label"):
        messages(tmp_path, {"X": X, "Y": labels, "split": part})


def test_images_of_one_class_are_refused(tmp_path: Path) -> None:
    document = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(10)],
        "annotations": [{"id": i, "image_id": i, "category_id": 1} for i in range(9)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    command = ("make-split", f"coco:{tmp_path / 'a.json'}", "--out", tmp_path / "a.h5")
    refuse(1, "keep images without labels with -o keep_empty=both", arguments=command)


def test_classes_without_a_known_negative_are_counted(tmp_path: Path) -> None:
    labels = Y.copy()
    labels[PART == 1, 1] = np.where(Y[PART == 1, 1] == 1, 1, -1)
    content = {"X": X, "Y": labels, "split": PART}
    unknown = int((labels[PART == 1] == -1).sum())
    log = messages(tmp_path, content)
    assert (
        "1 of 3 classes have positives but no known negative in the test part, so their AP is 100 "
        "for every method: class_1"
    ) in log
    assert f"{unknown} labels of the test part ({unknown / 60:.1%}) are unknown" in log
    assert "-o minus_one=unknown confirms it" in log
    log = messages(tmp_path, content, minus_one="unknown")
    assert "no known negative" in log and "confirms" not in log
    assert "known" not in messages(tmp_path, {**content, "Y": Y})


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ({"x": X}, {}, "unused array 'x'; did you mean 'X'?"),
        ({"feature": X, "meta": X}, {}, "unused arrays: 'feature', 'meta'; features are read from"),
        ({"X": X, "Split": PART}, {}, "unused array 'Split'; did you mean 'split'?"),
        ({"X": X, "label_name": list("abc")}, {}, "did you mean 'label_names'?"),
        ({"X": X, "other": X}, {}, ""),
        ({"x": X}, {"features": "x"}, ""),
    ],
)
def test_unused_arrays(
    tmp_path: Path, content: dict[str, Any], options: dict[str, str], expected: str
) -> None:
    log = messages(tmp_path, {"Y": Y, **content}, **options)
    assert expected in log if expected else "unused" not in log
    assert ("the split has no features, so it cannot be trained on" in log) == (
        "X" not in content and not options
    )


def test_features_that_are_switched_off_are_not_mentioned(tmp_path: Path) -> None:
    assert "features" not in messages(tmp_path, {"X": X, "Y": Y}, features="none")


def test_coco_without_images(tmp_path: Path) -> None:
    document = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(10)],
        "annotations": [{"id": i, "image_id": i, "category_id": i % 2} for i in range(10)],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    log: list[str] = []
    request = Request(f"coco:{tmp_path / 'a.json'}", tmp_path / "a.h5")
    make(request, log.append)
    assert log[0].endswith(
        "the split has no features, so it cannot be trained on; name the folder of the images with "
        "-o images=FOLDER, and a --backbone"
    )


def test_images_in_two_parts_are_counted(tmp_path: Path) -> None:
    features = X.copy()
    features[45:48] = features[3:6]
    features[50] = features[44]  # both in the test part
    features[51, :16] = features[3, :16]  # equal only in their first numbers
    log = messages(tmp_path, {"X": features, "Y": Y, "split": PART})
    assert "3 of 20 images in the test part have the same features as a training image" in log
    assert "same features" not in messages(tmp_path, {"X": X, "Y": Y, "split": PART})


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_repeated_rows_are_those_of_a_comparison_of_all_pairs(dtype: type) -> None:
    values = random.uniform(0, "rows", np.arange(40)[:, None], np.arange(3)[None, :])
    rows = (values * 2).round().astype(dtype).reshape(40, 1, 3)
    train, other = rows[:25], rows[25:]
    expected = [any((row == first).all() for first in train) for row in other]
    assert is_repeated(train, other).tolist() == expected
    assert any(expected) and not all(expected)
