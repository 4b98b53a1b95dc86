"""Every matrix of the real data is read with the numbers that are known of it."""

import numpy as np
import pytest

from splits.sources import arrays, coco, registry

# File, options, rows, classes, positives per image, largest and smallest count (if known).
MATRICES = [
    ("features/corel5k", {}, 5000, 374, 3.522, 1120, 1),
    ("features/scene", {}, 2407, 6, 1.074, 533, 364),
    ("features/mirflickr_pml5000", {}, 5000, 7, 1.771, 3766, 177),
    ("features/mirflickr_pml5000", {"labels": "Y_candidate"}, 5000, 7, 3.353, None, None),
    ("features/nuswide_vgg64_998", {}, 998, 81, 2.889, 345, 5),
    ("features/delicious", {}, 16105, 983, 19.020, 6495, 21),
    ("features/yeast", {}, 2417, 14, 4.237, 1816, 34),
    ("features/emotions", {}, 593, 6, 1.869, 264, 148),
    ("labels/coco2014_train", {}, 82081, 80, 2.9366, 45174, 128),
    ("labels/coco2014_train_partial", {"labels": "p75"}, 82081, 80, 2.2103, None, None),
    ("labels/coco2014_train_partial", {"labels": "p40"}, 82081, 80, 1.1726, None, None),
    ("labels/coco2014_train_partial", {"labels": "single"}, 82081, 80, 1.0, None, None),
    ("labels/voc2012_trainval", {}, 11540, 20, 1.535, 4374, 309),
    ("labels/nuswide_sample", {}, 10536, 81, 2.436, 3875, 2),
    (
        "labels/voc2007_trainval",
        {"labels": "Y3", "minus_one": "negative", "zero": "negative"},
        5011,
        20,
        1.458,
        2008,
        96,
    ),
]


@pytest.mark.parametrize(
    ("name", "options", "rows", "classes", "mean", "most", "least"),
    MATRICES,
    ids=[f"{row[0]}-{row[1].get('labels', 'Y')}" for row in MATRICES],
)
def test_numbers(data, name, options, rows, classes, mean, most, least):
    source = arrays.load(data(f"{name}.npz"), **options)
    counts = (source.labels == 1).sum(0)
    assert source.labels.shape == (rows, classes)
    digits = len(str(mean).partition(".")[2])
    assert (
        abs(counts.sum() / rows - mean) < 10**-digits
    )  # the published mean of 1.8685 is rounded up
    if most is not None:
        assert (counts.max(), counts.min()) == (most, least)


@pytest.mark.parametrize(
    ("name", "sizes", "means", "most", "least"),
    [
        ("voc_lt", [1142, 4952], [2.054, 1.541], 775, 4),
        ("coco_lt", [1909, 5000], [4.356, 2.926], 1128, 6),
    ],
)
def test_published_long_tails(data, name, sizes, means, most, least):
    source = arrays.load(data(f"labels/{name}.npz"))
    assert np.bincount(source.part).tolist() == sizes
    for part, mean in enumerate(means):
        assert round(source.labels[source.part == part].sum(1).mean(), 3) == mean
    counts = source.labels[source.part == 0].sum(0)
    assert (counts.max(), counts.min()) == (most, least)


def test_published_subsets(data):
    """75.27 %, 39.93 % and 34.05 % of the labels are kept; each is a subset of the full matrix."""
    path = data("labels/coco2014_train_partial.npz")
    complete = arrays.load(data("labels/coco2014_train.npz")).labels
    for labels, share in (("p75", 75.27), ("p40", 39.93), ("single", 34.05)):
        kept = arrays.load(path, labels=labels).labels
        assert (kept <= complete).all() and kept.any(1).all()
        assert round(100 * kept.sum() / complete.sum(), 2) == share


@pytest.mark.parametrize("kind", ["features/corel5k", "features/delicious"])
def test_classes_without_positives_and_images_without_labels(data, kind):
    source = arrays.load(data(f"{kind}.npz"))
    train = source.labels[source.part == 0].sum(0)
    test = source.labels[source.part == 1].sum(0)
    if kind.endswith("corel5k"):
        assert ((train == 0).sum(), (test == 0).sum()) == (3, 111)
        assert (source.labels.sum(0) < 20).sum() == 221
    else:
        assert (~source.labels.any(1)).sum() == 14


def test_options_of_arrays(tmp_path, refused):
    path = tmp_path / "a.npz"
    np.savez(path, Y=[[1, -1, 0]], Z=[[0, 0, 1]], F=np.ones((1, 2)), X=np.zeros((1, 3)))
    assert arrays.load(path, labels="Z").labels.tolist() == [[0, 0, 1]]
    assert arrays.load(path, features="none").features is None
    assert arrays.load(path, features="F").features.shape == (1, 1, 2)
    assert arrays.load(path, minus_one="negative").labels.tolist() == [[1, 0, 0]]
    assert arrays.load(path, zero="unknown").labels.tolist() == [[1, -1, -1]]
    refused("a.npz", "no labels 'W', nor W_indptr", lambda: arrays.load(path, labels="W"))
    refused("a.npz", "no features 'W'", lambda: arrays.load(path, features="W"))


# ----------------------------------------------------------------------------- coco:ROOT


@pytest.fixture
def root(data, put, tmp_path):
    """COCO's own layout with two small real files, one for each part."""
    for part, other in (("train", "val"), ("val", "train")):
        text = data(f"fixtures/tiny_coco_instances_{other}2017.json").read_bytes()
        put(f"annotations/instances_{part}2014.json", text)
    return tmp_path


def test_official_folders(root, refused):
    load, complete = registry.get("coco").load, registry.complete
    source = load(root, **complete("coco", {"year": 2014, "keep_empty": "test"}))
    assert np.bincount(source.part).tolist() == [6, 32]
    assert source.roots == ()
    for part in ("train", "val"):
        (root / f"{part}2014").mkdir()
    source = load(root, **complete("coco", {"year": 2014}))
    assert np.bincount(source.part).tolist() == [6, 30]
    assert source.roots == (root / "train2014", root / "val2014")
    refused("instances_train2017.json", "no such file", lambda: load(root, **complete("coco", {})))


def test_one_annotation_file(root):
    load, complete = registry.get("coco").load, registry.complete
    path = root / "annotations" / "instances_val2014.json"
    assert len(load(path, **complete("coco", {})).labels) == 30
    assert len(load(path, **complete("coco", {"keep_empty": "both"})).labels) == 32
    same = coco.load(path, keep_empty="both")
    assert (same.labels == load(path, keep_empty="both").labels).all()


def test_coco_with_crlf_and_bom(root):
    path = root / "annotations" / "instances_val2014.json"
    labels = coco.load(path).labels
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert (coco.load(path).labels == labels).all()
