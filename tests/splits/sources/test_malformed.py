"""Malformed files on the command line: they are read correctly, or refused with one sentence.

Every source is tested with the same kinds of damage. A message names the file and, for text files,
the line. Legal variants (Windows line ends, a byte order mark, a class without a positive) are
read like the original.
"""

import importlib.util
import json
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
from commands import call
from scipy.io import savemat

from benchkit.split import file as split_file
from splits.labels import dense

HUMAN = "ImageID,Source,LabelName,Confidence\n"
COCO = {
    "images": [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2, 3, 4)],
    "annotations": [
        {"id": i, "image_id": i, "category_id": 3 if i % 2 else 7} for i in (1, 2, 3, 4)
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
}
XML = (
    "<annotation>\n<object>\n<name>{}</name>\n<difficult>0</difficult>\n</object>\n</annotation>\n"
)
ARFF = "@relation r\n@attribute x numeric\n@attribute cat {0,1}\n@attribute dog {0,1}\n@data\n"
Y = np.array([[1, 0], [0, 1], [1, 1], [0, 1]], np.int8)
ARRAYS = {"Y": Y, "label_names": np.array(["cat", "dog"]), "image_ids": np.array(list("abcd"))}

# Kind -> file -> its text, or the arrays of a binary file.
TEXTS = {
    "csv": {"a.csv": "image,cat,dog\na,1,0\nb,0,1\nc,1,1\nd,0,1\n"},
    "csv long": {"a.csv": "image,label\na,cat\nb,dog\nc,cat\nd,dog\n", "names.txt": "cat\ndog\n"},
    "csv lists": {
        "a.csv": "image,label\na,cat\nb,dog\nc,cat|dog\nd,dog\n",
        "names.txt": "cat\ndog\n",
    },
    "list": {"a.txt": "a.jpg, 0\nb.jpg, 1\nc.jpg, 0 1\nd.jpg, 1\n", "names.txt": "cat\ndog\n"},
    "libsvm": {"a.svm": "0 1:0.5 2:2\n1 2:1\n0,1 1:1\n1 1:3\n", "names.txt": "cat\ndog\n"},
    "mulan": {
        "a.arff": f"{ARFF}1,1,0\n2,0,1\n3,1,1\n4,0,1\n",
        "a.xml": "<labels>\n<label name='cat'/>\n<label name='dog'/>\n</labels>\n",
    },
    "coco": {"a.json": json.dumps(COCO, indent=1)},
    "coco folder": {
        "annotations/instances_train2017.json": json.dumps(COCO, indent=1),
        "annotations/instances_val2017.json": json.dumps(
            {
                **COCO,
                "images": [{"id": 5, "file_name": "5.jpg"}],
                "annotations": [{"id": 1, "image_id": 5, "category_id": 7}],
            },
            indent=1,
        ),
    },
    "voc": {
        "ImageSets/Main/cat_trainval.txt": "1  1\n2 -1\n3  1\n",
        "ImageSets/Main/dog_trainval.txt": "1 -1\n2  1\n3  1\n",
        "ImageSets/Main/cat_test.txt": "4 -1\n",
        "ImageSets/Main/dog_test.txt": "4  1\n",
    },
    "voc xml": {
        "ImageSets/Main/trainval.txt": "1\n2\n3\n",
        "ImageSets/Main/test.txt": "4\n",
        **{f"Annotations/{i}.xml": XML.format("dog" if i % 2 else "cat") for i in (1, 2, 3, 4)},
    },
    "nus": {
        "ConceptsList/Concepts81.txt": "sky\nsea\n",
        "ImageList/TrainImagelist.txt": "a\\1.jpg\na\\2.jpg\na\\3.jpg\n",
        "ImageList/TestImagelist.txt": "a\\4.jpg\n",
        "Groundtruth/TrainTestLabels/Labels_sky_Train.txt": "1\n0\n1\n",
        "Groundtruth/TrainTestLabels/Labels_sea_Train.txt": "0\n1\n1\n",
        "Groundtruth/TrainTestLabels/Labels_sky_Test.txt": "0\n",
        "Groundtruth/TrainTestLabels/Labels_sea_Test.txt": "1\n",
    },
    "cub": {
        "images.txt": "1 a/1.jpg\n2 b/2.jpg\n3 b/3.jpg\n",
        "train_test_split.txt": "1 1\n2 1\n3 0\n",
        "attributes.txt": "1 x::y\n2 x::z\n",
        "attributes/image_attribute_labels.txt": "1 1 1 3 2.5\n1 2 0 4 1\n2 1 1 1 2\n2 2 1 1 9\n"
        "3 1 0 1 2\n3 2 1 1 2\n",
    },
    "openimages": {
        "class-descriptions-boxable.csv": '/m/1,Cat\n/m/2,"Dog, big"\n',
        "train-annotations-human-imagelabels-boxable.csv": f"{HUMAN}a,v,/m/1,1\nb,v,/m/2,0\n"
        "b,v,/m/1,1\n",
        "test-annotations-human-imagelabels-boxable.csv": f"{HUMAN}c,v,/m/2,1\nd,v,/m/1,0\n",
    },
}
BINARY = {
    "arrays": {"a.npz": ARRAYS},
    "hdf5": {"a.h5": ARRAYS},
    "mat": {"a.mat": {"Y": Y, "X": np.arange(12.0).reshape(4, 3)}},
    "parquet": {"a.parquet": {"image": list("abcd"), "cat": Y[:, 0], "dog": Y[:, 1]}},
    "nus spml": {
        "formatted_train_labels.npy": Y[:3],
        "formatted_train_images.npy": np.array(["1.jpg", "2.jpg", "3.jpg"]),
        "formatted_val_labels.npy": Y[3:],
        "formatted_val_images.npy": np.array(["4.jpg"]),
    },
}
OPTIONS = {
    "csv long": ("layout=long", "classes={}/names.txt"),
    "csv lists": ("layout=lists", "classes={}/names.txt"),
    "list": ("classes={}/names.txt",),
    "libsvm": ("classes={}/names.txt",),
    "voc xml": ("labels=xml",),
    "nus spml": ("layout=spml",),
}
FOLDERS = ("coco folder", "voc", "voc xml", "nus", "nus spml", "cub", "openimages")
needs_pyarrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed"
)


def write(path, content):
    """Write a text, bytes, or arrays in the format of the file's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str | bytes):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    elif path.suffix == ".npz":
        np.savez(path, **content)
    elif path.suffix == ".npy":
        np.save(path, content)
    elif path.suffix == ".mat":
        savemat(path, content)
    elif path.suffix == ".parquet":
        pd.DataFrame(content).to_parquet(path)
    else:
        with h5py.File(path, "w") as file:
            for key, array in content.items():
                text = array.dtype.kind == "U"
                file[key] = array.astype(h5py.string_dtype()) if text else array


@pytest.fixture
def folder(tmp_path):
    """Write the files of a kind; returns their folder."""

    def make(kind):
        for name, content in {**TEXTS, **BINARY}[kind].items():
            write(tmp_path / "set" / name, content)
        return tmp_path / "set"

    return make


def make_split(kind, root, out):
    """Exit code and messages of the command."""
    files = {**TEXTS, **BINARY}[kind]
    source = root if kind in FOLDERS else root / next(iter(files))
    options = [option.format(root) for option in OPTIONS.get(kind, ())]
    options = [argument for option in options for argument in ("--source-option", option)]
    if kind not in (*FOLDERS, "coco"):
        options += ["--test-fraction", "0.5"]  # the test part needs a negative
    result = call("make-split", f"{kind.split()[0]}:{source}", *options, "--out", out)
    return result.code, result.err


def read(out):
    """Image -> class -> label, of all parts."""
    split = split_file.read(out)
    return {
        str(image): dict(zip(split.class_names, row.tolist(), strict=True))
        for part in split.parts.values()
        for image, row in zip(part.ids, dense(part.true), strict=True)
    }


def check_refused(kind, root, out, file, text=""):
    code, err = make_split(kind, root, out)
    assert code in (1, 2), (code, err)
    assert err.startswith("error: ") and err.count("\n") == 1, err
    assert str(file) in err and text in err, err
    assert f"({root}" not in err, err
    assert "rror:" not in err.removeprefix("error: ") and "allow_pickle" not in err, err
    assert not out.exists() and not out.parent.exists()


def marked(kinds):
    return [pytest.param(k, marks=needs_pyarrow) if k == "parquet" else k for k in kinds]


def each_file(kinds):
    return [
        pytest.param(kind, name, marks=needs_pyarrow if kind == "parquet" else ())
        for kind in kinds
        for name in {**TEXTS, **BINARY}[kind]
    ]


@pytest.mark.parametrize("kind", marked([*TEXTS, *BINARY]))
def test_intact_files_are_read(kind, folder, tmp_path):
    out = tmp_path / "out" / "a.h5"
    code, err = make_split(kind, folder(kind), out)
    assert code == 0, err
    images = read(out)
    assert len(images) in (3, 4, 5)
    for labels in images.values():
        assert set(labels.values()) <= {1, 0, -1}
    assert sum(code == 1 for labels in images.values() for code in labels.values()) >= 3


@pytest.mark.parametrize(("kind", "name"), each_file(TEXTS))
def test_line_ends_and_byte_order_marks_change_nothing(kind, name, folder, tmp_path):
    root = folder(kind)
    plain, other = tmp_path / "out" / "a.h5", tmp_path / "out" / "b.h5"
    assert make_split(kind, root, plain)[0] == 0
    text = (root / name).read_bytes()
    for changed in (text.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + text):
        (root / name).write_bytes(changed)
        code, err = make_split(kind, root, other)
        assert code == 0, err
        assert read(other) == read(plain)


@pytest.mark.parametrize(("kind", "name"), each_file([*TEXTS, *BINARY]))
def test_empty_files(kind, name, folder, tmp_path):
    root = folder(kind)
    (root / name).write_bytes(b"")
    check_refused(kind, root, tmp_path / "out" / "a.h5", root / name)


@pytest.mark.parametrize(("kind", "name"), each_file([*TEXTS, *BINARY]))
def test_a_folder_in_place_of_a_file(kind, name, folder, tmp_path):
    root = folder(kind)
    (root / name).unlink()
    (root / name).mkdir()
    check_refused(kind, root, tmp_path / "out" / "a.h5", root / name, "folder")


@pytest.mark.parametrize("kind", ["voc", "nus", "nus spml", "cub", "openimages"])
def test_a_file_in_place_of_the_folder(kind, folder, tmp_path):
    root = folder(kind)
    shutil.rmtree(root)
    root.write_text("1\n")
    check_refused(kind, root, tmp_path / "out" / "a.h5", root)


@pytest.mark.parametrize(("kind", "name"), each_file([*TEXTS, *BINARY]))
def test_missing_files(kind, name, folder, tmp_path):
    root = folder(kind)
    (root / name).unlink()
    check_refused(kind, root, tmp_path / "out" / "a.h5", root / name)


@pytest.mark.parametrize(("kind", "name"), each_file(TEXTS))
def test_a_byte_that_is_not_utf_8(kind, name, folder, tmp_path):
    root = folder(kind)
    content = (root / name).read_bytes()
    middle = len(content) // 2
    (root / name).write_bytes(content[:middle] + b"\xff" + content[middle:])
    line = content[:middle].count(b"\n") + 1
    check_refused(kind, root, tmp_path / "out" / "a.h5", f"{root / name}", f":{line}")


SKY, TRAIN = "Groundtruth/TrainTestLabels/Labels_sky_Train.txt", "ImageList/TrainImagelist.txt"
CUB, HUMANS = (
    "attributes/image_attribute_labels.txt",
    "train-annotations-human-imagelabels-boxable.csv",
)
CATS = "ImageSets/Main/cat_trainval.txt"
COCO_TRAIN = "annotations/instances_train2017.json"

# Damage -> cases of kind, file, a text in it, its replacement, and a part of the message.
WRONG = {
    "truncated": [
        ("csv", "a.csv", ",1\nc,1,1\nd,0,1\n", "", "a.csv:3: the row has 2 columns"),
        ("csv long", "a.csv", ",cat\nd,dog\n", "", "a.csv:4: the row has 1 columns"),
        ("csv lists", "a.csv", ",dog\nc,cat|dog\nd,dog\n", "", "a.csv:3: the row has 1 columns"),
        (
            "libsvm",
            "a.svm",
            ":2\n1 2:1\n0,1 1:1\n1 1:3\n",
            "",
            "a.svm:1: a feature must be NUMBER:VALUE",
        ),
        ("mulan", "a.arff", ",1\n3,1,1\n4,0,1\n", "", "a.arff:7: the row has 2 values"),
        ("mulan", "a.arff", "@data\n1,1,0\n2,0,1\n3,1,1\n4,0,1\n", "", "ends without @data"),
        ("mulan", "a.xml", "</labels>\n", "", "a.xml:4: this is not XML, or it is truncated"),
        ("coco", "a.json", "]\n}", "", "not JSON, or it is truncated"),
        ("coco folder", COCO_TRAIN, "]\n}", "", "not JSON, or it is truncated"),
        ("voc", CATS, " -1\n3  1\n", "", "cat_trainval.txt:2: a line must be an image id"),
        ("voc", CATS, "3  1\n", "", "dog_trainval.txt"),
        ("voc xml", "Annotations/2.xml", "</annotation>\n", "", "2.xml:6: this is not XML"),
        ("nus", SKY, "0\n1\n", "", "the file ends after 1 labels"),
        ("nus", TRAIN, "a\\3.jpg\n", "", "ends after 3 labels, but"),
        ("cub", CUB, " 1 1 1 2\n2 2 1 1 9\n3 1 0 1 2\n3 2 1 1 2\n", "", "3 whole numbers"),
        ("cub", "train_test_split.txt", " 1\n3 0\n", "", "train_test_split.txt:2: a line must"),
        ("cub", "images.txt", " b/2.jpg\n3 b/3.jpg\n", "", "images.txt:2: a line must be the id"),
        ("cub", "attributes.txt", "2 x::z\n", "", "attribute 2 is not in attributes.txt"),
        ("openimages", HUMANS, "/m/2,0\nb,v,/m/1,1\n", "", "boxable.csv:3: "),
        ("openimages", "class-descriptions-boxable.csv", 'big"\n', "", "boxable.csv:2: "),
    ],
    "a wrong or missing column": [
        ("csv", "a.csv", "image,cat,dog", "image,cat,cat", "a.csv:1: column 'cat' occurs twice"),
        ("csv", "a.csv", "b,0,1", "b,0,1,1", "a.csv:3: the row has 4 columns, the header has 3"),
        ("csv", "a.csv", "b,0,1", "b,0,yes", "a.csv:3: 'dog' is 'yes'; a label must"),
        (
            "csv long",
            "a.csv",
            "image,label",
            "image,name",
            "a.csv:1: the header has no column 'label'",
        ),
        ("csv lists", "a.csv", "image,label", "image,name", "the header has no column 'label'"),
        (
            "csv",
            "a.csv",
            "image,cat,dog\n",
            "a,1,1\n",
            "a.csv:1: column '1' occurs twice in the header",
        ),
        ("libsvm", "a.svm", "1 2:1", "1 x:1", "a.svm:2: a feature must be a whole number, not 'x'"),
        ("mulan", "a.arff", "2,0,1", "2,0,1,1", "a.arff:7: the row has 4 values"),
        ("coco", "a.json", '"categories"', '"classes"', "it has no list 'categories'"),
        (
            "coco",
            "a.json",
            '"category_id": 7',
            '"category": 7',
            "annotation 2 has no 'category_id'",
        ),
        ("voc", CATS, "2 -1", "2 -1 1", "cat_trainval.txt:2: a line must be an image id"),
        (
            "voc xml",
            "Annotations/2.xml",
            "<name>cat</name>\n",
            "",
            "2.xml:2: this <object> needs one",
        ),
        ("nus", SKY, "0\n1\n", "0 1\n1 0\n", "sky_Train.txt:2: a line must be 0 or 1, not '0 1'"),
        ("cub", "train_test_split.txt", "2 1", "2 x", "train_test_split.txt:2: a line must"),
        (
            "openimages",
            HUMANS,
            "LabelName",
            "Label",
            "boxable.csv:1: the header must have one column",
        ),
    ],
    "an unknown class": [
        ("csv long", "a.csv", "b,dog", "b,cow", "a.csv:3: class 'cow' is not in "),
        ("csv lists", "a.csv", "b,dog", "b,dog|cow", "a.csv:3: class 'cow' is not in "),
        ("list", "a.txt", "b.jpg, 1", "b.jpg, 2", "a.txt:2: class 2 is unknown"),
        ("list", "a.txt", "b.jpg, 1", "b.jpg, dog", "a.txt:2: a class must be a whole number"),
        ("libsvm", "a.svm", "1 2:1", "2 2:1", "a.svm:2: class 2 is not in the list of 2"),
        ("mulan", "a.xml", "'dog'", "'cow'", "a.xml:3: label 'cow' is not an attribute"),
        (
            "coco",
            "a.json",
            '"category_id": 7',
            '"category_id": 9',
            "the category_id 9, which is not",
        ),
        ("voc xml", "Annotations/2.xml", "cat", "kow", "2.xml:2: 'kow' is not one of the 20"),
        ("nus", "ConceptsList/Concepts81.txt", "sea", "seas", "Labels_seas_Train.txt: there is no"),
        (
            "cub",
            CUB,
            "2 2 1 1 9",
            "2 9 1 1 9",
            "labels.txt:4: attribute 9 is not in attributes.txt",
        ),
        (
            "openimages",
            HUMANS,
            "/m/2",
            "/m/9",
            "boxable.csv:3: class '/m/9' is not in the class list",
        ),
    ],
    "a repeated image": [
        ("csv", "a.csv", "c,1,1", "a,1,1", "a.csv:4: image 'a' occurs twice, first in line 2"),
        ("csv long", "a.csv", "c,cat", "a,cat", "a.csv:4: class 'cat' occurs twice"),
        ("csv lists", "a.csv", "c,cat|dog", "a,cat|dog", "a.csv:4: image 'a' occurs twice"),
        ("list", "a.txt", "c.jpg", "a.jpg", "a.txt:3: image 'a.jpg' occurs twice, first in line 1"),
        ("coco", "a.json", '"id": 2,\n   "file', '"id": 1,\n   "file', "image id 1 occurs twice"),
        ("coco folder", COCO_TRAIN, '"id": 2,\n   "file', '"id": 1,\n   "file', "occurs twice"),
        (
            "voc",
            CATS,
            "3  1",
            "1  1",
            "cat_trainval.txt:3: image '1' occurs twice, first in line 1",
        ),
        (
            "voc xml",
            "ImageSets/Main/trainval.txt",
            "3",
            "1",
            "trainval.txt:3: image '1' occurs twice",
        ),
        ("voc xml", "ImageSets/Main/test.txt", "4", "1", "test.txt:1: image '1' is also in"),
        (
            "nus",
            TRAIN,
            "a\\3.jpg",
            "a\\1.jpg",
            "TrainImagelist.txt:3: image 'a/1.jpg' occurs twice",
        ),
        ("nus", "ImageList/TestImagelist.txt", "a\\4", "a\\1", "TestImagelist.txt:1: image"),
        (
            "cub",
            "images.txt",
            "3 b",
            "2 b",
            "images.txt:3: image '2' occurs twice, first in line 2",
        ),
        ("cub", CUB, "3 1 0", "2 1 0", "labels.txt:5: image 2 with attribute 1 occurs twice"),
        ("openimages", HUMANS, "b,v,/m/1", "a,v,/m/1", "boxable.csv:4: class '/m/1' occurs twice"),
        ("openimages", "test" + HUMANS[5:], "c,v", "a,v", "boxable.csv:2: image 'a' is also in"),
    ],
}
MALFORMED = [
    pytest.param(*case, id=f"{damage}-{case[0]}-{number}")
    for damage, cases in WRONG.items()
    for number, case in enumerate(cases)
]


@pytest.mark.parametrize(("kind", "name", "old", "new", "text"), MALFORMED)
def test_malformed_texts(kind, name, old, new, text, folder, tmp_path):
    root = folder(kind)
    content = (root / name).read_text()
    assert old in content
    (root / name).write_text(content.replace(old, new, 1))
    check_refused(kind, root, tmp_path / "out" / "a.h5", root, text)


SAME_IMAGE = np.array(["a", "b", "a", "d"])
BAD = {
    ("arrays", "a.npz", "no labels"): ({"Y": None}, "there are no labels"),
    ("arrays", "a.npz", "class"): ({"label_names": np.array(["cat"])}, "'label_names' must be"),
    ("arrays", "a.npz", "code"): ({"Y": Y + 1}, "'Y' has the label 2 at row 0, class 0"),
    ("arrays", "a.npz", "twice"): ({"image_ids": SAME_IMAGE}, "image id 'a' occurs twice, at"),
    ("hdf5", "a.h5", "no labels"): ({"Y": None}, "there are no labels"),
    ("hdf5", "a.h5", "class"): ({"label_names": np.array(["cat"])}, "'label_names' must be"),
    ("hdf5", "a.h5", "code"): ({"Y": Y + 1}, "'Y' has the label 2 at row 0, class 0"),
    ("hdf5", "a.h5", "twice"): ({"image_ids": SAME_IMAGE}, "image id 'a' occurs twice, at"),
    ("mat", "a.mat", "no labels"): ({"Y": None, "Z": Y}, "there is no variable 'Y'"),
    ("mat", "a.mat", "code"): ({"Y": Y + 1}, "has the label 2 at row 0, class 0"),
    ("parquet", "a.parquet", "code"): ({"dog": [0, 1, 7, 1]}, "a.parquet:4: 'dog' is '7'"),
    ("parquet", "a.parquet", "twice"): ({"image": list(SAME_IMAGE)}, ":4: image 'a' occurs twice"),
    ("parquet", "a.parquet", "columns"): ({"cat": None, "dog": None}, "no label column"),
}


@pytest.mark.parametrize(
    ("kind", "name", "changes", "text"),
    [
        pytest.param(
            *key[:2], *case, id="-".join(key), marks=needs_pyarrow if key[0] == "parquet" else ()
        )
        for key, case in BAD.items()
    ],
)
def test_malformed_arrays(kind, name, changes, text, folder, tmp_path):
    root = folder(kind)
    content = {**BINARY[kind][name], **changes}
    write(root / name, {key: value for key, value in content.items() if value is not None})
    check_refused(kind, root, tmp_path / "out" / "a.h5", root / name, text)


@pytest.mark.parametrize(("kind", "name"), each_file(BINARY))
def test_truncated_binary_files(kind, name, folder, tmp_path):
    root = folder(kind)
    content = (root / name).read_bytes()
    for length in (len(content) // 2, len(content) - 1, 9):
        (root / name).write_bytes(content[:length])
        check_refused(kind, root, tmp_path / "out" / "a.h5", root / name)


@pytest.mark.parametrize(("kind", "name"), each_file(BINARY))
def test_text_in_place_of_arrays(kind, name, folder, tmp_path):
    root = folder(kind)
    (root / name).write_text("image,cat\na,1\n" * 40)
    check_refused(kind, root, tmp_path / "out" / "a.h5", root / name)


EMPTY = [
    ("csv", "a.csv", "a,1,0\nb,0,1\nc,1,1", "a,0,0\nb,0,1\nc,0,1"),
    ("csv long", "a.csv", "a,cat\nb,dog\nc,cat", "a,dog\nb,dog\nc,dog"),
    ("csv lists", "a.csv", "a,cat\nb,dog\nc,cat|", "a,dog\nb,dog\nc,"),
    ("list", "a.txt", "a.jpg, 0\nb.jpg, 1\nc.jpg, 0 1", "a.jpg\nb.jpg, 1\nc.jpg, 1"),
    ("libsvm", "a.svm", "0 1:0.5 2:2\n1 2:1\n0,1", "1:0.5 2:2\n1 2:1\n1"),
    ("mulan", "a.arff", "1,1,0\n2,0,1\n3,1,1", "1,0,0\n2,0,1\n3,0,1"),
    ("coco", "a.json", '"categories": [', '"categories": [{"id": 9, "name": "cow"},'),
    ("voc", CATS, "1  1\n2 -1\n3  1", "1 -1\n2 -1\n3 -1"),
    ("nus", SKY, "1\n0\n1", "0\n0\n0"),
    ("cub", CUB, "1 1 1 3 2.5\n1 2 0 4 1\n2 1 1", "1 1 0 3 2.5\n1 2 0 4 1\n2 1 0"),
    ("openimages", "class-descriptions-boxable.csv", "/m/1,Cat", "/m/3,Cow\n/m/1,Cat"),
]


@pytest.mark.parametrize(("kind", "name", "old", "new"), EMPTY)
def test_a_class_without_a_positive_is_legal(kind, name, old, new, folder, tmp_path):
    root, out = folder(kind), tmp_path / "out" / "a.h5"
    content = (root / name).read_text()
    assert old in content
    (root / name).write_text(content.replace(old, new, 1))
    code, err = make_split(kind, root, out)
    assert code == 0, err
    assert "1 of " in err and "classes have no positive image" in err
    images = list(read(out).values())
    positives = [sum(labels[name] == 1 for labels in images) for name in images[0]]
    assert sorted(positives)[0] == 0 < sorted(positives)[1]
