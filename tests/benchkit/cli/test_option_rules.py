"""Options without effect are errors before anything is written, each with one sentence."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from commands import call, refuse, succeed

from benchkit.cli.make_split import make_split
from benchkit.split import option_rules
from benchkit.split.request import Request
from splits.sources import registry

# Argument -> a value, further arguments of the call, and a part of the message.
WITHOUT_EFFECT: dict[str, tuple[str, str, str]] = {
    "weights": ("random", "", "it must be used with a --backbone"),
    "image_size": ("64", "--backbone none", "it must be used with a --backbone"),
    "views": ("2", "", "it must be used with a --backbone"),
    "precision": ("bf16", "", "it must be used with a --backbone"),
    "device": ("cpu", "", "it must be used with a --backbone"),
    "extract_batch": ("8", "", "it must be used with a --backbone"),
    "cache": ("x", "", "it must be used with a --backbone"),
    "feature_type": ("float16", "-o features=none", "there are none"),
    "pareto_b": ("6", "--long-tail exponential", "it must be used with --long-tail pareto"),
    "maximum": (
        "9",
        "",
        "the long tail is none; it must be used with --long-tail pareto or exponential",
    ),
    "minimum": ("1", "--long-tail exponential", "it must be used with --long-tail pareto"),
    "tail_quantile": ("0.9", "--long-tail natural", "the long tail is natural"),
    "imbalance_ratio": ("9", "--long-tail pareto", "it must be used with --long-tail exponential"),
    "generator": ("dbl", "", "--long-tail pareto or exponential or --target-counts"),
    "test_fraction": ("0.3", "", "the source has a test part"),
    "val_fraction": ("0.3", "arrays:val.npz", "the source has a validation part"),
    "val_from": (
        "left-out",
        "arrays:val.npz --long-tail pareto --max 9",
        "the source has a validation part",
    ),
    "regime": ("spl", "-o observed=Y", "the source has observed labels of its own"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the test, with a source of arrays."""
    labels = np.eye(3, dtype=np.int8)[np.arange(30) % 3]
    features = np.ones((30, 2), np.float32)
    np.savez(tmp_path / "a.npz", Y=labels, X=features, split=np.arange(30) > 20)
    np.savez(tmp_path / "val.npz", Y=labels, X=features, split=np.arange(30) % 3)
    (tmp_path / "rates.csv").write_text("class_0,1\nclass_1,2\nclass_2,3\n")
    document = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(4)],
        "annotations": [{"id": i, "image_id": i, "category_id": 1} for i in range(4)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(document))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_argument_has_a_rule_or_always_applies() -> None:
    arguments = {field.name for field in dataclasses.fields(Request)} - {"explicit"}
    assert option_rules.RULES.keys() | option_rules.ALWAYS == arguments
    assert not option_rules.RULES.keys() & option_rules.ALWAYS
    assert WITHOUT_EFFECT.keys() == option_rules.RULES.keys()


def test_the_command_has_an_option_for_every_argument() -> None:
    parameters = {parameter.name: parameter for parameter in make_split.params}
    arguments = {field.name: field.default for field in dataclasses.fields(Request)}
    assert parameters.keys() - {"help_source"} == arguments.keys() - {"explicit"}
    for name, (option, _) in option_rules.RULES.items():
        assert option in parameters[name].opts
    without_default = {"source", "out", "source_options", "published_files", "help_source"}
    defaults = make_split.make_context("make-split", ["arrays:a.npz", "--out", "a.h5"]).params
    for name in parameters.keys() - without_default:
        assert defaults[name] == arguments[name], name


def refuse_option(folder: Path, option: str, text: str, *arguments: str) -> None:
    before = sorted(folder.rglob("*"))
    error = refuse(2, text, arguments=("make-split", *arguments, "--out", "out/new.h5"))
    assert error.startswith(f"error: {option} has no effect, because ")
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_an_option_without_effect_is_an_error(folder: Path, name: str) -> None:
    option = option_rules.RULES[name][0]
    value, arguments, text = WITHOUT_EFFECT[name]
    source = "" if arguments.startswith("arrays:") else "arrays:a.npz "
    refuse_option(folder, option, text, *(source + arguments).split(), option, value)


@pytest.mark.parametrize(
    ("arguments", "option", "text"),
    [
        ("scenes --test-fraction 0.3", "--test-fraction", "the source has a test part"),
        ("coco:coco.json --views 2", "--views", "no backbone computes features"),
        ("arrays:a.npz --target-counts rates.csv --max 9", "--max", "is --target-counts"),
        ("arrays:a.npz --published voc-lt --views 2", "--views", "must be used with a --backbone"),
    ],
)
def test_options_without_effect_on_other_sources(
    folder: Path, arguments: str, option: str, text: str
) -> None:
    refuse_option(folder, option, text, *arguments.split())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("--val-from left-out", "must be used with --long-tail pareto or exponential or --target"),
        ("--val-from left-out --long-tail natural", "must be used with --long-tail pareto"),
        ("--val-from left-out --published voc-lt", "must be used with --long-tail pareto"),
        ("--val-from left-out --target-counts rates.csv --val-fraction 0", "without effect"),
        ("--val-from train", "--val-from train must be used with --val-fraction"),
    ],
)
def test_a_validation_part_from_no_images(folder: Path, arguments: str, text: str) -> None:
    before = sorted(folder.rglob("*"))
    command = ("make-split", "arrays:a.npz", *arguments.split(), "--out", "out/new.h5")
    refuse(2, text, arguments=command)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("source", "arguments", "text"),
    [
        ("scenes", "-o images=x", "source scenes has no option 'images'"),
        ("coco:coco.json", "-o train=9", "source coco has no option 'train'"),
        ("coco:.", "-o images=y", "images of source coco has no effect here"),
        ("scenes", "-o train=0", "train=0 is less than 1"),
        ("arrays:a.npz", "--regime spl,counts=exact", "counts"),
        ("arrays:a.npz", "--regime missing:0.5,by-class=frequency", "by-class=frequency"),
        ("arrays:a.npz", "--regime pal:0.5,by-image=0.5", "by-image"),
        ("arrays:a.npz", "--regime ppl:0.5,by-class=rates.csv", "by-class"),
    ],
)
def test_options_of_sources_and_variants_of_regimes_without_effect(
    folder: Path, source: str, arguments: str, text: str
) -> None:
    before = sorted(folder.rglob("*"))
    command = ("make-split", source, *arguments.split(), "--out", "out/new.h5")
    refuse(2, text, arguments=command)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        "--long-tail pareto --max 9 --min 1 --pareto-b 2 --tail-quantile 0.9 --generator dbl",
        "--long-tail exponential --max 9 --imbalance-ratio 3 --generator dbl",
        "--target-counts rates.csv --generator benchkit",
        "--regime candidates:0.2,by-class=frequency,by-image=0.5",
        "--regime missing:0.2,by-class=rates.csv,counts=bernoulli",
        "--feature-type float16",
        "--target-counts rates.csv --val-from left-out",
        "--target-counts rates.csv --val-from left-out --val-fraction 0.5",
        "--val-from train --val-fraction 0.2",
    ],
)
def test_options_with_effect_are_accepted(folder: Path, arguments: str) -> None:
    succeed("make-split", "arrays:a.npz", "--out", "new.h5", *arguments.split())


CONDITIONAL = [
    (kind, name)
    for kind in registry.names()
    for name, option in registry.get(kind).OPTIONS.items()
    if option.only
]


def test_some_source_options_depend_on_others() -> None:
    assert ("csv", "no_label") in CONDITIONAL and ("coco", "year") in CONDITIONAL
    assert len(CONDITIONAL) == 19


@pytest.mark.parametrize(("kind", "name"), CONDITIONAL)
def test_a_source_option_without_effect_is_an_error(folder: Path, kind: str, name: str) -> None:
    options = registry.get(kind).OPTIONS
    ((other, allowed),) = options[name].only.items()
    assignments = [f"{name}={options[name].default if options[name].default != '' else 'x'}"]
    path = "a.npz"
    if other == "path":
        path = "." if "folder" not in allowed else path
    else:
        wrong = next(c for c in options[other].choices or () if c not in allowed)
        assignments.append(f"{other}={wrong}")
    arguments = [word for assignment in assignments for word in ("-o", assignment)]
    before = sorted(folder.rglob("*"))
    refuse(
        2,
        f"{name} of source {kind} has no effect here; it can only be used with ",
        arguments=("make-split", f"{kind}:{path}", "--out", "out/new.h5", *arguments),
    )
    assert sorted(folder.rglob("*")) == before


def test_codes_of_a_matrix_cannot_be_used_with_sparse_labels(folder: Path) -> None:
    rows = dict(indptr=np.array([0, 1, 2]), indices=np.array([0, 1]), shape=np.array([2, 2]))
    np.savez(folder / "rows.npz", **rows)
    command = ("make-split", "arrays:rows.npz", "-o", "zero=unknown", "--out", "out/new.h5")
    result = call(*command)
    assert result.code == 1
    assert "rows.npz: minus_one and zero have no effect on sparse labels" in result.err
    assert not (folder / "out").exists()


def test_keeping_empty_test_images_needs_a_test_part(folder: Path) -> None:
    command = ("make-split", "coco:coco.json", "-o", "keep_empty=test", "--out", "out/new.h5")
    refuse(2, "there is no test part", arguments=command)
    assert not (folder / "out").exists()
