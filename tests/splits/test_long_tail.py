import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchkit.base.random import image_class_uniform, python_sampler
from splits import long_tail
from splits.errors import InputError
from splits.labels import SparseLabels
from splits.sources import arrays

VOC_TARGETS = [800, 529, 359, 248, 175, 125, 91, 67, 50, 38, 29, 23, 18, 14, 11, 9, 7, 6, 5, 4]
PLT_TARGETS = [1400, 1020, 749, 554, 413, 310, 234, 178, 136, 104]
PLT_TARGETS += [81, 63, 49, 38, 30, 24, 19, 15, 12, 10]
VOC_ORDER = [14, 8, 6, 10, 4, 15, 17, 19, 11, 1, 7, 13, 5, 3, 12, 2, 18, 0, 16, 9]
VOC_LT = [6, 34, 8, 14, 154, 17, 249, 29, 479, 4, 240, 48, 11, 20, 775, 100, 5, 82, 7, 64]


def test_published_targets():
    assert long_tail.pareto_targets(20).tolist() == VOC_TARGETS
    assert long_tail.pareto_targets(20, b=12, maximum=1400).tolist() == PLT_TARGETS
    coco = long_tail.pareto_targets(80, b=10, maximum=1400)
    assert (coco[0], coco[-1]) == (1400, 9)


def test_target_edges():
    assert long_tail.pareto_targets(1).tolist() == [800]
    assert long_tail.pareto_targets(3, maximum=5, minimum=5).tolist() == [5, 5, 5]
    assert (np.diff(long_tail.pareto_targets(300, b=2.0, maximum=9000)) <= 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(num_classes=0), "at least one class, not 0"),
        (dict(b=0), "b must be a number above 0, not 0"),
        (dict(b=float("nan")), "b must be a number above 0, not nan"),
        (dict(b=1e-9), "b = 1e-09 is too small"),
        (dict(minimum=-1), "minimum -1 and maximum 800"),
        (dict(minimum=900), "minimum 900 and maximum 800"),
        (dict(maximum=10**25), f"<= {10**15}, not minimum 1 and maximum 10000"),
        (dict(tail_quantile=1.0), r"quantile must be in \(0, 1\), not 1.0"),
    ],
)
def test_target_parameters_are_checked(changes, message):
    with pytest.raises(InputError, match=message):
        long_tail.pareto_targets(**{"num_classes": 3, **changes})


def test_visit_order_by_hand():
    # Counts: class 0 2, class 1 3, class 2 0, class 3 1. P(1 given 0) = 1/2, P(0 given 1) = 1/3,
    # P(1 given 3) = 1: scores 4/3, 5/2, 0, 4/3. The tie of 0 and 3 goes by index.
    labels = np.array([[1, 1, 0, 0], [1, 0, -1, 0], [0, 1, 0, 1], [0, 1, 0, 0]], np.int8)
    assert long_tail.visit_order(labels).tolist() == [1, 0, 3, 2]
    labels[2, 1], labels[3, 3] = 0, 0  # class 3 is alone now: scores 1 + 1/2, 1 + 1/2, 0, 1
    assert long_tail.visit_order(labels).tolist() == [0, 1, 3, 2]


@pytest.fixture(scope="module")
def voc(data):
    return arrays.load(data("labels/voc2012_trainval.npz"))


def test_visit_order_on_voc(voc):
    assert long_tail.visit_order(voc.labels).tolist() == VOC_ORDER


def test_dbl_gives_the_published_voc_list(voc, data):
    published = arrays.load(data("labels/voc_lt.npz"))
    targets = long_tail.pareto_targets(20)
    rows = long_tail.sample_dbl(voc.labels, targets, python_sampler(0), cap=False)
    assert len(rows) == 1142
    assert set(voc.image_ids[rows]) == set(published.image_ids[published.part == 0])
    assert long_tail.achieved(voc.labels, rows).tolist() == VOC_LT


def test_dbl_gives_the_size_of_plt_voc(voc):
    targets = long_tail.pareto_targets(20, b=12, maximum=1400)
    rows = long_tail.sample_dbl(voc.labels, targets, python_sampler(0), cap=False)
    assert len(rows) == 2569
    assert (np.diff(rows) > 0).all()
    assert voc.labels[rows].any(axis=1).all()


def test_dbl_too_few_images():
    labels = np.eye(2, dtype=np.int8)
    with pytest.raises(InputError, match=r"Class 0 needs 3 more images.* target of 3, .* 1 are"):
        long_tail.sample_dbl(labels, np.array([3, 1]), python_sampler(0), cap=False)
    rows = long_tail.sample_dbl(labels, np.array([3, 1]), python_sampler(0), cap=True)
    assert rows.tolist() == [0, 1]


@pytest.mark.parametrize("targets", [[1], [1, -1], [1.0, 2.0], [[1, 2]]])
def test_targets_are_checked(targets, uniform_for):
    labels = np.eye(2, dtype=np.int8)
    u = uniform_for((2, 2))
    with pytest.raises(InputError, match="must be 2 integers >= 0, one per class"):
        long_tail.sample(labels, np.array(targets), u, u)
    with pytest.raises(InputError, match="must be 2 integers >= 0, one per class"):
        long_tail.sample_dbl(labels, np.array(targets), python_sampler(0), cap=True)


def test_sample_by_hand():
    # Class 0 (rows 0-3) is visited before class 1 (rows 0, 1, 2), by co-occurrence:
    # M = [[4, 3], [3, 3]], scores 1 + 1 and 3/4 + 1.
    labels = np.array([[1, 1], [1, 1], [1, 1], [1, 0], [0, 0]], np.int8)
    add = np.array([[0.4, 0], [0.1, 0], [0.2, 0], [0.9, 0], [0.0, 0]])
    remove = np.array([[0, 0.3], [0, 0.8], [0, 0.5], [0, 0.1], [0, 0.0]])
    draw = (lambda r, c: add[r, c]), (lambda r, c: remove[r, c])
    # Three of class 0 by the smallest add: rows 1, 2, 0; then two of class 1 go: rows 0 and 2.
    assert long_tail.sample(labels, np.array([3, 1]), *draw).tolist() == [1]
    assert long_tail.sample(labels, np.array([3, 3]), *draw).tolist() == [0, 1, 2]
    # Capped at the available images; images without labels are never drawn.
    assert long_tail.sample(labels, np.array([9, 9]), *draw).tolist() == [0, 1, 2, 3]
    assert long_tail.sample(labels, np.array([0, 0]), *draw).tolist() == []


def test_unknown_labels_are_not_positive(uniform_for):
    labels = np.array([[-1, 1], [1, -1], [-1, -1]], np.int8)
    u = uniform_for(labels.shape)
    assert long_tail.sample(labels, np.array([5, 5]), u, u).tolist() == [0, 1]
    rows = long_tail.sample_dbl(labels, np.array([5, 5]), python_sampler(0), cap=True)
    assert rows.tolist() == [0, 1]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 99), st.randoms())
def test_sample_does_not_depend_on_row_order(uniform_for, n, c, seed, shuffler):
    labels = np.array([shuffler.choices((1, 0, -1), k=c) for _ in range(n)], np.int8)
    targets = long_tail.pareto_targets(c, maximum=max(1, n // 2))
    order = np.array(shuffler.sample(range(n), n))

    def draw(ids):
        add = uniform_for((n, c), seed, "add", ids)
        remove = uniform_for((n, c), seed, "remove", ids)
        return long_tail.sample(labels[ids], targets, add, remove)

    rows = draw(np.arange(n))
    assert set(order[draw(order)]) == set(rows)
    assert (np.diff(rows) > 0).all()
    assert (labels[rows] == 1).any(axis=1).all()


def test_sample_has_a_long_tail_on_voc(voc):
    add = image_class_uniform(0, "add", voc.image_ids, voc.class_names)
    remove = image_class_uniform(0, "remove", voc.image_ids, voc.class_names)
    rows = long_tail.sample(voc.labels, long_tail.pareto_targets(20), add, remove)
    counts = long_tail.achieved(voc.labels, rows)
    # The published draw by the same rule has 1142 images and the counts VOC_LT.
    assert 1100 < len(rows) < 1180
    assert np.abs(np.log((counts + 1) / (np.array(VOC_LT) + 1))).max() < 0.7
    assert counts.min() >= 1


# ----------------------------------------------------------------------------- exponential


def test_exponential_targets_by_hand():
    targets = long_tail.exponential_targets(3, imbalance_ratio=100, maximum=800)
    assert targets.tolist() == [800, 80, 8] and targets.dtype == np.int64
    assert long_tail.exponential_targets(1).tolist() == [800]
    assert long_tail.exponential_targets(4, imbalance_ratio=1, maximum=7).tolist() == [7] * 4
    cifar = long_tail.exponential_targets(10, imbalance_ratio=100, maximum=5000)
    assert cifar.tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]  # CIFAR-10-LT


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(num_classes=0), "at least one class, not 0"),
        (dict(imbalance_ratio=0.5), "not ratio 0.5 and maximum 800"),
        (dict(imbalance_ratio=900), "not ratio 900 and maximum 800"),
        (dict(maximum=10**25), f"<= {10**15}, so that"),
        (dict(imbalance_ratio=float("nan")), "not ratio nan"),
    ],
)
def test_exponential_parameters_are_checked(changes, message):
    with pytest.raises(InputError, match=message):
        long_tail.exponential_targets(**{"num_classes": 3, **changes})


@settings(deadline=None)
@given(st.integers(2, 200), st.floats(1, 1000), st.integers(1000, 10**6))
def test_exponential_targets_decrease_by_the_ratio(classes, ratio, maximum):
    targets = long_tail.exponential_targets(classes, imbalance_ratio=ratio, maximum=maximum)
    assert targets[0] == maximum and (np.diff(targets) <= 0).all()
    assert 0 <= maximum / ratio - targets[-1] + 1e-6 < 1 + 1e-5


# ----------------------------------------------------------------------------- sparse


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40), st.integers(1, 7), st.sampled_from([0, -1]))
def test_sparse_labels_are_sampled_like_dense_ones(seed, rows, classes, fill):
    random = np.random.default_rng(seed)
    labels = random.integers(-1, 2, (rows, classes)).astype(np.int8)
    stored = SparseLabels.from_dense(labels, fill)
    targets = random.integers(0, rows + 1, classes)
    add, remove = (
        image_class_uniform(seed, stream, np.arange(rows).astype(str), list("abcdefg")[:classes])
        for stream in ("add", "remove")
    )
    assert long_tail.visit_order(stored).tolist() == long_tail.visit_order(labels).tolist()
    selected = long_tail.sample(labels, targets, add, remove)
    assert long_tail.sample(stored, targets, add, remove).tolist() == selected.tolist()
    published = [
        long_tail.sample_dbl(one, targets, python_sampler(seed), cap=True).tolist()
        for one in (labels, stored)
    ]
    assert published[0] == published[1]
    counts = long_tail.achieved(stored, selected).tolist()
    assert counts == long_tail.achieved(labels, selected).tolist()
    names = [f"class {c}" for c in range(classes)]
    one, two = (long_tail.report(m, selected, targets, names) for m in (labels, stored))
    assert one == two
    assert [entry["achieved"] for entry in one["classes"]] == counts


# ----------------------------------------------------------------------------- the report


def test_report_by_hand():
    # P(b | a) was 1/2 and is 1, P(a | b) was 2/3 and is 1; c loses its only image.
    labels = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [1, 0, -1], [0, 1, 1]], np.int8)
    report = long_tail.report(labels, np.array([0, 1]), np.array([2, 1, 3]), ["a", "b", "c"])
    assert report["classes"] == [
        {"name": "a", "target": 2, "achieved": 2, "available": 4},
        {"name": "b", "target": 1, "achieved": 2, "available": 3},
        {"name": "c", "target": 3, "achieved": 0, "available": 1},
    ]
    assert report["not_met"] == ["c"]
    # The pairs are (a, b), (a, c), (b, a) and (b, c); P(c | b) was 1/3 and is 0.
    assert report["cooccurrence_drift"] == pytest.approx((1 / 2 + 0 + 1 / 3 + 1 / 3) / 4)


def test_report_of_everything_and_of_nothing():
    labels = np.eye(3, dtype=np.int8)
    everything = long_tail.report(labels, np.arange(3), np.ones(3, int), ["a", "b", "c"])
    assert everything["not_met"] == [] and everything["cooccurrence_drift"] == 0
    nothing = long_tail.report(labels, np.arange(0), np.ones(3, int), ["a", "b", "c"])
    assert nothing["not_met"] == ["a", "b", "c"] and nothing["cooccurrence_drift"] == 0
    alone = long_tail.report(labels[:, :1], np.arange(1), np.ones(1, int), ["a"])
    assert alone["cooccurrence_drift"] == 0


def test_targets_by_rank_and_by_class():
    labels = np.array([[1, 1, 0, 0], [1, 0, -1, 0], [0, 1, 0, 1], [0, 1, 0, 0]], np.int8)
    # The classes are visited in the order 1, 0, 3, 2; see test_visit_order_by_hand.
    assert long_tail.by_class(labels, np.array([9, 7, 5, 3])).tolist() == [7, 9, 3, 5]
