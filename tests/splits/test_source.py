import hashlib
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

from splits.errors import InputError
from splits.labels import SparseLabels
from splits.source import Source, digest_file


@pytest.fixture
def make():
    def build(**changes):
        fields = dict(
            name="toy",
            class_names=("cat", "dog"),
            image_ids=np.array(["a", "b", "c"]),
            labels=np.array([[1, 0], [0, -1], [1, 1]], np.int8),
            part=np.array([0, 0, 1], np.uint8),
            paths=np.array(["a.jpg", "b.jpg", "c.jpg"]),
            roots=(Path("train"), Path("test")),
            features=np.zeros((3, 1, 2), np.float32),
            digests={},
        )
        return Source(**{**fields, **changes})

    return build


def test_a_source_is_frozen(make):
    source = make()
    assert source.class_names == ("cat", "dog")
    with pytest.raises(FrozenInstanceError):
        source.name = "other"


def test_optional_fields(make):
    source = make(part=None, paths=None, roots=(), features=None)
    assert source.part is None and source.features is None


def test_sparse_labels(make):
    stored = SparseLabels.from_dense(np.array([[1, 0], [0, -1], [1, 1]], np.int8), -1)
    assert make(labels=stored).labels is stored
    with pytest.raises(InputError, match=r"image ids must have .* 2 rows"):
        make(labels=stored.rows(np.arange(2)))
    with pytest.raises(InputError, match=r"the set is empty \(0 images, 2 classes\)"):
        make(labels=stored.rows(np.arange(0)))


BAD_FEATURES = np.zeros((3, 1, 2), np.float32)
BAD_FEATURES[1, 0, 1] = np.nan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(labels=np.zeros((3, 2))), r"labels must be an int8 matrix \[N, C\], not float64"),
        (dict(labels=np.zeros(3, np.int8)), r"not int8 of shape \(3,\)"),
        (dict(labels=np.zeros((0, 2), np.int8)), r"the set is empty \(0 images, 2 classes\)"),
        (dict(labels=np.zeros((3, 0), np.int8)), r"the set is empty \(3 images, 0 classes\)"),
        (dict(class_names=("cat",)), "1 class names for 2 columns"),
        (dict(class_names=("cat", "cat")), "class name 'cat' occurs twice, at positions 0 and 1"),
        (dict(class_names=("cat", " ")), "class name number 1 is empty"),
        (dict(class_names=("cat", "\ud800")), "is not valid Unicode text"),
        (dict(image_ids=np.array(["a", "b", "a"])), "image id 'a' occurs twice, at positions 0"),
        (dict(image_ids=np.array(["a", "b"])), "image ids must have type U, 1 dim.* and 3 rows"),
        (dict(image_ids=np.arange(3)), "image ids must have type U, .* not int64"),
        (dict(part=np.array([0, 1], np.uint8)), r"part must have type u1.* \(2,\)"),
        (dict(part=np.array([0, 1, 3], np.uint8)), r"part of image c \(row 2\) is 3; it must"),
        (dict(paths=np.array(["a.jpg"])), "paths must have type U"),
        (dict(paths=np.array(["a", "\ud800", "c"])), "path '.ud800' is not valid Unicode text"),
        (dict(features=np.zeros((3, 2), np.float32)), r"features must .* 3 dim.* shape \(3, 2\)"),
        (dict(features=np.zeros((3, 1, 2))), "features must have type f4, .* not float64"),
        (dict(features=np.zeros((3, 1, 0), np.float32)), r"shape \(3, 1, 0\) are empty"),
        (dict(features=BAD_FEATURES), r"features of image b \(row 1\) contain a number that"),
        (dict(roots=(Path("a"),) * 3), "there are 3 image folders; there must be one"),
        (dict(part=None), "there are 2 image folders"),
    ],
)
def test_everything_is_checked(make, changes, message):
    with pytest.raises(InputError, match=message) as error:
        make(**changes)
    assert str(error.value).startswith("toy: ")


def test_a_wrong_label_is_named(make):
    labels = np.array([[1, 0], [0, 3], [1, 1]], np.int8)
    with pytest.raises(InputError) as error:
        make(labels=labels)
    assert str(error.value) == (
        "toy: the label of image b (row 1) for class 'dog' is 3; a label must be 1 (positive), 0 "
        "(negative) or -1 (unknown)."
    )


def test_features_are_checked_in_every_block(make, monkeypatch):
    monkeypatch.setattr("splits.source._ROWS_PER_CHECK", 1)
    with pytest.raises(InputError, match=r"image b \(row 1\)"):
        make(features=BAD_FEATURES)


def test_digest_file(tmp_path):
    (tmp_path / "f").write_bytes(b"abc" * 1000)
    assert digest_file(tmp_path / "f") == hashlib.sha256(b"abc" * 1000).hexdigest()
