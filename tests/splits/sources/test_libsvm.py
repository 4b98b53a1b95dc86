import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splits.sources import libsvm

TEXT = "1,3 1:0.2 3:1\n\n2:-4 # no label\n0\n"


def test_lines(put):
    path = put("a.svm", TEXT)
    source = libsvm.load(path)
    assert source.labels.tolist() == [[0, 1, 0, 1], [0] * 4, [0] * 4, [1, 0, 0, 0]]
    expected = np.array([[0.2, 0, 1], [0, 0, 0], [0, -4, 0], [0, 0, 0]], np.float32)
    assert (source.features[:, 0] == expected).all()
    assert source.features.dtype == np.float32
    assert source.image_ids.tolist() == ["0", "1", "2", "3"]
    assert source.part is None and source.name == "a"


def test_options(put):
    path = put("a.svm", "\ufeff# made by hand\r\n2 0:5\r\n1,2 1:7\r\n\r\n")
    classes = put("classes.txt", "cat\ndog\nowl\n")
    test = put("b.svm", "3 2:1\n")
    source = libsvm.load(path, labels_from=1, features_from=0, test=str(test), classes=str(classes))
    assert source.class_names == ("cat", "dog", "owl")
    assert source.labels.tolist() == [[0, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert source.features[:, 0].tolist() == [[5, 0, 0], [0, 7, 0], [0, 0, 1]]
    assert source.part.tolist() == [0, 0, 1]
    assert libsvm.load(path, features="none").features is None


@pytest.mark.parametrize(
    ("content", "options", "place", "text"),
    [
        ("1 1:2\n1 2", {}, "a.svm:2", "must be NUMBER:VALUE, not '2'"),
        ("1 1:2\n1 2:", {}, "a.svm:2", "NUMBER:VALUE, not '2:'"),
        ("1 1:x\n", {}, "a.svm:1", "not '1:x'"),
        ("1 y:1\n", {}, "a.svm:1", "whole number, not 'y'"),
        ("1,x 1:1\n", {}, "a.svm:1", "whole number, not 'x'"),
        ("-1 1:1\n", {}, "a.svm:1", "whole number, not '-1'"),
        ("1,1 1:1\n", {}, "a.svm:1", "a class occurs twice in '1,1'"),
        ("1 1:1 1:2\n", {}, "a.svm:1", "feature 1 occurs twice"),
        ("1 0:1\n", {}, "a.svm:1", "has the number 0, but features_from is 1"),
        ("0 1:1\n", {"labels_from": 1}, "a.svm:1", "has the number 0, but labels_from is 1"),
        ("1 1:1\n5 1:1\n", {"classes": "c"}, "a.svm:2", "class 5 is not in the list of 2"),
        ("1:1\n2:1\n", {}, "a.svm", "no line has a label"),
        ("1\n", {}, "a.svm", "no line has a feature; features=none reads"),
        ("1 1:1\n99999999999 1:1\n", {}, "a.svm:2", "99999999999 is not a class of any set (0 to"),
        (f"{'9' * 5000} 1:1\n", {}, "a.svm:1", "a whole number of at most 18 digits, not '9999"),
        (f"1 {10**17}:1\n", {}, "a.svm", f"memory for 1 images with {10**17} features"),
        ("\n\n", {}, "a.svm", "is empty"),
        ("1 1:nan\n", {}, "a", "NaN"),
        ("1 1:1e99\n", {}, "a", "too large"),
    ],
)
def test_malformed(put, refused, content, options, place, text):
    path = put("a.svm", content)
    if "classes" in options:
        options = {"classes": str(put("classes.txt", "cat\ndog\n"))}
    refused(place, text, lambda: libsvm.load(path, **options))


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from([0, 1]), st.sampled_from([0, 1]))
def test_round_trip(tmp_path_factory, data, labels_from, features_from):
    rows = data.draw(st.integers(1, 6))
    shape = st.tuples(st.just(rows), st.integers(1, 5))
    labels = np.zeros(data.draw(shape), np.int8)
    features = np.zeros(data.draw(shape), np.float32)
    numbers = st.floats(-1e3, 1e3, width=32)
    for matrix, values in ((labels, st.sampled_from([0, 1])), (features, numbers)):
        for index in np.ndindex(*matrix.shape):
            matrix[index] = data.draw(values)
    labels[0, -1] = features[0, -1] = 1  # the last column must not be empty
    lines = [
        ",".join(str(c + labels_from) for c in np.flatnonzero(labels[i]))
        + "".join(f" {d + features_from}:{features[i, d]!r}" for d in range(features.shape[1]))
        for i in range(rows)
    ]
    path = tmp_path_factory.mktemp("svm") / "a.svm"
    path.write_text(
        "".join(line.replace("np.float32(", "").replace(")", "") + "\n" for line in lines)
    )
    source = libsvm.load(path, labels_from=labels_from, features_from=features_from)
    assert (source.labels == labels).all()
    assert (source.features[:, 0] == features).all()
