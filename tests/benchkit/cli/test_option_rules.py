"""Options without a say are refused before anything is written, each with one sentence."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from benchkit.cli import main, option_rules
from benchkit.cli.make_split import make_split
from splits.sources import registry

# Option, a value where it takes one, further words of the call, and what the sentence must say.
ELSEWHERE: dict[str, tuple[str, str, str]] = {
    "annotations": ("x.json", "", "the source is arrays; it goes with source coco"),
    "images": ("x", "", "other sources have options of their own"),
    "test_annotations": ("x.json", "", "it goes with source coco with --annotations"),
    "test_images": ("x", "", "it goes with source coco with --annotations"),
    "keep_empty": ("both", "", "it goes with source coco with --annotations"),
    "crowd": ("", "", "it goes with source coco with --annotations"),
    "scenes_dir": ("x", "", "it goes with source scenes"),
    "scenes_train": ("9", "", "it goes with source scenes"),
    "scenes_test": ("9", "", "it goes with source scenes"),
    "weights": ("random", "", "it goes with a --backbone"),
    "image_size": ("64", "--backbone none", "it goes with a --backbone"),
    "views": ("2", "", "it goes with a --backbone"),
    "precision": ("bf16", "", "it goes with a --backbone"),
    "device": ("cpu", "", "it goes with a --backbone"),
    "extract_batch": ("8", "", "it goes with a --backbone"),
    "cache": ("x", "", "it goes with a --backbone"),
    "feature_type": ("float16", "--source-option features=none", "there are none"),
    "pareto_b": ("6", "--long-tail exponential", "it goes with --long-tail pareto"),
    "maximum": ("9", "", "the long tail is none; it goes with --long-tail pareto or exponential"),
    "minimum": ("1", "--long-tail exponential", "it goes with --long-tail pareto"),
    "tail_quantile": ("0.9", "--long-tail natural", "the long tail is natural"),
    "imbalance_ratio": ("9", "--long-tail pareto", "it goes with --long-tail exponential"),
    "generator": ("dbl", "", "--long-tail pareto or exponential or --target-counts"),
    "counts": ("exact", "--regime spl", "--regime pal or ppl or missing or candidates"),
    "noise_by_class": ("frequency", "--regime missing:0.5", "it goes with --regime candidates"),
    "instance_noise": ("0.5", "--regime pal:0.5", "it goes with --regime candidates"),
    "missing_by_class": ("rates.csv", "--regime ppl:0.5", "it goes with --regime missing"),
    "test_fraction": ("0.3", "", "the source has a test part"),
}


def call(*words: object) -> tuple[int, str]:
    """The console script in this process: exit code and errors."""
    err, code = io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["benchkit", *map(str, words)]),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, err.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a source of arrays, the working directory of the test."""
    labels = np.eye(3, dtype=np.int8)[np.arange(30) % 3]
    features = np.ones((30, 2), np.float32)
    np.savez(tmp_path / "a.npz", Y=labels, X=features, split=np.arange(30) > 20)
    (tmp_path / "rates.csv").write_text("class_0,1\nclass_1,2\nclass_2,3\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_option_has_a_place() -> None:
    parameters = {parameter.name: parameter for parameter in make_split.params}
    hidden = {"help_source"}
    assert parameters.keys() - hidden == option_rules.RULES.keys() | option_rules.ALWAYS
    assert not option_rules.RULES.keys() & option_rules.ALWAYS
    assert ELSEWHERE.keys() == option_rules.RULES.keys()
    for name, (option, _) in option_rules.RULES.items():
        assert option in parameters[name].opts


def refused(folder: Path, option: str, text: str, *words: str) -> None:
    before = sorted(folder.rglob("*"))
    code, err = call("make-split", *words, "--out", "out/new.h5")
    assert (code, err.count("\n")) == (2, 1), err
    assert err.startswith(f"error: {option} has no effect, because ") and text in err, err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("name", ELSEWHERE)
def test_an_option_without_a_say_is_refused(folder: Path, name: str) -> None:
    option = option_rules.RULES[name][0]
    value, words, text = ELSEWHERE[name]
    given = [option, value] if value else [option]
    refused(folder, option, text, "arrays:a.npz", *words.split(), *given)


@pytest.mark.parametrize(
    ("words", "option", "text"),
    [
        ("scenes --annotations x.json", "--annotations", "the source is scenes"),
        ("scenes --test-fraction 0.3", "--test-fraction", "the source has a test part"),
        ("coco --annotations x.json --scenes-dir y", "--scenes-dir", "the source is coco"),
        ("coco --annotations x.json --views 2", "--views", "no backbone computes features"),
        ("coco:x --images y", "--images", "the source is coco"),
        ("arrays:a.npz --target-counts rates.csv --max 9", "--max", "is --target-counts"),
        ("arrays:a.npz --published voc-lt --views 2", "--views", "it goes with a --backbone"),
    ],
)
def test_of_other_sources(folder: Path, words: str, option: str, text: str) -> None:
    refused(folder, option, text, *words.split())


@pytest.mark.parametrize(
    "words",
    [
        "--long-tail pareto --max 9 --min 1 --pareto-b 2 --tail-quantile 0.9 --generator dbl",
        "--long-tail exponential --max 9 --imbalance-ratio 3 --generator dbl",
        "--target-counts rates.csv --generator benchkit",
        "--regime candidates:0.2 --noise-by-class frequency --instance-noise 0.5",
        "--regime missing:0.2 --missing-by-class rates.csv --counts bernoulli",
        "--feature-type float16",
    ],
)
def test_where_they_have_one_they_are_taken(folder: Path, words: str) -> None:
    assert call("make-split", "arrays:a.npz", "--out", "new.h5", *words.split())[0] == 0


CONDITIONAL = [
    (kind, key)
    for kind in registry.names()
    for key, option in registry.get(kind).OPTIONS.items()
    if option.only
]


def test_some_source_options_depend_on_others() -> None:
    assert ("csv", "no_label") in CONDITIONAL and ("coco", "year") in CONDITIONAL
    assert len(CONDITIONAL) == 16


@pytest.mark.parametrize(("kind", "key"), CONDITIONAL)
def test_a_source_option_without_a_say_is_refused(folder: Path, kind: str, key: str) -> None:
    options = registry.get(kind).OPTIONS
    ((other, allowed),) = options[key].only.items()
    words = [f"{key}={options[key].default if options[key].default != '' else 'x'}"]
    if other != "path":
        wrong = next(c for c in options[other].choices or () if c not in allowed)
        words.append(f"{other}={wrong}")
    given = [word for option in words for word in ("--source-option", option)]
    before = sorted(folder.rglob("*"))
    code, err = call("make-split", f"{kind}:a.npz", "--out", "out/new.h5", *given)
    assert (code, err.count("\n")) == (2, 1), err
    assert f"{key} of source {kind} has no effect here; it goes with " in err
    assert sorted(folder.rglob("*")) == before


def test_codes_of_a_matrix_do_not_go_with_sparse_labels(folder: Path) -> None:
    rows = dict(indptr=np.array([0, 1, 2]), indices=np.array([0, 1]), shape=np.array([2, 2]))
    np.savez(folder / "rows.npz", **rows)
    words = ("--source-option", "zero=unknown", "--out", "out/new.h5")
    code, err = call("make-split", "arrays:rows.npz", *words)
    assert code == 1 and "rows.npz: minus_one and zero have no effect on sparse labels" in err
    assert not (folder / "out").exists()


def test_keeping_empty_test_images_needs_a_test_part(folder: Path) -> None:
    (folder / "a.json").write_text("{}")
    for words in (
        ("coco", "--annotations", "a.json", "--keep-empty", "test"),
        ("coco:a.json", "--source-option", "keep_empty=test"),
    ):
        code, err = call("make-split", *words, "--out", "out/new.h5")
        assert code != 0 and "there is no test part" in err
    assert not (folder / "out").exists()
