"""Sparse labels from a source through a split file into training, and the options of the laws."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from baselines.core import labels
from baselines.core.labels import CompressedTable
from baselines.pseudo_label import PseudoLabel
from benchkit.base import random
from benchkit.base.errors import BenchkitError
from benchkit.cli import main
from benchkit.runs import execute as runs
from benchkit.runs import plan as grids
from benchkit.split import build as make_split
from benchkit.split import diff as split_diff
from benchkit.split import file as split_file
from benchkit.split.build import LongTail, Options, build
from benchkit.split.model import Split
from benchkit.split.summary import cross_counts
from benchkit.training.recipe import Recipe
from splits import class_file, long_tail
from splits.labels import SparseLabels, dense
from splits.source import Source
from splits.variants import class_rates

SourceMaker = Callable[..., Source]
REGIMES = ["full", "pal:0.4", "ppl:0.5", "spl", "missing:0.5", "candidates:0.3"]
TAIL = LongTail("pareto", maximum=30, minimum=2)
SHOTS = {"many": 10, "few": 5}


def made(source: Source, **options: Any) -> Split:
    given = Options(**{**SHOTS, **options})
    return build(source, given, make_split.source_features(source), "toy")


def sparse(source: Source, fill: int) -> Source:
    """The same source with a quarter of its labels unknown, and its labels stored sparsely."""
    return dataclasses.replace(source, labels=SparseLabels.from_dense(source.labels, fill))


@pytest.fixture
def partial(make_source: SourceMaker) -> Source:
    source = make_source(90)
    labels = np.array(source.labels)
    labels[np.arange(labels.size).reshape(labels.shape) % 4 == 1] = -1
    return dataclasses.replace(source, labels=labels)


@pytest.mark.parametrize("fill", [0, -1])
@pytest.mark.parametrize("regime", REGIMES)
def test_a_sparse_source_gives_the_same_split(partial: Source, regime: str, fill: int) -> None:
    options = dict(regime=regime, val_fraction=0.2, long_tail=TAIL, seed=3)
    one, two = made(partial, **options), made(sparse(partial, fill), **options)
    assert list(one.parts) == list(two.parts)
    for name, part in one.parts.items():
        other = two.parts[name]
        assert isinstance(other.true, SparseLabels) and isinstance(part.true, np.ndarray)
        assert part.ids.tolist() == other.ids.tolist()
        np.testing.assert_array_equal(part.true, dense(other.true))
        assert (part.observed is None) == (other.observed is None)
        if part.observed is not None and other.observed is not None:
            np.testing.assert_array_equal(part.observed, dense(other.observed))
    for name in ("train_count", "observed_count", "shot"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    # How labels are stored is part of the identity.
    assert one.fingerprints()["labels"] != two.fingerprints()["labels"]


@pytest.mark.parametrize("fill", [0, -1])
@pytest.mark.parametrize("regime", REGIMES)
def test_a_sparse_split_file_comes_back(
    partial: Source, tmp_path: Path, regime: str, fill: int
) -> None:
    split = made(sparse(partial, fill), regime=regime, val_fraction=0.2)
    path = tmp_path / "toy.h5"
    fingerprints = split_file.write(split, path)
    assert split_file.verify(path) == []
    found = split_file.read(path)
    assert found.fingerprints() == fingerprints == split.fingerprints()
    for name, part in split.parts.items():
        for one, two in (
            (part.true, found.parts[name].true),
            (part.observed, found.parts[name].observed),
        ):
            assert type(one) is type(two)
            if isinstance(one, SparseLabels) and isinstance(two, SparseLabels):
                assert (one.fill, one.shape) == (two.fill, two.shape)
                for key, array in one.arrays().items():
                    np.testing.assert_array_equal(array, two.arrays()[key])


def damaged(path: Path, name: str, change: Callable[[np.ndarray], None]) -> None:
    with h5py.File(path, "r+") as file:
        array = file[name][()]
        change(array)
        file[name][...] = array


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("train/true/indices", 77, "is damaged: Sparse labels name class 77"),
        ("train/true/values", 3, "is damaged: .* a label other than"),
        ("train/observed/fill", 1, "is damaged: Sparse labels are filled up with"),
        ("train/true/indptr", -1, "is damaged: The indptr of sparse labels must rise"),
    ],
)
def test_a_damaged_sparse_matrix(
    partial: Source, tmp_path: Path, name: str, value: int, message: str
) -> None:
    path = tmp_path / "toy.h5"
    split_file.write(made(sparse(partial, -1)), path)

    def change(array: np.ndarray) -> None:
        array[0] = value

    damaged(path, name, change)
    with pytest.raises(BenchkitError, match=message):
        split_file.read(path)


def test_verify_sees_a_change(partial: Source, tmp_path: Path) -> None:
    path = tmp_path / "toy.h5"
    split_file.write(made(sparse(partial, -1)), path)
    row = int(np.flatnonzero(split_file.read(path).parts["train"].true.values == 0)[0])

    def change(array: np.ndarray) -> None:
        array[row] = 1

    damaged(path, "train/true/values", change)
    problems = "; ".join(split_file.verify(path))
    assert "fingerprint of the labels" in problems and "train_count" in problems
    assert "the regime is full and a label is hidden" in problems


# ----------------------------------------------------------------------------- training


def grid(split: Split, out: Path) -> grids.Grid:
    from baselines.bce import BCE

    spec = grids.Spec(BCE, BCE.Hyper())
    recipe = Recipe(epochs=2, batch=16)
    fingerprints = split.fingerprints()
    return grids.Grid(Path("toy.h5"), split, fingerprints, [spec], [0], recipe, "val", "cpu", out)


@pytest.mark.parametrize("dense_up_to", [0, 1 << 28])
def test_training_takes_sparse_labels(
    partial: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dense_up_to: int
) -> None:
    monkeypatch.setattr(runs, "MOST_WHOLE", dense_up_to)
    scores = []
    for kind, source in (("dense", partial), ("sparse", sparse(partial, -1))):
        split = made(source, regime="pal:0.6", val_fraction=0.2)
        made_of = type(runs._table(split.parts["train"].true, torch.device("cpu")))
        assert (made_of is CompressedTable) == (kind == "sparse" and dense_up_to == 0)
        outcome = runs.execute(grid(split, tmp_path / kind), lambda _: None, fail_fast=True)
        (identity,) = outcome.done
        record = json.loads((tmp_path / kind / identity / "run.json").read_text())
        scores.append((record["metrics"], record["curve"], record["split"]["test_positives"]))
    assert scores[0] == scores[1]


def test_scores_that_do_not_fit_are_refused(
    partial: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_MOST_SCORES", 50)
    split = made(sparse(partial, -1), val_fraction=0.2)
    rows, classes = split.parts["val"].true.shape
    assert rows * classes > 50
    message = rf"has {rows} x {classes} labels in its val part, and at most 50 scores are"
    with pytest.raises(BenchkitError, match=message):
        runs.execute(grid(split, tmp_path), lambda _: None)


def test_a_method_that_keeps_every_label_fails_alone_where_they_do_not_fit(
    partial: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (runs, labels):
        monkeypatch.setattr(module, "MOST_WHOLE", 100)
    asked = grid(made(sparse(partial, -1), regime="pal:0.6", val_fraction=0.2), tmp_path)
    asked.specs.insert(0, grids.Spec(PseudoLabel, PseudoLabel.Hyper()))
    outcome = runs.execute(asked, lambda _: None)
    assert len(outcome.done) == 1
    (reason,) = outcome.failed.values()
    assert reason.startswith("MethodError: the method keeps a value for each of 48 x 5 labels")


def test_stacks_are_narrower_where_labels_are_many(
    partial: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = grid(made(partial, val_fraction=0.2), tmp_path)
    assert runs._width(asked) == grids.DEFAULT_WIDTH
    for most, width in ((48 * 5 * 3, 3), (48 * 5 - 1, 1)):
        monkeypatch.setattr(runs, "MOST_WHOLE", most)
        assert runs._width(asked) == width


# ----------------------------------------------------------------------------- the laws


def table(path: Path, **numbers: float) -> class_file.ClassFile:
    path.write_text(json.dumps(numbers))
    return class_file.read(path, whole=False)


def recipe_of(source: Source, **options: Any) -> dict[str, Any]:
    return dict(made(source, **options).recipe["labels"])


def test_defaults_add_nothing_to_the_recipe(partial: Source) -> None:
    assert recipe_of(partial, regime="ppl:0.5", counts="exact") == {
        "source": partial.name,
        "long_tail": {"kind": "none"},
        "regime": "ppl:0.5",
        "val_fraction": 0.0,
    }
    assert recipe_of(partial, long_tail=TAIL)["long_tail"] == {
        "kind": "pareto",
        "b": 6.0,
        "maximum": 30,
        "minimum": 2,
        "tail_quantile": 0.99,
        "generator": "benchkit",
    }


def test_departures_stand_in_the_recipe(partial: Source, tmp_path: Path) -> None:
    names = partial.class_names
    first = table(tmp_path / "a.json", **{name: c + 1 for c, name in enumerate(names)})
    turned = {name: float(c + 1) for c, name in reversed(list(enumerate(names)))}
    second = table(tmp_path / "b.json", **turned)
    options = dict(regime="candidates:0.3", instance_noise=0.5, counts="bernoulli")
    found = recipe_of(partial, noise_by_class=first, **options)
    assert found["regime"] == "candidates:0.3"
    assert set(found["regime_options"]) == {"beyond_papers", "noise_by_class", "instance_noise"}
    assert found["regime_options"]["beyond_papers"] is True
    # The same numbers, however they are written down, are the same split.
    assert recipe_of(partial, noise_by_class=second, **options) == found
    split = made(partial, noise_by_class=first, **options)
    assert split.provenance["class_weights"] == [1, 2, 3, 4, 5]
    by_count = made(partial, noise_by_class="frequency", **options)
    assert by_count.recipe["labels"]["regime_options"]["noise_by_class"] == "frequency"
    assert by_count.provenance["class_weights"] == by_count.train_count.tolist()


def test_noise_by_class_follows_its_rates(make_source: SourceMaker, tmp_path: Path) -> None:
    source = make_source(9000)
    weights = table(tmp_path / "a.json", **{n: c for c, n in enumerate(source.class_names)})
    train = made(source, regime="candidates:0.2", noise_by_class=weights).parts["train"]
    added = ((train.observed == 1) & (train.true == 0)).sum(0) / (train.true == 0).sum(0)
    assert added == pytest.approx(class_rates(0.2, np.arange(5.0)), abs=0.03)
    train = made(source, regime="missing:0.2", missing_by_class=weights).parts["train"]
    kept = ((train.observed == 1) & (train.true == 1)).sum(0)
    assert kept[0] == (train.true[:, 0] == 1).sum()


def test_instance_noise_spreads_the_images(make_source: SourceMaker) -> None:
    source = make_source(3000, 40)
    rates = []
    for spread in (0.0, 1.0):
        train = made(source, regime="candidates:0.3", instance_noise=spread).parts["train"]
        added = ((train.observed == 1) & (train.true == 0)).sum(1) / (train.true == 0).sum(1)
        rates.append((added.mean(), added.std()))
    assert rates[0][0] == pytest.approx(0.3, abs=0.01)
    assert rates[1][0] == pytest.approx(0.3, abs=0.015)
    # Binomial noise alone, and with a uniform rate from 0 to 0.6 beside it.
    assert rates[0][1] == pytest.approx((0.3 * 0.7 / 38) ** 0.5, rel=0.1)
    assert rates[1][1] == pytest.approx((0.6**2 / 12 + 0.18 / 38) ** 0.5, rel=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(regime="pal:0.5", noise_by_class="frequency"), "noise by class go.* candidates"),
        (dict(regime="spl", counts="exact"), "one way to count"),
        (dict(regime="pal:0.5", instance_noise=0.5), "Image noise goes"),
        (dict(long_tail=LongTail("exponential", maximum=9)), "not ratio 100.0 and maximum 9"),
    ],
)
def test_options_are_checked_before_anything_is_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises((BenchkitError, ValueError), match=message):
        make_split.check(Options(**options))


def test_target_counts_and_their_report(partial: Source, tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_text("".join(f"{name},{9 - c}\n" for c, name in enumerate(partial.class_names)))
    law = LongTail("counts", targets=class_file.read(path, whole=True))
    split = made(partial, long_tail=law)
    assert set(split.recipe["labels"]["long_tail"]) == {"kind", "generator", "targets"}
    found = split.provenance["long_tail_report"]
    assert [entry["target"] for entry in found["classes"]] == [9, 8, 7, 6, 5]
    assert [entry["achieved"] for entry in found["classes"]] == split.train_count.tolist()
    available = (partial.labels[partial.part == 0] == 1).sum(0)
    assert [entry["available"] for entry in found["classes"]] == available.tolist()
    short = split.train_count < [9, 8, 7, 6, 5]
    assert found["not_met"] == [n for n, s in zip(partial.class_names, short, strict=True) if s]


def test_exponential_and_natural(make_source: SourceMaker) -> None:
    source = make_source(300)
    law = LongTail("exponential", maximum=60, imbalance_ratio=10)
    split = made(source, long_tail=law)
    targets = {entry["target"] for entry in split.provenance["long_tail_report"]["classes"]}
    curve = long_tail.exponential_targets(5, imbalance_ratio=10, maximum=60)
    assert targets == set(curve.tolist())
    natural = made(source, long_tail=LongTail("natural"))
    assert len(natural.parts["train"].ids) == (source.part == 0).sum()
    assert natural.recipe["labels"]["long_tail"] == {"kind": "natural"}
    assert "long_tail_report" not in natural.provenance


def test_a_long_report_fits_into_the_file(make_source: SourceMaker, tmp_path: Path) -> None:
    source = make_source(30, 1200)
    split = made(source, long_tail=LongTail("pareto", maximum=5))
    path = tmp_path / "toy.h5"
    split_file.write(split, path)
    assert split_file.verify(path) == []
    report = split_file.read(path).provenance["long_tail_report"]
    assert len(json.dumps(report)) > 2**16 and report == split.provenance["long_tail_report"]


# ----------------------------------------------------------------------------- the command line


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    labels = (np.arange(400).reshape(100, 4) % [2, 3, 5, 7] == 0).astype(np.int8)
    names = np.array(["cat", "dog", "cow", "bus"])
    np.savez(tmp_path / "m.npz", X=np.ones((100, 2), np.float32), Y=labels, label_names=names)
    return tmp_path / "m.npz"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--target-counts", "ok.csv"], 0, ""),
        (["--target-counts", "typo.csv"], 1, "line 2: there is no class 'bsu'; the nearest is"),
        (["--target-counts", "none.csv"], 2, "none.csv: this file cannot be read"),
        (["--target-counts", "ok.csv", "--long-tail", "pareto"], 2, "takes the place of a law"),
        (["--long-tail", "exponential", "--max", "20", "--imbalance-ratio", "4"], 0, ""),
        (["--regime", "candidates:0.3", "--noise-by-class", "frequency"], 0, ""),
        (["--regime", "missing:0.3", "--missing-by-class", "ok.csv"], 0, ""),
        (["--regime", "pal:0.3", "--counts", "exact"], 0, ""),
        (["--regime", "full", "--counts", "exact"], 2, "--counts has no effect"),
        (["--instance-noise", "2", "--regime", "candidates:0.3"], 2, "--instance-noise"),
    ],
)
def test_the_command_line(
    npz: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(npz.parent)
    Path("ok.csv").write_text("class,n\ncat,20\ndog,9\ncow,5\nbus,3\n")
    Path("typo.csv").write_text("cat,20\nbsu,3\n")
    monkeypatch.setattr(
        sys, "argv", ["benchkit", "make-split", "arrays:m.npz", "--out", "m.h5", *words]
    )
    with pytest.raises(SystemExit) as ended:
        main()
        raise SystemExit(0)
    said = capsys.readouterr()
    assert (int(ended.value.code or 0), message in said.err) == (code, True), said
    assert code or split_file.verify(Path("m.h5")) == []


@pytest.mark.parametrize("fills", [(-1, -1), (0, 0), (0, -1), (-1, 0)])
def test_pairs_of_codes_are_counted_alike(fills: tuple[int, int]) -> None:
    u = random.uniform(0, "codes", np.arange(2 * 50 * 7)).reshape(2, 50, 7)
    one, two = np.where(u < 0.2, 1, np.where(u < 0.5, 0, -1)).astype(np.int8)
    stored = [SparseLabels.from_dense(m, fill) for m, fill in zip((one, two), fills, strict=True)]
    found, expected = cross_counts(*stored), cross_counts(one, two)
    assert found.tolist() == expected.tolist()
    assert found[3, 1, -1] == ((one[:, 3] == 1) & (two[:, 3] == -1)).sum()


def test_sparse_splits_differ_like_dense_ones() -> None:
    def sides(sparse: bool) -> list[split_diff.Side]:
        made = []
        for seed, regime, names in ((0, "pal:0.6", "abcde"), (1, "ppl:0.5", "ecaxb")):
            u = random.uniform(seed, "labels", np.arange(40)[:, None], np.arange(5)[None, :])
            codes = np.where(u < 0.3, 1, np.where(u < 0.5, 0, -1)).astype(np.int8)
            source = Source(
                name="toy",
                class_names=tuple(names),
                image_ids=np.array([f"{i * (seed + 1)}" for i in range(40)]),
                labels=SparseLabels.from_dense(codes, -1) if sparse else codes,
                part=None,
                paths=None,
                roots=(),
                features=None,
                digests={},
            )
            options = Options(regime=regime, seed=seed, many=5, few=2)
            split = build(source, options, make_split.source_features(source), "toy")
            made.append(split_diff.Side(split, {"labels": "", "features": "", "both": str(seed)}))
        return made

    found = split_diff.compare(*sides(sparse=True))
    assert found == split_diff.compare(*sides(sparse=False))
    assert found["true_labels"]["different"] > 5
    assert found["classes"]["same_order"] is False


def test_hashes_stand_for_the_names_of_images() -> None:
    names = np.array(["a", "bc", "ü" * 40, "x y"])
    hashes = random.hash_texts(names)
    assert hashes.tolist() == [random.hash_text(str(name)) for name in names]
    assert hashes.tolist() == random.hash_texts(list(names)).tolist()
    assert (random.image_uniform(3, "s", names) == random.image_uniform(3, "s", hashes)).all()
    one, two = (random.image_class_uniform(3, "s", ids, ["p", "q"]) for ids in (names, hashes))
    rows, columns = np.arange(4)[:, None], np.arange(2)[None, :]
    assert (one(rows, columns) == two(rows, columns)).all()
