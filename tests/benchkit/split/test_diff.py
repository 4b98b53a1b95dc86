"""`benchkit diff` on splits that are small enough to check by hand."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from commands import call
from rich.console import Console

from benchkit.cli.diff import print_comparison
from benchkit.split import file as split_file
from benchkit.split.build import build
from benchkit.split.diff import Side, compare, differences
from benchkit.split.features import source_features
from benchkit.split.model import Split
from benchkit.split.options import Options
from splits.labels import SparseLabels
from splits.regimes import Regime
from splits.source import Source

# Rows: a b c d e (train), f g (test). Columns: sky, sea, cat.
LABELS = np.array(
    [[1, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]], np.int8
)
TEST = np.array([0, 0, 0, 0, 0, 1, 1], np.uint8)


def source(
    ids: str = "abcdefg",
    classes: tuple[str, ...] = ("sky", "sea", "cat"),
    labels: np.ndarray = LABELS,
    part: np.ndarray = TEST,
    *,
    features: float | None = None,
) -> Source:
    """Seven images; the features of row i are i + `features`."""
    rows = np.arange(len(labels), dtype=np.float32)[:, None, None]
    return Source(
        name="hand",
        class_names=classes,
        image_ids=np.array(list(ids)),
        labels=labels,
        part=part,
        paths=None,
        roots=(),
        features=None if features is None else rows + np.float32(features),
        digests={},
    )


def split(
    made: Source | None = None, observed: Any = None, *, regime: str = "full", **options: Any
) -> Split:
    """The split of a source, with shot groups at 3 and 2, and its observed labels replaced."""
    made = source() if made is None else made
    decisions = Options(**{"many": 3, "few": 2, "regime": Regime.parse(regime), **options})
    built = build(made, decisions, source_features(made), "hand")
    if observed is None:
        return built
    train = dataclasses.replace(built.train, observed=np.array(observed, np.int8))
    return dataclasses.replace(built, parts={**built.parts, "train": train})


def diff(a: Split, b: Split) -> dict[str, Any]:
    return compare(Side(a, a.fingerprints()), Side(b, b.fingerprints()))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two files of the same images, observed under PAL 0.3 and 0.6."""
    paths = tmp_path / "a.h5", tmp_path / "b.h5"
    for path, regime in zip(paths, ("pal:0.3", "pal:0.6"), strict=True):
        split_file.write(split(regime=regime), path)
    return paths


# ----------------------------------------------------------------------------- values by hand


def test_a_split_is_the_same_as_itself() -> None:
    found = diff(split(), split())
    assert found["identical"]
    assert found["equal"] == {"name": True, "labels": True, "features": True}
    assert found["recipe"] == found["provenance"] == found["moved"] == found["leaks"] == []
    assert found["images"] == {
        "train": {"a": 5, "b": 5, "shared": 5, "only_a": 0, "only_b": 0},
        "test": {"a": 2, "b": 2, "shared": 2, "only_a": 0, "only_b": 0},
    }
    assert found["true_labels"]["entries"] == 21
    assert found["true_labels"]["different"] == 0
    assert found["observed"] == {
        "entries": 15,
        "same": 15,
        "only_a": 0,
        "only_b": 0,
        "different": 0,
        "unknown_in_both": 0,
        "agreement": 1.0,
        "nesting": "equal",
        "positives_nesting": "equal",
    }
    assert found["features"]["status"] == "equal"


def test_observed_labels_are_counted_pair_by_pair() -> None:
    one = [[1, 0, -1], [-1, -1, -1], [1, -1, 0], [0, 1, -1], [1, -1, -1]]
    two = [[1, -1, 0], [-1, 1, -1], [0, -1, 0], [0, -1, -1], [1, -1, -1]]
    #      same  A  B   -  B  -     !!  -  same same A  -     same - -
    observed = diff(split(observed=one), split(observed=two))["observed"]
    assert observed == {
        "entries": 15,
        "same": 4,
        "only_a": 2,
        "only_b": 2,
        "different": 1,
        "unknown_in_both": 6,
        "agreement": 4 / 5,
        "nesting": "neither",
        "positives_nesting": "neither",
    }


def test_rows_and_columns_are_matched_by_name() -> None:
    rows, columns = [4, 2, 0, 1, 3, 6, 5], [2, 0, 1]
    other = source("ecabdgf", ("cat", "sky", "sea"), LABELS[rows][:, columns], TEST[rows])
    found = diff(split(), split(other))
    assert not found["equal"]["labels"]
    assert found["classes"] == {"shared": 3, "only_a": [], "only_b": [], "same_order": False}
    assert found["true_labels"]["different"] == 0
    assert found["observed"]["nesting"] == "equal"
    assert found["shots"] == []


def test_true_labels_that_differ_are_counted_and_named() -> None:
    changed = LABELS.copy()
    changed[1, 1], changed[1, 2], changed[6, 2] = 0, 1, -1
    true = diff(split(), split(source(labels=changed)))["true_labels"]
    assert {k: true[k] for k in ("entries", "different", "images", "classes")} == {
        "entries": 21,
        "different": 3,
        "images": 2,
        "classes": 2,
    }
    assert true["examples"] == [
        {"image": "b", "class": "sea", "a": 1, "b": 0},
        {"image": "b", "class": "cat", "a": 0, "b": 1},
        {"image": "g", "class": "cat", "a": 1, "b": -1},
    ]


def test_only_shared_images_and_classes_are_compared() -> None:
    other = source("abcxyfg", ("sky", "dog", "cat"))
    found = diff(split(), split(other))
    assert found["classes"] == {
        "shared": 2,
        "only_a": ["sea"],
        "only_b": ["dog"],
        "same_order": True,
    }
    assert found["images"]["train"] == {"a": 5, "b": 5, "shared": 3, "only_a": 2, "only_b": 2}
    assert found["true_labels"]["entries"] == 5 * 2
    assert found["observed"]["entries"] == 3 * 2


def test_nothing_shared_is_no_agreement() -> None:
    found = diff(split(), split(source("hijklmn", ("x", "y", "z"))))
    assert found["observed"]["agreement"] is None
    assert found["observed"]["nesting"] is None
    assert found["true_labels"]["entries"] == 0
    assert found["images"]["test"]["only_b"] == 2


def test_a_training_image_of_one_split_in_the_test_part_of_the_other_is_a_leak() -> None:
    part = np.array([0, 0, 0, 0, 1, 0, 1], np.uint8)  # e and f change places
    found = diff(split(), split(source(part=part)))
    assert found["moved"] == [
        {"a": "train", "b": "test", "images": 1, "examples": ["e"]},
        {"a": "test", "b": "train", "images": 1, "examples": ["f"]},
    ]
    assert found["leaks"] == found["moved"]
    assert found["images"]["train"] == {"a": 5, "b": 5, "shared": 4, "only_a": 0, "only_b": 0}


def test_training_images_that_become_validation_images_are_no_leak() -> None:
    found = diff(split(), split(val_fraction=0.4))
    assert [(move["a"], move["b"], move["images"]) for move in found["moved"]] == [
        ("train", "val", 2)
    ]
    assert found["leaks"] == []
    assert found["observed"]["same"] == 15  # in train and val


def test_shot_groups_that_changed_are_listed() -> None:
    # sky has 4, sea 2 and cat 1 training positives.
    found = diff(split(), split(many=5, few=2))
    assert found["shots"] == [
        {"class": "sky", "a": "many", "b": "medium", "train_a": 4, "train_b": 4}
    ]
    assert found["recipe"] == [{"key": "thresholds.many", "a": 3, "b": 5}]


@pytest.mark.parametrize(
    ("a", "b", "status", "largest"),
    [
        (0.0, 0.0, "equal", None),
        (0.0, 0.25, "differ", 0.25),
        (None, None, "equal", None),
        (0.0, None, "only_a", None),
        (None, 0.0, "only_b", None),
    ],
)
def test_features(a: float | None, b: float | None, status: str, largest: float | None) -> None:
    found = diff(split(source(features=a)), split(source(features=b)))["features"]
    assert (found["status"], found["max_difference"]) == (status, largest)


def test_features_of_shared_images_only() -> None:
    one = split(source(features=0.0))
    assert diff(one, split(source("hijklmn", features=0.0)))["features"]["status"] == "equal"
    other = split(source("ahijklm", features=0.5))
    assert diff(one, other)["features"] == {
        "status": "differ",
        "images": 1,
        "max_difference": 0.5,
    }
    short = source("abcdeg", labels=LABELS[[0, 1, 2, 3, 4, 6]], part=TEST[:6], features=0.0)
    rows = np.array([[[0.0]], [[1.0]], [[2.0]], [[3.0]], [[4.0]], [[6.0]]], np.float32)
    fewer = split(dataclasses.replace(short, features=rows))
    assert diff(one, fewer)["features"]["status"] == "equal_where_shared"


def test_recipes_differ_by_dotted_path() -> None:
    a = {"labels": {"regime": "spl", "tail": {"kind": "none"}}, "x": 1}
    b = {"labels": {"regime": "full", "tail": {"kind": "none"}, "val": 0.1}, "x": 1}
    assert differences(a, b) == [
        {"key": "labels.regime", "a": "spl", "b": "full"},
        {"key": "labels.val", "a": "(absent)", "b": 0.1},
    ]


# ----------------------------------------------------------------------------- nesting


@pytest.mark.parametrize(
    ("a", "b", "nesting", "positives"),
    [
        ("pal:0.3", "pal:0.6", "a_in_b", "a_in_b"),
        ("pal:0.6", "pal:0.3", "b_in_a", "b_in_a"),
        ("spl", "ppl:0.7", "a_in_b", "a_in_b"),
        ("missing:0.2", "missing:0.7", "b_in_a", "b_in_a"),
        ("candidates:0.1", "candidates:0.4", "neither", "a_in_b"),
        ("ppl:0.5", "full", "a_in_b", "a_in_b"),
    ],
)
def test_levels_of_a_regime_nest(
    make_toy: Any, a: str, b: str, nesting: str, positives: str
) -> None:
    one, two = (make_toy(Options(regime=Regime.parse(regime))) for regime in (a, b))
    observed = diff(one, two)["observed"]
    assert (observed["nesting"], observed["positives_nesting"]) == (nesting, positives)
    if "candidates" not in a:
        assert observed["agreement"] == 1.0


def test_two_seeds_do_not_nest(make_toy: Any) -> None:
    one, two = (make_toy(Options(regime=Regime("pal", 0.5), seed=seed)) for seed in (0, 1))
    found = diff(one, two)
    assert found["observed"]["nesting"] == "neither"
    assert found["provenance"] == [{"key": "seed", "a": 0, "b": 1}]
    assert found["recipe"] == []


def test_sparse_labels_give_the_same_answer(make_toy: Any) -> None:
    def stored(whole: Split) -> Split:
        parts = {}
        for name, part in whole.parts.items():
            seen = part.observed
            parts[name] = dataclasses.replace(
                part,
                true=SparseLabels.from_dense(part.true, 0),
                observed=None if seen is None else SparseLabels.from_dense(seen, -1),
            )
        return dataclasses.replace(whole, parts=parts)

    regimes = Regime("pal", 0.3), Regime("ppl", 0.6)
    one, two = (make_toy(Options(regime=regime)) for regime in regimes)
    fingerprints = one.fingerprints(), two.fingerprints()
    dense = compare(Side(one, fingerprints[0]), Side(two, fingerprints[1]))
    with mock.patch("benchkit.split.diff._ENTRIES", 35):  # several blocks
        sparse = compare(Side(stored(one), fingerprints[0]), Side(stored(two), fingerprints[1]))
    assert dense == sparse


# ----------------------------------------------------------------------------- the command


def test_json_has_all_values(files: tuple[Path, Path]) -> None:
    code, out, err = call("diff", *files, "--json")
    assert (code, err) == (1, "")
    found = json.loads(out)
    assert list(found) == [
        *("files", "identical", "a", "b", "equal", "recipe", "provenance", "same_source"),
        *("classes", "images", "moved", "true_labels", "observed", "shots", "features", "leaks"),
    ]
    assert found["files"] == {"a": str(files[0]), "b": str(files[1])}
    assert found["recipe"] == [{"key": "labels.regime", "a": "pal:0.3", "b": "pal:0.6"}]
    assert found["a"]["fingerprint"] == split_file.stored_fingerprints(files[0])
    assert found["observed"]["nesting"] == "a_in_b"


def test_the_text_describes_the_differences(files: tuple[Path, Path]) -> None:
    code, out, err = call("diff", *files)
    assert (code, err) == (1, "")
    assert "\x1b" not in out
    assert "different splits: labels differ, features equal" in out
    assert "the labels observed in A are a subset of those in B" in out
    assert "LEAK" not in out
    row = next(line for line in out.splitlines() if "labels.regime" in line)
    assert row.split() == ["labels.regime", "pal:0.3", "pal:0.6"]


def test_a_leak_is_bold_and_red() -> None:
    part = np.array([0, 0, 0, 0, 1, 1, 1], np.uint8)
    found = diff(split(), split(source(part=part)))
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=200, color_system="standard")
    print_comparison(console, found)
    first = shown.getvalue().splitlines()[0]
    assert first.startswith("\x1b[1;31mLEAK: 1 images are in A's train part and in B's test part")
    assert "(e); a model trained or selected on A must not be tested on B" in first


def test_exit_codes_are_those_of_diff(files: tuple[Path, Path], tmp_path: Path) -> None:
    code, out, _ = call("diff", files[0], files[0])
    assert code == 0
    assert "the same split" in out
    assert call("diff", *files)[0] == 1
    code, out, err = call("diff", files[0], tmp_path / "none.h5")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {tmp_path / 'none.h5'} does not exist")
    assert call("diff", files[0])[0] == 2
    code, out, _ = call("diff", "--help")
    assert code == 0
    assert "    1  different splits" in out.splitlines()
