import numpy as np
import pytest

from splits.sources import arrays
from splits.sources import list as lists


def test_numbers(put, tmp_path):
    train = put("train.txt", "\ufeffval/a.jpg, 0 2\r\nb.jpg,1\r\n\r\nc.jpg\r\n")
    test = put("test.txt", "d.jpg 3\n")
    (tmp_path / "images").mkdir()
    source = lists.load(train, test=str(test), images=str(tmp_path / "images"))
    assert source.labels.tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert source.image_ids.tolist() == ["val/a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert source.class_names == ("class_0", "class_1", "class_2", "class_3")
    assert source.part.tolist() == [0, 0, 0, 1]
    assert source.roots == (tmp_path / "images",)
    assert sorted(source.digests) == ["test.txt", "train.txt"]


def test_flags_and_names(put):
    names = put("classes.txt", "cat\ndog\ncow\n")
    path = put("list.txt", "a 1 0 1\nb 0 0 0\n")
    source = lists.load(path, labels="flags", classes=str(names))
    assert source.labels.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert source.class_names == ("cat", "dog", "cow")
    assert source.part is None
    path = put("list.txt", "a 1 3\nb 2\n")
    assert lists.load(path, labels_from=1).labels.tolist() == [[1, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize(
    ("content", "options", "place", "text"),
    [
        ("a 0\nb x\n", {}, "list.txt:2", "whole number, not 'x'"),
        ("a 0\na 1\n", {}, "list.txt:2", "'a' occurs twice, first in line 1"),
        ("a 0 0\n", {}, "list.txt:1", "class 0 occurs twice"),
        ("a 0\n", {"labels_from": 1}, "list.txt:1", "classes have the numbers 1 to 4194304."),
        ("a 0\nb 9\n", {"classes": "classes.txt"}, "list.txt:2", "classes have the numbers 0 to 1"),
        ("a 0 1\nb 0\n", {"labels": "flags"}, "list.txt:2", "has 1 labels; there are 2"),
        ("a 0 1\nb 0 2\n", {"labels": "flags"}, "list.txt:2", "0 or 1, not '2'"),
        ("a\nb\n", {}, "list.txt", "no line has a label"),
        ("a 0\nb 99999999999\n", {}, "list.txt:2", "class 99999999999 is unknown"),
        (f"a {'9' * 5000}\n", {}, "list.txt:1", "a whole number of at most 18 digits, not '9999"),
        ("", {}, "list.txt", "is empty"),
        ("a 0\n", {"images": "nowhere"}, "nowhere", "no such folder"),
        ("a 0\n", {"test": "other.txt"}, "other.txt:2", "also in"),
    ],
)
def test_malformed(put, tmp_path, refused, content, options, place, text):
    path = put("list.txt", content)
    put("classes.txt", "cat\ndog\n")
    put("other.txt", "b 0\na 0\n")
    options = {k: str(tmp_path / v) if str(v).endswith("txt") else v for k, v in options.items()}
    refused(place, text, lambda: lists.load(path, **options))


def test_a_published_matrix_of_the_robust_losses(data, put):
    """The "40 %" list of the robust losses: 82081 images, 96251 positives."""
    matrix = arrays.load(data("labels/coco2014_train_partial.npz"), labels="p40").labels
    rows = [" ".join(map(str, np.flatnonzero(row))) for row in matrix]
    path = put("list.txt", "".join(f"{i}.jpg, {row}\n" for i, row in enumerate(rows)))
    source = lists.load(path)
    assert (source.labels == matrix).all()
    assert source.labels.sum() == 96251


def test_digests_do_not_name_absolute_paths(put):
    train = put("a/list.txt", "a.jpg 0\n")
    test, names = put("b/list.txt", "b.jpg 0\n"), put("c/names.txt", "cat\n")
    source = lists.load(train, test=str(test), classes=str(names))
    assert list(source.digests) == ["list.txt", "b/list.txt", "names.txt"]
