"""From a source to a split: keyed by names, nested, and without traces of hidden labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchkit.base.errors import BenchkitError
from benchkit.split.build import build, default_name
from benchkit.split.decision import Decision, draw
from benchkit.split.features import Features, backbone_features, source_features
from benchkit.split.model import Split
from benchkit.split.options import LongTail, Options
from splits.errors import InputError
from splits.regimes import Regime
from splits.source import Source
from splits.sources import arrays

SourceMaker = Callable[..., Source]
REGIMES = ["full", "pal:0.4", "ppl:0.5", "spl", "missing:0.5", "candidates:0.3"]
TAIL = LongTail("pareto", maximum=30, minimum=2)
TINY = LongTail("pareto", maximum=8, minimum=2)


def made(source: Source, *, regime: str = "full", **options: Any) -> Split:
    decisions = Options(**{"many": 10, "few": 5, "regime": Regime.parse(regime), **options})
    return build(source, decisions, source_features(source), "toy")


def permuted(source: Source, order: np.ndarray) -> Source:
    return dataclasses.replace(
        source,
        image_ids=source.image_ids[order],
        labels=source.labels[order],
        part=None if source.part is None else source.part[order],
        features=None if source.features is None else source.features[order],
    )


def by_id(split: Split) -> dict[str, dict[str, tuple[Any, ...]]]:
    """part -> image id -> its true labels, observed labels and features."""
    return {
        name: {
            str(image): tuple(
                None if a is None else a[row].tolist()
                for a in (part.true, part.observed, part.features)
            )
            for row, image in enumerate(part.ids)
        }
        for name, part in split.parts.items()
    }


@pytest.mark.parametrize("parts", [True, False])
@pytest.mark.parametrize("regime", REGIMES)
def test_the_order_of_the_source_does_not_matter(
    make_source: SourceMaker, regime: str, parts: bool
) -> None:
    source = make_source(90, parts=parts)
    other = permuted(source, np.argsort(source.features[:, 0, 0]))
    options = dict(regime=regime, val_fraction=0.2, test_fraction=0.3, long_tail=TAIL, seed=3)
    one, two = made(source, **options), made(other, **options)
    assert list(one.parts) == ["train", "val", "test"]
    assert by_id(one) == by_id(two)
    assert one.train_count.tolist() == two.train_count.tolist()
    assert 0 < len(one.parts["train"].ids) < 60  # the long tail leaves images out


def test_rows_keep_the_order_of_the_source(make_source: SourceMaker) -> None:
    source = make_source(60, parts=False)
    rows = draw(source, Options(val_fraction=0.3, test_fraction=0.25)).rows
    assert {name: len(part) for name, part in rows.items()} == {
        "train": 31,  # 60 - 15 = 45; round(13.5) = 14 held out
        "val": 14,
        "test": 15,
    }
    for part in rows.values():
        assert np.all(np.diff(part) > 0)
    assert sorted(np.concatenate(list(rows.values()))) == list(range(60))


def test_a_mask_does_not_depend_on_other_images(make_source: SourceMaker) -> None:
    source = make_source(60)
    fewer = permuted(source, np.arange(0, 60, 2))
    all_images, half = made(source, regime="pal:0.5"), made(fewer, regime="pal:0.5")
    every_image, every_second = by_id(all_images)["train"], by_id(half)["train"]
    assert len(every_second) == 20
    assert all(every_image[image] == values for image, values in every_second.items())
    # An image keeps its mask if it is held out for validation.
    held = by_id(made(source, regime="pal:0.5", val_fraction=0.4))
    assert {**held["train"], **held["val"]} == every_image


def observed(source: Source, regime: str, seed: int = 0) -> np.ndarray:
    matrix = made(source, regime=regime, seed=seed).parts["train"].observed
    assert matrix is not None
    return matrix


def test_regimes_nest(make_source: SourceMaker) -> None:
    source = make_source(240, 8)
    true = made(source).parts["train"].true
    small, large = observed(source, "pal:0.3"), observed(source, "pal:0.6")
    assert ((small == -1) | (small == large)).all()
    assert 0.25 < (small != -1).mean() < 0.35
    assert 0.55 < (large != -1).mean() < 0.65
    single, half, most = (observed(source, r) == 1 for r in ("spl", "ppl:0.5", "ppl:0.8"))
    assert (single <= half).all()
    assert (half <= most).all()
    assert (most <= (true == 1)).all()
    assert single.sum() < half.sum() < most.sum() < (true == 1).sum()
    assert ((observed(source, "missing:0.7") == 1) <= (observed(source, "missing:0.3") == 1)).all()
    few, many = observed(source, "candidates:0.1") == 1, observed(source, "candidates:0.4") == 1
    assert ((true == 1) <= few).all()
    assert (few <= many).all()
    assert few.sum() < many.sum()


def test_another_seed_draws_another_split(make_source: SourceMaker) -> None:
    source = make_source(60, parts=False)
    one, two = made(source, regime="pal:0.5", seed=1), made(source, regime="pal:0.5", seed=2)
    assert set(by_id(one)["test"]) != set(by_id(two)["test"])
    both = set(by_id(one)["train"]) & set(by_id(two)["train"])
    assert any(by_id(one)["train"][i] != by_id(two)["train"][i] for i in both)
    # The seed is provenance: two seeds give two splits with the same recipe.
    assert one.recipe == two.recipe
    assert (one.provenance["seed"], two.provenance["seed"]) == (1, 2)
    again = made(source, regime="pal:0.5", seed=1)
    assert again.fingerprints() == one.fingerprints() != two.fingerprints()


@pytest.mark.parametrize("regime", REGIMES)
def test_val_is_masked_and_test_is_not(make_source: SourceMaker, regime: str) -> None:
    source = make_source(60)
    split = made(source, regime=regime, val_fraction=0.25)
    test = split.parts["test"]
    assert test.observed is None
    np.testing.assert_array_equal(test.true, source.labels[source.part == 1])
    for part in ("train", "val"):
        made_of = split.parts[part]
        hidden = (made_of.observed != made_of.true).any()
        assert hidden == (regime != "full")


HIDDEN_REGIMES = ["ppl:0.4", "spl", "missing:0.6"]
KEPT = np.array([0, 1, 1, 1, 2, 2, 2])  # max(1, round(0.4 n)) for n = 1..6


@pytest.mark.parametrize("regime", HIDDEN_REGIMES)
def test_a_dropped_positive_looks_like_a_negative(make_source: SourceMaker, regime: str) -> None:
    """Two sources that differ in one hidden label give the same observations."""
    source = make_source(45, 6)
    options = dict(regime=regime, val_fraction=0.2, shot_reference="observed")
    split = made(source, **options)
    train = split.parts["train"]
    compared = 0
    for row, column in np.argwhere((train.true == 1) & (train.observed == -1)):
        labels = source.labels.copy()
        labels[np.flatnonzero(source.image_ids == train.ids[row])[0], column] = 0
        other = made(dataclasses.replace(source, labels=labels), **options)
        count = int((train.true[row] == 1).sum())
        if regime == "ppl:0.4" and KEPT[count] != KEPT[count - 1]:
            continue  # one positive less means one observed positive less
        compared += 1
        assert other.train_count[column] == split.train_count[column] - 1
        assert other.recipe == split.recipe
        np.testing.assert_array_equal(other.observed_count, split.observed_count)
        np.testing.assert_array_equal(other.shot, split.shot)
        for name, part in split.parts.items():
            np.testing.assert_array_equal(other.parts[name].ids, part.ids)
            np.testing.assert_array_equal(other.parts[name].features, part.features)
            if part.observed is not None:
                np.testing.assert_array_equal(other.parts[name].observed, part.observed)
    assert compared >= 5


@pytest.mark.parametrize("regime", HIDDEN_REGIMES)
def test_only_kept_positives_are_observed(make_source: SourceMaker, regime: str) -> None:
    source = make_source(150, 6)
    seen, true = observed(source, regime), made(source).parts["train"].true
    assert not (seen == 0).any()
    kept, count = (seen == 1).sum(1), (true == 1).sum(1)
    if regime == "spl":
        expected = np.minimum(count, 1)
    elif regime == "ppl:0.4":
        expected = KEPT[count]
    else:
        expected = np.clip(kept, np.minimum(count, 1), count)
    np.testing.assert_array_equal(kept, expected)
    np.testing.assert_array_equal(seen == 1, (seen == 1) & (true == 1))


def test_counts_shots_and_their_reference(make_source: SourceMaker) -> None:
    source = make_source(150)
    split = made(source, regime="spl", many=40, few=15)
    true, seen = split.parts["train"].true, split.parts["train"].observed
    np.testing.assert_array_equal(split.train_count, (true == 1).sum(0))
    np.testing.assert_array_equal(split.observed_count, (seen == 1).sum(0))
    assert split.shot.tolist() == [0 if n >= 40 else 1 if n >= 15 else 2 for n in split.train_count]
    other = made(source, regime="spl", many=40, few=15, shot_reference="observed")
    expected = [0 if n >= 40 else 1 if n >= 15 else 2 for n in split.observed_count]
    assert other.shot.tolist() == expected != split.shot.tolist()
    assert other.thresholds == {"many": 40, "few": 15, "reference": "observed"}
    assert other.fingerprints()["labels"] != split.fingerprints()["labels"]


def test_fractions_nest(make_source: SourceMaker) -> None:
    source = make_source(100, parts=False)

    def held(part: str, **options: float) -> set[str]:
        return set(by_id(made(source, **options)).get(part, {}))

    tests = [held("test", test_fraction=f) for f in (0.1, 0.2, 0.5)]
    assert [len(t) for t in tests] == [10, 20, 50]
    assert tests[0] < tests[1] < tests[2]
    vals = [held("val", val_fraction=f) for f in (0.0, 0.1, 0.5)]
    assert [len(v) for v in vals] == [0, 8, 40]
    assert vals[0] < vals[1] < vals[2]
    assert "val" not in made(source).parts


@pytest.mark.parametrize("regime", REGIMES)
def test_left_out_images_cost_no_training_image(make_source: SourceMaker, regime: str) -> None:
    source = make_source(300)
    plain = by_id(made(source, regime=regime, long_tail=TAIL))
    options = dict(regime=regime, long_tail=TAIL, val_from="left-out")
    split = made(source, **options, val_fraction=0.5)
    parts, size = by_id(split), len(plain["train"])
    assert {name: parts[name] for name in plain} == plain
    assert list(split.parts) == ["train", "val", "test"]
    assert len(parts["val"]) == (size + 1) // 2
    # The labels that an annotator reveals are those of a split that keeps all images.
    every_image = by_id(made(source, regime=regime))["train"]
    assert parts["val"].items() <= every_image.items()
    assert not parts["val"].keys() & plain["train"].keys()
    assert split.recipe["labels"]["val_from"] == "left-out"
    # Parts of other sizes nest, and take all images at most.
    small = by_id(made(source, **options, val_fraction=0.01))["val"]
    most = by_id(made(source, **{**options, "long_tail": TINY}, val_fraction=1.0))
    assert len(small) == 1
    assert small.keys() < parts["val"].keys()
    assert len(most["val"]) == len(most["train"])
    large = LongTail("pareto", maximum=120, minimum=60)
    rest = by_id(made(source, **{**options, "long_tail": large}, val_fraction=1.0))
    assert len(rest["val"]) == 200 - len(rest["train"]) < len(rest["train"])


def test_left_out_images_do_not_depend_on_their_order(make_source: SourceMaker) -> None:
    source = make_source(90)
    other = permuted(source, np.argsort(source.features[:, 0, 0]))
    options = dict(long_tail=TAIL, val_from="left-out", val_fraction=0.2, seed=3)
    assert by_id(made(source, **options)) == by_id(made(other, **options))


def test_a_long_tail_that_keeps_all_images_has_none_to_validate_on(
    make_source: SourceMaker,
) -> None:
    everything = LongTail("pareto", maximum=1000, minimum=1000)
    source = make_source(60)
    source.labels[:, 0] = 1  # an image without positives is always left out
    with pytest.raises(InputError, match="the long tail keeps every training image"):
        made(source, long_tail=everything, val_from="left-out", val_fraction=0.5)


def test_the_recipe_records_all_decisions(make_source: SourceMaker) -> None:
    own = made(make_source(60), regime="pal:0.50", long_tail=TAIL, val_fraction=0.1)
    assert own.recipe == {
        "labels": {
            "source": "toy",
            "long_tail": {
                "kind": "pareto",
                "b": 6.0,
                "maximum": 30,
                "minimum": 2,
                "tail_quantile": 0.99,
                "generator": "benchkit",
            },
            "regime": "pal:0.5",
            "val_fraction": 0.1,
        },
        "features": {"kind": "raw"},
    }
    drawn = made(make_source(60, parts=False), test_fraction=0.25).recipe["labels"]
    assert drawn["test_fraction"] == 0.25
    assert drawn["long_tail"] == {"kind": "none"}
    assert default_name("toy", Options()) == "toy-full"
    tailed = Options(long_tail=TAIL, regime=Regime.parse("pal:0.5"))
    assert default_name("toy", tailed) == "toy-pareto30-pal:0.5"
    regime = Regime.parse("candidates:0.1,by-class=frequency,by-image=0.5")
    expected = "toy-candidates:0.1-noise-by-class-instance-noise"
    assert default_name("toy", Options(regime=regime)) == expected


def test_features_are_computed_for_the_kept_rows(make_source: SourceMaker) -> None:
    source = make_source(30, features=False)
    assert made(source).parts["train"].features is None
    requests: list[list[int]] = []

    def compute(rows: np.ndarray) -> np.ndarray:
        requests.append(rows.tolist())
        return np.repeat(rows, 6).reshape(-1, 2, 3).astype(np.float32)

    features = Features(compute, {"kind": "backbone"}, {"x": 1}).stored_as("float16")
    split = build(source, Options(val_fraction=0.2), features, "toy")
    assert split.recipe["features"] == {"kind": "backbone", "type": "float16"}
    assert split.provenance["x"] == 1
    for part, rows in zip(split.parts.values(), requests, strict=True):
        assert part.features is not None
        assert part.features.dtype == np.float16
        assert part.features.shape == (len(rows), 2, 3)
        assert [f"image_{row}" for row in rows] == part.ids.tolist()
        np.testing.assert_array_equal(part.features[:, 1, 2], rows)


def test_a_backbone_reads_the_folder_of_the_part(make_source: SourceMaker) -> None:
    source = make_source(6, features=False)
    paths = np.array([f"{i}.jpg" for i in range(6)])
    roots = (Path("/train"), Path("/test"))
    source = dataclasses.replace(source, paths=paths, roots=roots)
    files_by_id: dict[str, str] = {}

    def extract(files: list[Path], ids: list[str]) -> np.ndarray:
        files_by_id.update(zip(ids, map(str, files), strict=True))
        return np.zeros((len(files), 1, 2), np.float32)

    features = backbone_features(source, extract, {"backbone": "b"})
    split = build(source, Options(), features, "toy")
    assert split.recipe["features"] == {"kind": "backbone", "backbone": "b"}
    assert split.parts["test"].paths is not None
    assert split.parts["test"].paths.tolist() == ["2.jpg", "5.jpg"]
    assert files_by_id == {
        f"image_{i}": f"/{'test' if i % 3 == 2 else 'train'}/{i}.jpg" for i in range(6)
    }
    with pytest.raises(BenchkitError, match="source 'toy' names no images"):
        backbone_features(make_source(6), extract, {})


@pytest.mark.parametrize(("code", "part"), [(0, "test"), (1, "train")])
def test_an_empty_part_is_an_error(make_source: SourceMaker, code: int, part: str) -> None:
    source = dataclasses.replace(make_source(9), part=np.full(9, code, np.uint8))
    with pytest.raises(BenchkitError, match=f"source 'toy' leaves no image in the {part} part"):
        made(source)


def test_one_image_leaves_no_test_part(make_source: SourceMaker) -> None:
    with pytest.raises(BenchkitError, match="no image in the test part"):
        made(make_source(1, parts=False))


def test_a_long_tail_of_no_positives_leaves_no_train_part(make_source: SourceMaker) -> None:
    source = make_source(9)
    source = dataclasses.replace(source, labels=np.zeros_like(source.labels))
    with pytest.raises(BenchkitError, match="no image in the train part"):
        made(source, long_tail=TAIL)


@pytest.mark.parametrize(
    "options",
    [
        {"many": 5, "few": 5},
        {"val_fraction": 1.0},
        {"test_fraction": -0.1},
        {"long_tail": LongTail("pareto", b=0.0)},
        {"long_tail": LongTail("pareto", maximum=1, minimum=2)},
        {"long_tail": LongTail("pareto", tail_quantile=1.0)},
    ],
)
def test_options_out_of_range_are_errors_before_anything_is_read(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Options(**options).check()


@pytest.mark.parametrize("text", ["pal:2", "some"])
def test_regimes_out_of_range_are_errors_before_anything_is_read(text: str) -> None:
    with pytest.raises(InputError):
        Regime.parse(text)


def test_options_in_range_pass() -> None:
    for regime in REGIMES:
        Options(regime=Regime.parse(regime), long_tail=TAIL, val_fraction=0.5).check()


def test_a_decision_replaces_the_draw(make_source: SourceMaker) -> None:
    source = make_source(9, 3)
    seen = np.full((9, 3), -1, np.int8)
    seen[[4, 2, 0], [0, 1, 2]] = 1
    decision = Decision(
        rows={"train": np.array([4, 2]), "val": np.array([0]), "test": np.array([7, 1])},
        recipe={"source": "paper", "long_tail": {"kind": "published"}, "val_fraction": "published"},
        provenance={"published": {"paper": "a paper"}},
        observed=seen,
        regime=Regime("spl"),
    )
    options = Options(long_tail=TAIL, regime=Regime("pal", 0.5), val_fraction=0.5)
    split = build(source, options, source_features(source), "name", decision=decision)
    ids = {name: part.ids.tolist() for name, part in split.parts.items()}
    assert ids == {
        "train": ["image_4", "image_2"],
        "val": ["image_0"],
        "test": ["image_7", "image_1"],
    }
    assert split.train.observed.tolist() == [[1, -1, -1], [-1, 1, -1]]
    assert split.val.observed.tolist() == [[-1, -1, 1]]
    assert split.test.observed is None
    assert split.train.true.tolist() == source.labels[[4, 2]].tolist()
    assert split.observed_count.tolist() == [1, 1, 0]
    assert split.recipe["labels"] == {**decision.recipe, "regime": "spl"}
    assert split.regime == Regime("spl")
    assert split.provenance["published"] == {"paper": "a paper"}


def test_dbl_generator_rebuilds_the_published_voc_lt(data: Callable[[str], Path]) -> None:
    published = arrays.load(data("labels/voc_lt.npz"))
    voc = arrays.load(data("labels/voc2012_trainval.npz"))
    # The test part is another year's; one image stands in for it here.
    test = np.ones(1, np.uint8)
    source = dataclasses.replace(
        voc,
        image_ids=np.append(voc.image_ids, "test"),
        labels=np.vstack([voc.labels, voc.labels[:1]]),
        part=np.append(np.zeros(len(voc.labels), np.uint8), test),
        paths=None,
    )
    tail = LongTail("pareto", b=6.0, maximum=800, generator="dbl")
    split = build(source, Options(long_tail=tail, seed=0), Features(None, {}, {}), "voc-lt")
    in_train = published.part == 0
    assert set(split.parts["train"].ids) == set(published.image_ids[in_train])
    assert len(split.parts["train"].ids) == 1142
    order = np.argsort(published.image_ids[in_train])
    names = [published.class_names.index(name) for name in split.class_names]
    np.testing.assert_array_equal(
        split.parts["train"].true[np.argsort(split.parts["train"].ids)],
        published.labels[in_train][order][:, names],
    )
    assert split.train_count.max() == 775
    assert split.train_count.min() == 4
    assert [int((split.shot == group).sum()) for group in (0, 1, 2)] == [6, 6, 8]
    keyed = build(
        source,
        Options(long_tail=dataclasses.replace(tail, generator="benchkit")),
        Features(None, {}, {}),
        "voc-lt",
    )
    assert 900 < len(keyed.parts["train"].ids) < 1400
    assert set(keyed.parts["train"].ids) != set(split.parts["train"].ids)
