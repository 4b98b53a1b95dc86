import shutil
from pathlib import Path

import numpy as np
import pytest

from splits.errors import InputError
from splits.sources import arrays, voc

LISTS = {
    "cat_trainval": "000001  1\n000002  0\n000003 -1\n",
    "dog_trainval": "000001 -1\n000002  1\n000003  0\n",
    "cat_test": "000004 -1\n000005  1\n",
    "dog_test": "000004  0\n000005 -1\n",
    "trainval": "000001\n000002\n000003\n",
    "test": "000004\n000005\n",
}
OBJECT = "<object><name>{}</name>{}<part><name>head</name></part></object>\n"
OBJECTS = {
    "000001": [("cat", 0), ("cat", 1)],
    "000002": [("cat", 1), ("dog", 0)],
    "000003": [("dog", 1)],
    "000004": [("dog", 1)],
    "000005": [("cat", None)],
}


@pytest.fixture
def root(put, tmp_path):
    for name, content in LISTS.items():
        put(f"ImageSets/Main/{name}.txt", content)
    for image, objects in OBJECTS.items():
        text = "".join(
            OBJECT.format(name, "" if hard is None else f"<difficult>{hard}</difficult>")
            for name, hard in objects
        )
        put(f"Annotations/{image}.xml", f"<annotation>\n<size/>\n{text}</annotation>\n")
    return tmp_path


@pytest.mark.parametrize("labels", ["lists", "xml"])
@pytest.mark.parametrize(("difficult", "code"), [("positive", 1), ("negative", 0), ("unknown", -1)])
def test_difficult(root, labels, difficult, code):
    source = voc.load(root, labels=labels, difficult=difficult)
    assert source.labels.tolist() == [[1, 0], [code, 1], [0, code], [0, code], [1, 0]]
    assert source.labels.dtype == np.int8
    assert source.class_names == ("cat", "dog")
    assert source.image_ids.tolist() == ["000001", "000002", "000003", "000004", "000005"]
    assert source.part.tolist() == [0, 0, 0, 1, 1]
    assert source.paths[4] == "JPEGImages/000005.jpg"
    assert source.roots == ()


def test_files_that_macos_adds_are_ignored(root, put):
    put("ImageSets/Main/._cat_trainval.txt", b"\x00\x05\x16\x07\xff")
    assert voc.load(root).class_names == ("cat", "dog")


def test_sets_and_folders(root, put):
    (root / "JPEGImages").mkdir()
    for name in ("cat", "dog"):
        put(f"ImageSets/Main/{name}_train.txt", "000001 1\n")
        put(f"ImageSets/Main/{name}_val.txt", "000003 -1\n")
        put(f"other/ImageSets/Main/{name}_test.txt", "9 1\n")
    (root / "other" / "JPEGImages").mkdir()
    assert voc.load(root, test="none").part is None
    source = voc.load(root, train="train", test="val")
    assert source.image_ids.tolist() == ["000001", "000003"]
    source = voc.load(root, test_root=str(root / "other"))
    assert source.roots == (root, root / "other")
    assert source.image_ids.tolist() == ["000001", "000002", "000003", "9"]
    assert f"{root.name}/ImageSets/Main/cat_trainval.txt" in source.digests
    assert "other/ImageSets/Main/cat_test.txt" in source.digests


def test_crlf_bom_and_an_empty_class(root, put):
    text = LISTS["cat_trainval"].replace("\n", "\r\n")
    put("ImageSets/Main/cat_trainval.txt", "\ufeff" + text)
    put("ImageSets/Main/dog_trainval.txt", "000001 -1\n000002 -1\n000003 -1\n")
    assert voc.load(root, test="none").labels.tolist() == [[1, 0], [1, 0], [0, 0]]


@pytest.mark.parametrize(
    ("old", "new", "place", "text"),
    [
        ("000002  1\n000003  0\n", "000002  1\n000003 ", "dog_trainval.txt:3", "not '000003'"),
        ("000002  1", "000002  2", "dog_trainval.txt:2", "1, 0 (difficult) or -1"),
        ("000002  1", "000001  1", "dog_trainval.txt:2", "'000001' occurs twice, first in line 1"),
        ("000002  1", "000007  1", "dog_trainval.txt:2", "'000007', but '000002' in"),
        ("000003  0\n", "", "dog_trainval.txt:2", "ends after 2 images"),
        ("000003  0\n", "000003  0\n4 1\n", "cat_trainval.txt:3", "ends after 3 images"),
        ("000002  1", "000002  1 7", "dog_trainval.txt:2", "a line must be an image id and"),
    ],
)
def test_malformed_lists(root, change, refused, old, new, place, text):
    change("ImageSets/Main/dog_trainval.txt", old, new)
    refused(place, text, lambda: voc.load(root))


def test_missing_and_wrong_files(root, put, refused, tmp_path):
    put("ImageSets/Main/cat_test.txt", "000001 1\n")
    put("ImageSets/Main/dog_test.txt", "000001 1\n")
    refused("cat_test.txt:1", "also in", lambda: voc.load(root))
    put("ImageSets/Main/cat_trainval.txt", b"000001 1\n\xff\xfe 1\n")
    refused("cat_trainval.txt:2", "not UTF-8", lambda: voc.load(root))
    put("ImageSets/Main/cat_trainval.txt", "")
    refused("cat_trainval.txt", "is empty", lambda: voc.load(root))
    (root / "ImageSets/Main/cat_trainval.txt").unlink()
    refused("cat_trainval.txt", "there is no such file", lambda: voc.load(root))
    put("empty/x", "")
    refused("empty/ImageSets", "no list <class>", lambda: voc.load(tmp_path / "empty"))
    put("other/ImageSets/Main/cow_test.txt", "8 1\n")
    refused("other", "class 'cat'", lambda: voc.load(root, test_root=str(tmp_path / "other")))


@pytest.mark.parametrize(
    ("old", "new", "place", "text"),
    [
        ("<name>dog", "<name>cow", "000002.xml:4", "'cow' is not one of the 2 classes"),
        ("<difficult>0", "<difficult>2", "000002.xml:4", "0 or 1, not '2'"),
        ("</annotation>\n", "", "000002.xml:5", "not XML, or it is truncated"),
        ("<name>dog</name>", "", "000002.xml:4", "needs one <name>"),
        ("<annotation>", "<!DOCTYPE a><annotation>", "000002.xml:1", "document type"),
        ("annotation>", "annotatio>", "000002.xml:5", "not XML"),
    ],
)
def test_malformed_annotations(root, change, refused, old, new, place, text):
    change("Annotations/000002.xml", old, new)
    refused(place, text, lambda: voc.load(root, labels="xml"))


def test_an_image_without_annotations(root, refused):
    (root / "Annotations" / "000003.xml").unlink()
    refused("trainval.txt:3", "000003.xml", lambda: voc.load(root, labels="xml"))


def test_twenty_classes_without_lists(put, tmp_path):
    put("ImageSets/Main/train.txt", "1\n")
    put("Annotations/1.xml", f"<annotation>{OBJECT.format('sofa', '')}</annotation>")
    source = voc.load(tmp_path, labels="xml", train="train", test="none")
    assert len(source.class_names) == 20
    assert source.class_names[int(source.labels[0].argmax())] == "sofa"
    with pytest.raises(InputError, match=r"no list <class>_<set>\.txt"):
        voc.load(tmp_path, train="train", test="none")


@pytest.fixture
def official(data, tmp_path):
    first = data("fixtures/VOC2007_ImageSets_Main/aeroplane_trainval.txt")
    shutil.copytree(first.parent, tmp_path / "ImageSets" / "Main")
    return tmp_path


def test_the_official_lists(official, data):
    """5011 x 20, 1.458 labels per image and counts of 2008 to 96 with only ` 1` as positive."""
    source = voc.load(official, test="none", difficult="negative")
    counts = source.labels.sum(0)
    assert source.labels.shape == (5011, 20)
    assert round(source.labels.sum() / 5011, 3) == 1.458
    assert (counts.max(), counts.min()) == (2008, 96)
    matrix = arrays.load(
        data("labels/voc2007_trainval.npz"), labels="Y3", minus_one="negative", zero="positive"
    )
    lenient = voc.load(official, test="none")
    assert (lenient.labels == matrix.labels).all()
    assert lenient.class_names == matrix.class_names
    assert (lenient.image_ids == matrix.image_ids).all()


def test_voc_lt_counts_difficult_objects(data, tmp_path):
    """Lists with VOC-LT's test labels give VOC-LT only with difficult=positive."""
    published = arrays.load(data("labels/voc_lt.npz"))
    rows = published.part == 1
    labels, ids = published.labels[rows], published.image_ids[rows]
    folder = tmp_path / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    for column, name in enumerate(published.class_names):
        # The first positive of each class is written as difficult.
        flags = np.where(labels[:, column] == 1, " 1", "-1")
        flags[int(labels[:, column].argmax())] = " 0"
        text = "".join(f"{image} {flag}\n" for image, flag in zip(ids, flags, strict=True))
        (folder / f"{name}_trainval.txt").write_text(text)
    assert (voc.load(tmp_path, test="none").labels == labels).all()
    strict = voc.load(tmp_path, test="none", difficult="negative").labels
    assert labels.sum() - strict.sum() == 20


def test_the_official_annotation(data, put, tmp_path):
    put("Annotations/000001.xml", data("fixtures/VOC2007_Annotations_000001.xml").read_bytes())
    put("ImageSets/Main/trainval.txt", "000001\n")
    source = voc.load(tmp_path, labels="xml", test="none")
    assert [source.class_names[c] for c in np.flatnonzero(source.labels[0])] == ["dog", "person"]


@pytest.mark.parametrize(
    ("folder", "name"),
    [("VOC2007", "voc2007"), ("VOC2012", "voc2012"), ("voc2012", "voc2012"), ("VOC-mine", "voc")],
)
def test_the_default_name_is_that_of_the_folder(tmp_path, put, monkeypatch, folder, name):
    put(f"{folder}/ImageSets/Main/cat_trainval.txt", "000001 1\n")
    assert voc.load(tmp_path / folder, test="none").name == name
    assert voc.load(tmp_path / folder, test="none", name="mine").name == "mine"
    monkeypatch.chdir(tmp_path / folder)
    assert voc.load(Path(), test="none").name == name
