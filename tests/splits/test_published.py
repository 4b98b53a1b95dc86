"""Published splits equal their published versions, or are refused."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchkit.base.random import numpy_state, python_sampler
from splits import long_tail, shots
from splits.errors import InputError
from splits.published import plt, spml
from splits.published.core import registry
from splits.published.core.contract import Figures, PublishedRows, Tools, check, content_digest
from splits.published.core.names import COCO, VOC, coco_number, stem
from splits.source import Source
from splits.sources import arrays

TOOLS = Tools(python_sampler=python_sampler, numpy_state=numpy_state)
VECTORS = Path(__file__).parent / "vectors" / "spml_observed.json"
Find = Callable[[str], Path]


def make(name: str, source: Source | None = None, **files: Path) -> PublishedRows:
    return registry.build(registry.get(name), source, files, TOOLS)


def joined(train: Source, test: Source | None, name: str = "both") -> Source:
    """The training rows of one source and the test rows of another."""
    sets = [train] if test is None else [train, test]
    picks = [
        s.part if s.part is not None else np.full(len(s.labels), i) for i, s in enumerate(sets)
    ]
    rows = [np.flatnonzero(pick == i) for i, pick in enumerate(picks)]
    return Source(
        name=name,
        class_names=train.class_names,
        image_ids=np.concatenate([s.image_ids[r] for s, r in zip(sets, rows, strict=True)]),
        labels=np.concatenate([s.labels[r] for s, r in zip(sets, rows, strict=True)]),
        part=np.repeat(np.arange(len(sets), dtype=np.uint8), [len(r) for r in rows]),
        paths=None,
        roots=(),
        features=None,
        digests={},
    )


@pytest.fixture(scope="module")
def voc(data: Find) -> Source:
    """VOC 2012 trainval for training, VOC 2007 test for testing."""
    test = arrays.load(data("labels/voc_lt.npz"))
    return joined(arrays.load(data("labels/voc2012_trainval.npz")), test, "voc")


@pytest.fixture(scope="module")
def voc_lists(data: Find) -> dict:
    return json.loads(data("lists/voc_lt.json").read_text())


@pytest.fixture(scope="module")
def coco_lists(data: Find) -> dict:
    return json.loads(data("lists/coco_lt.json").read_text())


@pytest.fixture(scope="module")
def coco2014(data: Find) -> Source:
    """COCO train2014, and 40137 artificial test images."""
    train = arrays.load(data("labels/coco2014_train.npz"))
    count = 40137
    test = dataclasses.replace(
        train,
        image_ids=np.array([str(i) for i in range(10**7, 10**7 + count)]),
        labels=train.labels[:count],
        part=np.ones(count, np.uint8),
    )
    return joined(train, test, "coco2014")


# ----------------------------------------------------------------------------- registry


def test_discovery_finds_published_splits_in_order() -> None:
    assert list(registry.known()) == sorted(registry.known())
    assert {
        *("coco-lt", "hill-coco-40", "hill-coco-75", "hill-coco-single", "nw-lt"),
        *("plt-coco", "plt-voc", "spml-coco", "spml-cub", "spml-nus", "spml-voc", "voc-lt"),
    } <= set(registry.known())
    for published in registry.known().values():
        assert published.made in ("rebuilt", "imported", "unavailable")
        assert published.figures is not None or published.made == "unavailable"


def test_calls_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no published split 'voc-tl'.*Did you mean 'voc-lt'\?"):
        registry.get("voc-tl")
    with pytest.raises(InputError, match="hill-coco-75 has no list file 'images'; its roles are o"):
        make("hill-coco-75", images=tmp_path / "x")
    with pytest.raises(InputError, match="NW-LT is not available: neither its construction nor"):
        make("nw-lt")
    for name, published in registry.known().items():
        if published.made != "unavailable":
            with pytest.raises(InputError, match=r"needs|is made from a source"):
                make(name)


# ----------------------------------------------------------------------------- figures


def three_images() -> tuple[PublishedRows, Figures]:
    source = Source(
        name="toy",
        class_names=("a", "b"),
        image_ids=np.array(["x", "y", "z"]),
        labels=np.array([[1, 1], [0, 1], [1, 0]], np.int8),
        part=np.array([0, 0, 1], np.uint8),
        paths=None,
        roots=(),
        features=None,
        digests={},
    )
    observed = np.array([[1, -1], [-1, 1], [-1, -1]], np.int8)
    rows = PublishedRows(source, np.array([0, 1]), np.array([2]), observed=observed, regime="spl")
    figures = Figures(
        train=2,
        test=1,
        classes=2,
        counts=(1, 2),
        groups=(0, 0, 2),
        cardinality=1.5,
        test_cardinality=1.0,
        observed=2,
        train_digest=content_digest(["y", "x"], source.labels[[1, 0]]),
        test_digest=content_digest(["z"], source.labels[[2]]),
        observed_digest=content_digest(["x", "y"], observed[:2]),
    )
    return rows, figures


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(train=3), r"toy differs from the published split: training images: 2, published 3\."),
        (dict(test=2), "test images: 1, published 2"),
        (dict(val=1), "validation images: 0, published 1"),
        (dict(classes=3), "classes: 2, published 3"),
        (dict(counts=(1, 3)), "training images of class 'b': 2, published 3"),
        (dict(groups=(0, 1, 1)), r"few-shot classes: \(0, 0, 2\), published \(0, 1, 1\)"),
        (dict(cardinality=1.51), "labels per training image: 1.5, published 1.51"),
        (dict(test_cardinality=2.0), "labels per test image: 1.0, published 2.0"),
        (dict(observed=3), "observed positives: 2, published 3"),
        (dict(train_digest="0" * 64), "the training images or their labels differ, although"),
        (dict(test_digest="0" * 64), "the test images or their labels differ, although"),
        (dict(observed_digest="0" * 64), "the observed labels differ, although"),
        (dict(train=9, test=9, classes=9, observed=9, val=9), "; and 1 more"),
    ],
)
def test_every_figure_is_compared_with_the_split(changes: dict, message: str) -> None:
    rows, figures = three_images()
    toy = dataclasses.replace(registry.get("voc-lt"), name="toy", figures=figures, key=str)
    check(toy, rows)
    wrong = dataclasses.replace(toy, figures=dataclasses.replace(figures, **changes))
    with pytest.raises(InputError, match=message):
        check(wrong, rows)


def test_the_digest_is_of_sorted_lines() -> None:
    labels = np.array([[0, 1, 1], [0, 0, -1]], np.int8)
    assert content_digest(["b", "a"], labels) == hashlib.sha256(b"a\nb 1 2").hexdigest()


def test_image_names() -> None:
    for name in ("480023", "train2014/COCO_train2014_000000480023.jpg", "000000480023.jpg"):
        assert coco_number(name) == "480023"
    assert coco_number("odd") == "odd"
    assert coco_number("a_" + "9" * 5000) == "a_" + "9" * 5000
    assert stem("VOCdevkit/VOC2012/JPEGImages/2008_000023.jpg") == "2008_000023"


def test_class_names(voc_lists: dict, coco_lists: dict) -> None:
    assert list(VOC) == voc_lists["class_names"]
    assert list(COCO) == coco_lists["class_names"]


# ----------------------------------------------------------------------------- VOC-LT, COCO-LT


def write_lmpt(path: Path, part: dict, form: str) -> Path:
    lines = (
        " ".join([form.format(image), *map(str, labels)])
        for image, labels in zip(part["ids"], part["labels"], strict=True)
    )
    path.write_text("\n".join(lines) + "\n")
    return path


def write_ids(path: Path, part: dict) -> Path:
    path.write_text("".join(f"{image}\n" for image in part["ids"]))
    return path


def test_voc_lt_is_rebuilt_to_the_image(voc: Source, voc_lists: dict, tmp_path: Path) -> None:
    rows = make("voc-lt", voc, images=write_ids(tmp_path / "img_id.txt", voc_lists["train"]))
    ids = rows.source.image_ids[rows.train]
    assert len(ids) == 1142
    assert set(ids) == set(voc_lists["train"]["ids"])
    counts = (rows.source.labels[rows.train] == 1).sum(0)
    assert counts.tolist() == voc_lists["class_freq"]
    groups = shots.shot_groups(counts)
    for group, key in enumerate(("head", "medium", "tail")):
        assert np.flatnonzero(groups == group).tolist() == voc_lists[key]
    test = rows.source.labels[rows.test]
    assert (test == 1).sum(0).tolist() == voc_lists["test_class_freq"]
    assert list(rows.source.digests) == ["images:img_id.txt"]


def test_voc_lt_is_the_same_from_lists(voc: Source, voc_lists: dict, tmp_path: Path) -> None:
    form = "VOCdevkit/VOC/JPEGImages/{}.jpg"
    lists = {
        part: write_lmpt(tmp_path / f"voc_lt_{part}.txt", voc_lists[part], form)
        for part in ("train", "test")
    }
    json_file = tmp_path / "voc_lt.json"
    json_file.write_text(json.dumps(voc_lists))
    rebuilt = make("voc-lt", voc)
    for imported in (make("voc-lt", **lists), make("voc-lt", lists=json_file)):
        assert imported.source.class_names == rebuilt.source.class_names
        for part in ("train", "test"):
            one, two = getattr(rebuilt, part), getattr(imported, part)
            assert np.array_equal(rebuilt.source.image_ids[one], imported.source.image_ids[two])
            assert np.array_equal(rebuilt.source.labels[one], imported.source.labels[two])
    assert str(imported.source.image_ids[imported.train[0]]) == "2008_000023"


def test_voc_lt_without_difficult_objects_is_refused(voc: Source) -> None:
    labels = voc.labels.copy()
    labels[np.flatnonzero(labels[:, 14] == 1)[:40], 14] = 0  # some persons
    with pytest.raises(InputError, match="voc-lt differs from the published split"):
        make("voc-lt", dataclasses.replace(voc, labels=labels))
    labels = voc.labels.copy()
    labels[-1] = 1 - labels[-1]  # one test image
    with pytest.raises(InputError, match=r"labels per test image|test images or their labels"):
        make("voc-lt", dataclasses.replace(voc, labels=labels))


def test_voc_lt_needs_its_test_part(voc: Source, voc_lists: dict, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no test part; .* is the test set of VOC 2007"):
        make("voc-lt", dataclasses.replace(voc, part=None))
    other = {"ids": voc_lists["train"]["ids"][1:]}
    with pytest.raises(InputError, match="the images differ from those that the generator draws"):
        make("voc-lt", voc, images=write_ids(tmp_path / "img_id.txt", other))
    with pytest.raises(InputError, match="train and test must be used together"):
        make("voc-lt", train=tmp_path / "x")


@pytest.fixture(scope="module")
def coco_lt(data: Find) -> Source:
    """The images of COCO-LT, and as many other training images."""
    source = arrays.load(data("labels/coco_lt.npz"))
    more = dataclasses.replace(
        source,
        image_ids=np.char.add("1000000", source.image_ids),
        part=np.zeros(len(source.labels), np.uint8),
    )
    return dataclasses.replace(
        source,
        image_ids=np.concatenate([more.image_ids, source.image_ids]),
        labels=np.concatenate([more.labels, source.labels]),
        part=np.concatenate([more.part, source.part]),
        paths=None,
    )


def test_coco_lt_is_imported(coco_lt: Source, coco_lists: dict, tmp_path: Path) -> None:
    ids = write_ids(tmp_path / "img_id.pkl", coco_lists["train"])
    lists = {
        part: write_lmpt(
            tmp_path / f"coco_lt_{part}.txt", coco_lists[part], part + "2017/{:012d}.jpg"
        )
        for part in ("train", "test")
    }
    from_ids, from_lists = make("coco-lt", coco_lt, images=ids), make("coco-lt", **lists)
    for rows in (from_ids, from_lists):
        assert len(rows.train) == 1909
        assert len(rows.test) == 5000
        counts = (rows.source.labels[rows.train] == 1).sum(0)
        assert counts.tolist() == coco_lists["class_freq"]
        assert np.bincount(shots.shot_groups(counts)).tolist() == [22, 33, 25]
    for part in ("train", "test"):
        one, two = getattr(from_ids, part), getattr(from_lists, part)
        assert np.array_equal(from_ids.source.image_ids[one], from_lists.source.image_ids[two])
        assert np.array_equal(from_ids.source.labels[one], from_lists.source.labels[two])


def test_coco_lt_of_other_images_is_refused(
    coco_lt: Source, coco_lists: dict, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"--published-file images=img_id\.pkl"):
        make("coco-lt", coco_lt)
    path = tmp_path / "img_id.pkl"
    ids = coco_lists["train"]["ids"]
    with pytest.raises(InputError, match="training images: 1908, published 1909"):
        make("coco-lt", coco_lt, images=write_ids(path, {"ids": ids[1:]}))
    with pytest.raises(InputError, match="line 1910: image '7' is not among the 8818 images"):
        make("coco-lt", coco_lt, images=write_ids(path, {"ids": [*ids, 7]}))
    twin = f"1000000{ids[0]}"  # another image with the same labels, so every count is right
    with pytest.raises(InputError, match="the training images or their labels differ, although"):
        make("coco-lt", coco_lt, images=write_ids(path, {"ids": [twin, *ids[1:]]}))


# ----------------------------------------------------------------------------- PLT


def test_plt_voc_is_rebuilt(voc: Source) -> None:
    rows = make("plt-voc", voc)
    assert len(rows.train) == 2569
    assert rows.source.labels[rows.train].any(axis=1).all()
    assert rows.observed is None
    assert "difficult objects are positive here" in rows.notes[0]
    assert int((rows.source.labels[rows.train, 14] == 1).sum()) == 1585
    assert registry.get("plt-voc").reference == "observed"


@pytest.mark.parametrize("name", ["voc-lt", "plt-voc"])
def test_a_source_that_is_too_small_for_the_draw(name: str, voc: Source) -> None:
    few = np.r_[:900, -900:0]
    small = dataclasses.replace(
        voc,
        image_ids=voc.image_ids[few],
        labels=voc.labels[few],
        part=voc.part[few],
        paths=None if voc.paths is None else voc.paths[few],
    )
    with pytest.raises(InputError, match=f"{name} cannot be drawn .* VOC 2012 trainval .* needs"):
        make(name, small)


def test_plt_voc_takes_label_files(voc: Source, tmp_path: Path) -> None:
    rows = make("plt-voc", voc)
    ids, true = voc.image_ids[rows.train], voc.labels[rows.train]
    complete, kept = true.copy(), true.copy()
    several = np.flatnonzero(true.sum(1) > 1)
    complete[several[0], np.flatnonzero(true[several[0]])[0]] = 0  # a difficult object
    kept[several, true[several].argmax(1)] = 0
    order = np.arange(len(ids))[::-1]
    files = {}
    for role, labels in (("labels", complete), ("observed", kept)):
        files[role] = tmp_path / f"{role}.json"
        content = {f"{ids[row]}.jpg": labels[row].tolist() for row in order}
        files[role].write_text(json.dumps(content))
    imported = make("plt-voc", voc, **files)
    assert np.array_equal(imported.source.labels[imported.train], complete)
    assert np.array_equal(imported.observed[imported.train] == 1, kept == 1)
    assert not (imported.observed == 0).any()
    assert imported.regime == f"missing:{round(1 - kept.sum() / complete.sum(), 4):g}"
    assert imported.notes == ()
    with pytest.raises(InputError, match="but not in its complete labels"):
        make("plt-voc", voc, labels=files["observed"], observed=files["labels"])
    kept[several[0]] = 0
    content = {f"{ids[row]}.jpg": kept[row].tolist() for row in order}
    files["observed"].write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"image {ids[several[0]]} has no observed label"):
        make("plt-voc", voc, **files)
    files["labels"].write_text(json.dumps({f"{ids[0]}.jpg": [0] * 20}))
    with pytest.raises(InputError, match="it has 1 images; the split has 2569"):
        make("plt-voc", voc, labels=files["labels"])


def test_plt_coco_draws_after_voc(voc: Source, coco2014: Source, data: Find) -> None:
    """COCO is drawn after VOC from the same generator; the number of images must be 2962."""
    trainval = voc.labels[voc.part == 0]
    small = coco2014.labels[:3000]
    after = plt.draw_coco(small, trainval, python_sampler(0))
    sample = python_sampler(0)
    assert np.array_equal(plt.draw_voc(trainval, sample), plt.draw_voc(trainval, python_sampler(0)))
    targets = long_tail.pareto_targets(80, b=10.0, maximum=1400)
    assert np.array_equal(after, long_tail.sample_dbl(small, targets, sample, cap=True))
    alone = long_tail.sample_dbl(small, targets, python_sampler(0), cap=True)
    assert not np.array_equal(after, alone)
    source = dataclasses.replace(coco2014, name="coco")
    with pytest.raises(
        InputError, match="plt-coco differs from the published split: training images"
    ):
        make("plt-coco", source, voc=data("labels/voc2012_trainval.npz"))
    with pytest.raises(InputError, match="one of the list files images, labels and voc"):
        make("plt-coco", source)


# ----------------------------------------------------------------------------- SPML


# From the authors' own split function, 33 images and seed 1200.
SPLIT_33 = [0, 7, 13, 18, 19, 21, 25]


def test_spml_validation_rows() -> None:
    train, val = spml.split(33, numpy_state(1200))
    assert val.tolist() == SPLIT_33
    assert train.tolist() == [row for row in range(33) if row not in SPLIT_33]
    assert [len(rows) for rows in spml.split(82081, numpy_state(1200))] == [65665, 16416]


def test_spml_coco(coco2014: Source, tmp_path: Path) -> None:
    rows = make("spml-coco", coco2014)
    assert [len(part) for part in (rows.train, rows.val, rows.test)] == [65665, 16416, 40137]
    assert rows.regime == "spl"
    ids, labels = coco2014.image_ids, coco2014.labels
    pool = np.array(sorted(range(82081), key=lambda row: str(ids[row])))
    assert ids[pool[:3]].tolist() == ["100012", "100014", "100020"]
    assert np.array_equal(np.sort(np.concatenate([rows.train, rows.val])), np.arange(82081))
    assert ids[rows.train].tolist() == sorted(ids[rows.train].tolist())  # as texts
    expected = spml.observe(labels[pool], 1, 0, np.random.RandomState(1200))
    assert np.array_equal(rows.observed[pool], expected)
    assert ((rows.observed == 1) <= (labels == 1)).all()
    assert (rows.observed[rows.test] == -1).all()
    # SPML's own files of the same images, in its order, give the same split.
    files = {role: tmp_path / f"{role}.npy" for role in (*spml.FILES, "observed")}
    for part, order in (("train", pool), ("val", rows.test)):
        np.save(files[f"{part}_labels"], labels[order].astype(np.float64))
        np.save(files[f"{part}_images"], np.array([f"{i}.jpg" for i in ids[order]]))
    published = np.select([expected == 1, expected == 0], [1.0, -1.0], 0.0)
    np.save(files["observed"], published)
    again = make("spml-coco", **files)
    assert np.array_equal(again.observed[:82081], expected)
    names = [f"{i}.jpg" for i in ids[rows.val]]
    assert again.source.image_ids[again.val].tolist() == names
    published[5] = np.roll(published[5], 1)
    np.save(files["observed"], published)
    with pytest.raises(InputError, match="row 5 and 0 more differ from the draw of the generator"):
        make("spml-coco", **files)


def test_spml_refuses_other_data(voc: Source, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="training images: 9232, published 4574"):
        make("spml-voc", voc)
    unknown = voc.labels.copy()
    unknown[3, 3] = -1
    with pytest.raises(InputError, match="the source must not have unknown labels"):
        make("spml-voc", dataclasses.replace(voc, labels=unknown))
    with pytest.raises(InputError, match="train_images, val_labels, val_images are missing"):
        make("spml-nus", train_labels=tmp_path / "x.npy")
    with pytest.raises(InputError, match="not both"):
        make("spml-voc", voc, train_labels=tmp_path / "x.npy")


@pytest.mark.parametrize("case", json.loads(VECTORS.read_text()), ids=lambda case: case["name"])
def test_spml_observed_labels_bit_for_bit(case: dict) -> None:
    hyper, labels = case["hyper"], np.array(case["labels"], np.int8)
    state = numpy_state(hyper["seed"])
    observed = spml.observe(labels, hyper["num_pos"], hyper["num_neg"], state)
    assert np.select([observed == 1, observed == 0], [1, -1], 0).tolist() == case["observed"]


def test_spml_numbers_are_checked() -> None:
    with pytest.raises(InputError, match="not -2 positives and 0 negatives"):
        spml.observe(np.eye(2, dtype=np.int8), -2, 0, np.random.RandomState(0))


# ----------------------------------------------------------------------------- Hill

KEPT = {"75": ("p75", 181422), "40": ("p40", 96251), "single": ("single", 82081)}


@pytest.fixture(scope="module")
def hill_lists(data: Find) -> dict[str, list[str]]:
    content = np.load(data("labels/coco2014_train_partial.npz"))
    ids, lines = content["image_ids"].tolist(), {}
    for level, (key, _) in KEPT.items():
        indices, ends = content[f"{key}_indices"].tolist(), content[f"{key}_indptr"].tolist()
        lines[level] = [
            f"COCO_train2014_{ids[row]:012d}.jpg,{' '.join(map(str, indices[start:stop]))}"
            for row, (start, stop) in enumerate(itertools.pairwise(ends))
        ]
    return lines


def hill_file(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("level", KEPT)
def test_hill_lists(level: str, coco2014: Source, hill_lists: dict, tmp_path: Path) -> None:
    path = hill_file(tmp_path / "list.txt", hill_lists[level])
    rows = make(f"hill-coco-{level}", coco2014, observed=path)
    assert np.array_equal(rows.train, np.arange(82081))
    assert int((rows.observed == 1).sum()) == KEPT[level][1]
    assert not (rows.observed == 0).any()
    assert rows.regime == {"75": "ppl:0.75", "40": "ppl:0.4", "single": "spl"}[level]


def test_hill_refuses_other_lists(coco2014: Source, hill_lists: dict, tmp_path: Path) -> None:
    path, lines = tmp_path / "list.txt", hill_lists["single"]
    with pytest.raises(InputError, match="training images: 82080, published 82081"):
        make("hill-coco-single", coco2014, observed=hill_file(path, lines[:-1]))
    with pytest.raises(
        InputError, match="line 1: 1 of 2 labels are kept; the published list keeps 2"
    ):
        make("hill-coco-75", coco2014, observed=hill_file(path, lines))
    name = lines[0].partition(",")[0]
    with pytest.raises(
        InputError, match=r"line 1: .* has the label 'bicycle', but not in the source"
    ):
        make("hill-coco-single", coco2014, observed=hill_file(path, [f"{name}, 1", *lines[1:]]))
    other = [f"{name}, 0" if lines[0].endswith("52") else f"{name}, 52", *lines[1:]]
    with pytest.raises(InputError, match="the observed labels differ, although"):
        make("hill-coco-single", coco2014, observed=hill_file(path, other))
