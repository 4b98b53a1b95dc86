import numpy as np
import pytest

from splits.labels import SparseLabels
from splits.sources import openimages

HEADER = "ImageID,Source,LabelName,Confidence\n"
NAMES = {
    "train": "train-annotations-human-imagelabels-boxable.csv",
    "test": "test-annotations-human-imagelabels-boxable.csv",
    "classes": "class-descriptions-boxable.csv",
}
TRAIN = "b1,verification,/m/2,1\nb1,verification,/m/1,0\na0,crowdsource-verification,/m/3,1\n"


@pytest.fixture
def root(put, tmp_path):
    put(NAMES["classes"], '/m/1,Cat\n/m/2,"Dog, small"\n/m/3,Cat\n')
    put(NAMES["train"], HEADER + TRAIN)
    put(NAMES["test"], HEADER + "c2,verification,/m/1,0\n")
    return tmp_path


def test_labels(root):
    source = openimages.load(root)
    assert isinstance(source.labels, SparseLabels)
    assert source.labels.fill == -1
    assert source.labels.to_dense().tolist() == [[0, 1, -1], [-1, -1, 1], [0, -1, -1]]
    assert source.class_names == ("Cat (/m/1)", "Dog, small", "Cat (/m/3)")
    assert source.image_ids.tolist() == ["b1", "a0", "c2"]
    assert source.part.tolist() == [0, 0, 1]
    assert sorted(source.digests) == sorted(NAMES.values())


def test_parts(root, put):
    assert openimages.load(root, test="none").part is None
    put("val.csv", HEADER + "v,verification,/m/1,1\n")
    source = openimages.load(root, validation="val.csv")
    assert source.image_ids.tolist() == ["b1", "a0", "v", "c2"]
    assert source.part.tolist() == [0, 0, 0, 1]


def test_crlf_bom_order_of_columns_and_blank_ends(root, put):
    text = (
        "Confidence,LabelName,ImageID,Source\r\n1,/m/2,b1,x\r\n0,/m/1,b1,x\r\n1.0,/m/3,a0,x\r\n\r\n"
    )
    put(NAMES["train"], "\ufeff" + text)
    put(NAMES["classes"], "\ufeffLabelName,DisplayName\r\n/m/1,Cat\r\n/m/2,Dog\r\n/m/3,Cow\r\n")
    source = openimages.load(root)
    assert source.labels.to_dense().tolist()[:2] == [[0, 1, -1], [-1, -1, 1]]
    assert source.class_names == ("Cat", "Dog", "Cow")


def test_a_shorter_class_list(root, put, refused):
    put("few.csv", "/m/1,Cat\n/m/9,Owl\n")
    refused("boxable.csv:2", "'/m/2' is not in", lambda: openimages.load(root, classes="few.csv"))
    source = openimages.load(root, classes="few.csv", other_classes="drop")
    assert source.image_ids.tolist() == ["b1", "c2"]  # a0 has no label of these classes
    assert source.labels.to_dense().tolist() == [[0, -1], [0, -1]]


def test_repeated_rows(root, put, refused):
    put(NAMES["train"], HEADER + TRAIN + "b1,x,/m/2,1\n")
    refused(
        "boxable.csv:5", "line 2 has the same label (repeated=merge", lambda: openimages.load(root)
    )
    source = openimages.load(root, repeated="merge")
    assert source.labels.to_dense().tolist() == [[0, 1, -1], [-1, -1, 1], [0, -1, -1]]
    put(NAMES["train"], HEADER + TRAIN + "b1,x,/m/2,0\n")
    refused(
        "boxable.csv:5",
        "line 2 has the opposite label",
        lambda: openimages.load(root, repeated="merge"),
    )


def test_fractions(root, put, refused):
    put(NAMES["train"], HEADER + "b,machine,/m/1,0.7\nb,machine,/m/2,0.4\nb,machine,/m/3,0\n")
    refused("boxable.csv:2", "threshold=T accepts the fractions", lambda: openimages.load(root))
    source = openimages.load(root, threshold=0.5)
    assert source.labels.to_dense()[0].tolist() == [1, -1, 0]


@pytest.mark.parametrize(
    ("old", "new", "place", "text"),
    [
        ("a0,crowdsource-verification,/m/3,1\n", "a0,crowdso", "boxable.csv:4", "class '' is not"),
        ("/m/3,1\n", "/m/3,", "boxable.csv:4", "not ''"),
        ("/m/3,1\n", "/m/4,1\n", "boxable.csv:4", "class '/m/4' is not in the class list"),
        ("/m/3,1\n", "/m/3,2\n", "boxable.csv:4", "not '2'"),
        ("a0,", ",", "boxable.csv:4", "image id is empty"),
        ("/m/3,1\n", "/m/3,1,0\n", "boxable.csv:4", "more columns than the header"),
        (TRAIN, "a,x,/m/1,1,0\nb,x,/m/1,1,0\n", "boxable.csv:2", "more columns than the header"),
        ("LabelName", "Label", "boxable.csv:1", "must have one column 'LabelName'"),
        ("Confidence", "Confidence ", "boxable.csv:1", "must have one column 'Confidence'"),
        ("Source", "ImageID", "boxable.csv:1", "must have one column 'ImageID'"),
        (HEADER + TRAIN, "", "boxable.csv:1", "must have one column 'ImageID'"),
        (TRAIN, "", "boxable.csv", "has no label of a listed class"),
        ("a0,crowd", 'a0,"crowd', "boxable.csv", "truncated"),
        ("a0", "c2", "boxable.csv:2", "image 'c2' is also in an earlier file"),
    ],
)
def test_malformed_labels(root, change, refused, old, new, place, text):
    change(NAMES["train"], old, new)
    refused(place, text, lambda: openimages.load(root))


def test_trailing_commas_and_other_line_ends(root, put):
    expected = openimages.load(root).labels.to_dense()
    for text in (TRAIN.replace("\n", ",\n"), (HEADER + TRAIN).replace("\n", "\r")):
        put(NAMES["train"], text if text.startswith("Image") else HEADER + text)
        assert (openimages.load(root).labels.to_dense() == expected).all()


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_the_threshold_is_checked(root, refused, threshold):
    refused("threshold", "must be in [0, 1]", lambda: openimages.load(root, threshold=threshold))


def test_invalid_utf_8(root, put, refused):
    put(NAMES["train"], (HEADER + TRAIN).encode() + b"\xff\xff,x,/m/1,1\n")
    refused("boxable.csv:5", "not UTF-8", lambda: openimages.load(root))


@pytest.mark.parametrize(
    ("content", "place", "text"),
    [
        ("/m/1,Cat\n/m/1,Dog\n", "boxable.csv:2", "class '/m/1' occurs twice, first in line 1"),
        ("/m/1,Cat\n/m/2\n", "boxable.csv:2", "a class id and a name"),
        ("LabelName,DisplayName\n", "boxable.csv", "is empty"),
    ],
)
def test_malformed_classes(root, put, refused, content, place, text):
    put(NAMES["classes"], content)
    refused(place, text, lambda: openimages.load(root))


def test_many_chunks_equal_one(root, put, monkeypatch):
    rows = [(i, c, (i * c) % 2) for i in range(40) for c in (1, 2, 3) if (i + c) % 3]
    put(NAMES["train"], HEADER + "".join(f"i{i},x,/m/{c},{v}\n" for i, c, v in rows))
    one_chunk = openimages.load(root)
    monkeypatch.setattr(openimages, "_CHUNK", 7)
    many_chunks = openimages.load(root)
    assert (one_chunk.labels.to_dense() == many_chunks.labels.to_dense()).all()
    assert one_chunk.image_ids.tolist() == many_chunks.image_ids.tolist()
    dense = np.full((41, 3), -1)
    dense[-1, 0] = 0
    for i, c, v in rows:
        dense[i, c - 1] = v
    assert (one_chunk.labels.to_dense() == dense).all()


def test_a_late_error_names_its_line(root, put, monkeypatch, refused):
    monkeypatch.setattr(openimages, "_CHUNK", 7)
    rows = "".join(f"i{i},x,/m/1,1\n" for i in range(30))
    put(NAMES["train"], HEADER + rows + "j,x,/m/8,1\n")
    refused("boxable.csv:32", "'/m/8'", lambda: openimages.load(root))
    put(NAMES["train"], HEADER + rows + "i3,x,/m/1,1\n")
    refused("boxable.csv:32", "line 5 has the same label", lambda: openimages.load(root))


def test_official_files(data):
    """There are 19,994 classes; the first four rows are one image, verified 0, 1, 0, 0."""
    rows = data("fixtures/oidv6-human-imagelabels_first4.csv")
    source = openimages.load(
        rows.parent, train=rows.name, test="none", classes="oidv6-class-descriptions.csv"
    )
    assert source.labels.shape == (1, 19994)
    assert source.image_ids.tolist() == ["000002b66c9c498e"]
    assert source.labels.counts(1).sum() == 1
    assert source.labels.counts(0).sum() == 3
    assert "Ball" not in source.class_names  # two classes have this name
