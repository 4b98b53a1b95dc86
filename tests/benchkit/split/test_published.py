"""Published splits as split files: from the call to what the file says."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from benchkit.cli import main
from benchkit.split import build as make_split
from benchkit.split import file as split_file
from benchkit.split import published
from benchkit.split.build import Options
from benchkit.split.model import Split
from splits.errors import InputError
from splits.published import spml
from splits.published.core import registry
from splits.published.core.contract import Figures
from splits.source import Source
from splits.sources import arrays

Find = Callable[[str], Path]


def finished(chosen: published.Chosen, **options: object) -> Split:
    wanted = published.laws(chosen, Options(**options))
    features = make_split.source_features(chosen.source)
    return published.finish(make_split.build(chosen.source, wanted, features, "name"), chosen)


@pytest.fixture(scope="module")
def voc_file(data: Find, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VOC 2012 trainval and VOC 2007 test as one file of arrays, with a feature that is the row."""
    train = arrays.load(data("labels/voc2012_trainval.npz"))
    test = arrays.load(data("labels/voc_lt.npz"))
    tests = test.part == 1
    path = tmp_path_factory.mktemp("voc") / "voc.npz"
    ids = np.concatenate([train.image_ids, test.image_ids[tests]])
    np.savez(
        path,
        Y=np.concatenate([train.labels, test.labels[tests]]),
        X=np.arange(len(ids), dtype=np.float32)[:, None],
        split=np.repeat([0, 1], [len(train.labels), tests.sum()]),
        image_ids=ids,
        label_names=np.array(train.class_names),
    )
    return path


def call(*words: object) -> tuple[int, str]:
    """The console script in this process: exit code, and all that it wrote."""
    out, code = io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["benchkit", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
    ):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, out.getvalue()


def made(out: Path, *words: object) -> Split:
    code, output = call("make-split", *words, "--out", out)
    assert code == 0, output
    assert split_file.verify(out) == []
    return split_file.read(out)


def test_voc_lt_from_the_command_line(voc_file: Path, data: Find, tmp_path: Path) -> None:
    lists = json.loads(data("lists/voc_lt.json").read_text())
    split = made(tmp_path / "a.h5", f"arrays:{voc_file}", "--published", "voc-lt")
    assert split.name == "voc-lt"
    assert set(split.parts["train"].ids) == set(lists["train"]["ids"])
    assert len(split.parts["test"].ids) == 4952
    assert split.train_count.tolist() == lists["class_freq"]
    assert np.bincount(split.shot).tolist() == [6, 6, 8]
    labels = split.recipe["labels"]
    assert (labels["published"], labels["source"]) == ("voc-lt", "voc-lt")
    assert labels["long_tail"] == {"kind": "published"}
    # Features stand with their images.
    at = {str(image): row for row, image in enumerate(arrays.load(voc_file).image_ids)}
    for part in split.parts.values():
        assert part.features[:, 0, 0].tolist() == [at[str(image)] for image in part.ids]


def test_a_list_without_a_source_gives_the_same_split(
    voc_file: Path, data: Find, tmp_path: Path
) -> None:
    one = made(tmp_path / "a.h5", f"arrays:{voc_file}", "--published", "voc-lt")
    words = ("--published-file", f"lists={data('lists/voc_lt.json')}")
    two = made(tmp_path / "b.h5", "lists", "--published", "voc-lt", *words)
    assert one.fingerprints()["labels"] == two.fingerprints()["labels"]
    assert list(two.provenance["sources"]) == ["lists:voc_lt.json"]


def test_the_regime_still_applies(voc_file: Path, tmp_path: Path) -> None:
    words = (f"arrays:{voc_file}", "--published", "plt-voc", "--regime", "missing:0.4")
    split = made(tmp_path / "a.h5", *words, "--val-fraction", "0.1")
    assert split.name == "plt-voc-missing:0.4"
    assert split.regime == "missing:0.4"
    assert len(split.parts["train"].ids) + len(split.parts["val"].ids) == 2569
    assert split.thresholds == {"many": 100, "few": 20, "reference": "observed"}
    assert "difficult objects are positive" in split.provenance["published"]["notes"][0]
    whole = made(tmp_path / "b.h5", *words)
    # The paper has 8/7/5 of its own draw; over seeds 0 to 49 this law gives that 26 times.
    assert np.bincount(whole.shot).tolist() == [8, 6, 6]
    other = made(tmp_path / "c.h5", *words, "--seed", 3)
    assert set(other.parts["train"].ids) == set(whole.parts["train"].ids)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--published", "nw-lt"), "NW-LT cannot be made: neither its construction nor its label"),
        (("--published", "voc"), "There is no published split 'voc'"),
        (("--published", "voc-lt", "--max", "9"), "voc-lt fixes what --max says; leave it out"),
        (("--published", "voc-lt", "--many", "50"), "voc-lt fixes what --many says; leave it out"),
        (("--published", "voc-lt", "--published-file", "x=y"), "has no list file 'x'"),
        (("--published", "voc-lt", "--published-file", "images"), "is not ROLE=PATH"),
        (("--published-file", "a=b"), "--published-file needs --published NAME"),
    ],
)
def test_a_wrong_call(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    code, output = call("make-split", "lists", *words, "--out", tmp_path / "x.h5")
    assert code == 2
    assert message in " ".join(output.split())


def test_a_wrong_source_is_an_error_in_one_sentence(voc_file: Path, tmp_path: Path) -> None:
    words = (f"arrays:{voc_file}", "--published", "spml-voc", "--out", tmp_path / "x.h5")
    code, output = call("make-split", *words)
    assert code == 1
    assert "spml-voc does not come out as published: training images: 9232" in output
    assert "Traceback" not in output
    assert not (tmp_path / "x.h5").exists()


def single_positive(make_source: Callable[..., Source], monkeypatch: pytest.MonkeyPatch) -> Source:
    """A small source that passes for SPML's VOC."""
    source = make_source(60)
    figures = Figures(train=32, val=8, test=20, classes=5)
    known = dict(registry.known())
    known["spml-voc"] = dataclasses.replace(spml.SPLITS[1], figures=figures)
    monkeypatch.setattr(registry, "known", lambda: known)
    return source


def test_a_split_with_labels_and_a_validation_part_of_its_own(
    make_source: Callable[..., Source], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = single_positive(make_source, monkeypatch)
    chosen = published.choose("spml-voc", source, {})
    split = finished(chosen, many=3, few=2)
    assert {name: len(part.ids) for name, part in split.parts.items()} == {
        "train": 32,
        "val": 8,
        "test": 20,
    }
    assert split.regime == "spl"
    assert split.recipe["labels"]["val_fraction"] == "published"
    at = {str(image): row for row, image in enumerate(source.image_ids)}
    for part in split.parts.values():
        rows = [at[str(image)] for image in part.ids]
        assert np.array_equal(part.true, source.labels[rows])
        assert np.array_equal(part.features, source.features[rows])
    train = split.parts["train"]
    # SPML's order: image ids as texts; its draw walks over train and val together.
    assert list(train.ids) == sorted(train.ids)
    assert split.observed_count.tolist() == (train.observed == 1).sum(0).tolist()
    assert split.train_count.tolist() == (train.true == 1).sum(0).tolist()
    assert split.observed_count.sum() == (train.true == 1).any(1).sum()
    split_file.write(split, tmp_path / "x.h5")
    assert split_file.verify(tmp_path / "x.h5") == []


def test_what_a_published_split_fixes_is_not_given(
    make_source: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = single_positive(make_source, monkeypatch)
    for given, option in (("regime", "--regime"), ("val_fraction", "--val-fraction")):
        with pytest.raises(InputError, match=f"spml-voc fixes what {option} says; leave it out"):
            published.choose("spml-voc", source, {}, {given})
