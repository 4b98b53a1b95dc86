"""Splits with non-standard regimes and long tails: their labels, recipes and reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call
from toy_splits import build_split, with_unknown_labels

from benchkit.split import file as split_file
from benchkit.split.options import LongTail, Options
from splits import class_file, long_tail
from splits.regimes import Regime
from splits.source import Source
from splits.variants import class_rates

SourceMaker = Callable[..., Source]


@pytest.fixture
def partial(make_source: SourceMaker) -> Source:
    return with_unknown_labels(make_source(90))


def write_numbers(path: Path, **numbers: float) -> Path:
    """Write a number for each class as JSON."""
    path.write_text(json.dumps(numbers))
    return path


# ----------------------------------------------------------------------------- recipes


def test_defaults_add_nothing_to_the_recipe(partial: Source) -> None:
    assert build_split(partial, regime="ppl:0.5,counts=exact").recipe["labels"] == {
        "source": partial.name,
        "long_tail": {"kind": "none"},
        "regime": "ppl:0.5",
        "val_fraction": 0.0,
    }
    tail = LongTail("pareto", maximum=30, minimum=2)
    assert build_split(partial, long_tail=tail).recipe["labels"]["long_tail"] == {
        "kind": "pareto",
        "b": 6.0,
        "maximum": 30,
        "minimum": 2,
        "tail_quantile": 0.99,
        "generator": "benchkit",
    }


def test_the_recipe_records_departures(partial: Source, tmp_path: Path) -> None:
    names = partial.class_names
    weights = write_numbers(tmp_path / "a.json", **{name: c + 1 for c, name in enumerate(names)})
    regime = "candidates:0.3,by-image=0.5,counts=bernoulli,by-class={}"
    split = build_split(partial, regime=regime.format(weights))
    recipe = split.recipe["labels"]
    assert recipe["regime"] == "candidates:0.3"
    assert set(recipe["regime_options"]) == {"beyond_papers", "noise_by_class", "instance_noise"}
    assert recipe["regime_options"]["beyond_papers"] is True
    assert split.provenance["class_weights"] == [1, 2, 3, 4, 5]
    # Equal numbers in another order and format give the same recipe.
    reversed_floats = {name: float(c + 1) for c, name in reversed(list(enumerate(names)))}
    equal_weights = write_numbers(tmp_path / "b.json", **reversed_floats)
    assert build_split(partial, regime=regime.format(equal_weights)).recipe["labels"] == recipe
    by_frequency = build_split(partial, regime=regime.format("frequency"))
    assert by_frequency.recipe["labels"]["regime_options"]["noise_by_class"] == "frequency"
    assert by_frequency.provenance["class_weights"] == by_frequency.train_count.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(long_tail=LongTail("exponential", maximum=9)), "not ratio 100.0 and maximum 9"),
        (dict(regime=Regime("missing", 0.5, by_class="none.csv")), "none.csv: .* cannot be read"),
    ],
)
def test_options_are_checked_before_anything_is_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**options).check()


# ----------------------------------------------------------------------------- rates


def test_rates_by_class(make_source: SourceMaker, tmp_path: Path) -> None:
    source = make_source(9000)
    numbers = {name: c for c, name in enumerate(source.class_names)}
    weights = write_numbers(tmp_path / "a.json", **numbers)
    train = build_split(source, regime=f"candidates:0.2,by-class={weights}").parts["train"]
    added = ((train.observed == 1) & (train.true == 0)).sum(0) / (train.true == 0).sum(0)
    assert added == pytest.approx(class_rates(0.2, np.arange(5.0)), abs=0.03)
    train = build_split(source, regime=f"missing:0.2,by-class={weights}").parts["train"]
    kept = ((train.observed == 1) & (train.true == 1)).sum(0)
    assert kept[0] == (train.true[:, 0] == 1).sum()  # a class of weight 0 loses nothing


def test_rates_by_image(make_source: SourceMaker) -> None:
    source = make_source(3000, 40)
    means, deviations = [], []
    for spread in (0.0, 1.0):
        train = build_split(source, regime=f"candidates:0.3,by-image={spread}").parts["train"]
        added = ((train.observed == 1) & (train.true == 0)).sum(1) / (train.true == 0).sum(1)
        means.append(added.mean())
        deviations.append(added.std())
    assert means[0] == pytest.approx(0.3, abs=0.01)
    assert means[1] == pytest.approx(0.3, abs=0.015)
    # The noise is binomial; with a spread of 1, the rate is also uniform in [0, 0.6].
    assert deviations[0] == pytest.approx((0.3 * 0.7 / 38) ** 0.5, rel=0.1)
    assert deviations[1] == pytest.approx((0.6**2 / 12 + 0.18 / 38) ** 0.5, rel=0.1)


# ----------------------------------------------------------------------------- long tails


def test_target_counts_and_their_report(partial: Source, tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_text("".join(f"{name},{9 - c}\n" for c, name in enumerate(partial.class_names)))
    tail = LongTail("counts", targets=class_file.read(path, whole_numbers=True))
    split = build_split(partial, long_tail=tail)
    assert set(split.recipe["labels"]["long_tail"]) == {"kind", "generator", "targets"}
    report = split.provenance["long_tail_report"]
    assert [entry["target"] for entry in report["classes"]] == [9, 8, 7, 6, 5]
    assert [entry["achieved"] for entry in report["classes"]] == split.train_count.tolist()
    available = (partial.labels[partial.part == 0] == 1).sum(0)
    assert [entry["available"] for entry in report["classes"]] == available.tolist()
    is_short = split.train_count < [9, 8, 7, 6, 5]
    short = [name for name, s in zip(partial.class_names, is_short, strict=True) if s]
    assert report["not_met"] == short


def test_exponential_and_natural_long_tails(make_source: SourceMaker) -> None:
    source = make_source(300)
    tail = LongTail("exponential", maximum=60, imbalance_ratio=10)
    report = build_split(source, long_tail=tail).provenance["long_tail_report"]
    curve = long_tail.exponential_targets(5, imbalance_ratio=10, maximum=60)
    assert {entry["target"] for entry in report["classes"]} == set(curve.tolist())
    natural = build_split(source, long_tail=LongTail("natural"))
    assert len(natural.parts["train"].ids) == (source.part == 0).sum()
    assert natural.recipe["labels"]["long_tail"] == {"kind": "natural"}
    assert "long_tail_report" not in natural.provenance


def test_a_report_may_exceed_the_size_of_an_attribute(
    make_source: SourceMaker, tmp_path: Path
) -> None:
    split = build_split(make_source(30, 1200), long_tail=LongTail("pareto", maximum=5))
    path = tmp_path / "toy.h5"
    split_file.write(split, path)
    assert split_file.verify(path) == []
    report = split_file.read(path).provenance["long_tail_report"]
    assert len(json.dumps(report)) > 2**16  # the limit of HDF5 attributes
    assert report == split.provenance["long_tail_report"]


# ----------------------------------------------------------------------------- the command line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a source and two files of counts."""
    monkeypatch.chdir(tmp_path)
    labels = (np.arange(400).reshape(100, 4) % [2, 3, 5, 7] == 0).astype(np.int8)
    names = np.array(["cat", "dog", "cow", "bus"])
    np.savez("m.npz", X=np.ones((100, 2), np.float32), Y=labels, label_names=names)
    Path("ok.csv").write_text("class,n\ncat,20\ndog,9\ncow,5\nbus,3\n")
    Path("typo.csv").write_text("cat,20\nbsu,3\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--target-counts", "ok.csv"], 0, ""),
        (["--target-counts", "typo.csv"], 1, "line 2: there is no class 'bsu'; did you mean 'bus'"),
        (["--target-counts", "none.csv"], 2, "none.csv: the file cannot be read"),
        (["--target-counts", "ok.csv", "--long-tail", "pareto"], 2, "replaces the curve"),
        (["--long-tail", "exponential", "--max", "20", "--imbalance-ratio", "4"], 0, ""),
        (["--regime", "candidates:0.3,by-class=frequency"], 0, ""),
        (["--regime", "missing:0.3,by-class=ok.csv"], 0, ""),
        (["--regime", "missing:0.3,by-class=none.csv"], 2, "none.csv: the file cannot be read"),
        (["--regime", "missing:0.3,by-class=typo.csv"], 1, "line 2: there is no class 'bsu'"),
        (["--regime", "pal:0.3,counts=exact"], 0, ""),
        (["--regime", "full,counts=exact"], 2, "counts"),
        (["--regime", "spl,counts=exact"], 2, "counts"),
        (["--regime", "pal:0.5,by-class=frequency"], 2, "by-class"),
        (["--regime", "pal:0.5,by-image=0.5"], 2, "by-image"),
        (["--regime", "candidates:0.3,by-image=2"], 2, "by-image must be a number in [0, 1]"),
    ],
)
def test_the_command_line(folder: Path, arguments: list[str], code: int, message: str) -> None:
    result = call("make-split", "arrays:m.npz", "--out", "m.h5", *arguments)
    assert (result.code, message in result.err) == (code, True), result
    assert code or split_file.verify(folder / "m.h5") == []
