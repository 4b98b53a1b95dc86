"""A small data set in the files of each source, and tokens that damage them."""

from __future__ import annotations

import io

import numpy as np
from scipy import sparse
from scipy.io import savemat

OPEN = "ImageID,Source,LabelName,Confidence\n"
FILES = {
    "voc": {
        "ImageSets/Main/cat_trainval.txt": "1  1\n2 -1\n",
        "ImageSets/Main/dog_trainval.txt": "1  0\n2  1\n",
        "ImageSets/Main/cat_test.txt": "3  1\n",
        "ImageSets/Main/dog_test.txt": "3  1\n",
    },
    "nus": {
        "ConceptsList/Concepts81.txt": "sky\nsea\n",
        "ImageList/TrainImagelist.txt": "a\\1.jpg\na\\2.jpg\n",
        "ImageList/TestImagelist.txt": "a\\3.jpg\n",
        "TrainTestLabels/Labels_sky_Train.txt": "1\n0\n",
        "TrainTestLabels/Labels_sea_Train.txt": "1\n1\n",
        "TrainTestLabels/Labels_sky_Test.txt": "1\n",
        "TrainTestLabels/Labels_sea_Test.txt": "0\n",
    },
    "cub": {
        "images.txt": "1 a/1.jpg\n2 b/2.jpg\n",
        "train_test_split.txt": "1 1\n2 0\n",
        "attributes.txt": "1 x::y\n2 x::z\n",
        "attributes/image_attribute_labels.txt": "1 1 1 3 2.5\n1 2 0 4 1\n2 1 1 1 2\n2 2 1 1 9 9\n",
    },
    "openimages": {
        "class-descriptions-boxable.csv": '/m/1,Cat\n/m/2,"Dog, big"\n',
        "train-annotations-human-imagelabels-boxable.csv": f"{OPEN}a,v,/m/1,1\nb,v,/m/2,0\n",
        "test-annotations-human-imagelabels-boxable.csv": f"{OPEN}c,v,/m/2,1\n",
    },
    "csv": {"a.csv": 'image,cat,dog\n"a, 1",1,0\nb,-1,1\n'},
    "list": {"a.txt": "a.jpg, 0 2\nb.jpg, 1\n"},
    "libsvm": {"a.svm": "0,2 1:0.5 3:2\n1 2:1\n"},
    "mulan": {
        "a.arff": "@relation 'a b'\n@attribute x numeric\n@attribute 'y z' {0,1}\n@data\n"
        "0.5,1\n{0 2, 1 1}\n",
        "a.xml": "<labels>\n<label name='y z'/>\n</labels>\n",
    },
    "coco": {
        "annotations/instances_train2017.json": '{"images": [{"id": 1, "file_name": "a"}], '
        '"annotations": [{"id": 1, "image_id": 1, "category_id": 3}], '
        '"categories": [{"id": 3, "name": "cat"}]}',
        "annotations/instances_val2017.json": '{"images": [{"id": 2, "file_name": "a"}], '
        '"annotations": [{"id": 1, "image_id": 2, "category_id": 3}], '
        '"categories": [{"id": 3, "name": "cat"}]}',
    },
    "mat": {"a.mat": b""},
}
STARTS = {"csv": "a.csv", "list": "a.txt", "libsvm": "a.svm", "mulan": "a.arff", "mat": "a.mat"}


def mat(labels: object, **options: object) -> bytes:
    """A MATLAB file with labels and features."""
    raw = io.BytesIO()
    savemat(raw, {"X": np.ones((2, 3)), "Y": labels}, **options)
    return raw.getvalue()


def npz(**arrays: object) -> bytes:
    raw = io.BytesIO()
    np.savez(raw, **arrays)
    return raw.getvalue()


# Name -> kind and files; the first is the source, unless its name is in a folder.
XML = "<annotation><object><name>cat</name><difficult>0</difficult></object></annotation>"
SOURCES: dict[str, tuple[str, dict[str, bytes]]] = {
    kind: (kind, {name: text.encode() for name, text in files.items()})
    for kind, files in FILES.items()
    if kind != "mat"
}
SOURCES |= {
    "coco": ("coco", {"a.json": FILES["coco"]["annotations/instances_train2017.json"].encode()}),
    "voc xml": (
        "voc",
        {
            "ImageSets/Main/trainval.txt": b"1\n",
            "ImageSets/Main/test.txt": b"2\n",
            "Annotations/1.xml": XML.encode(),
            "Annotations/2.xml": XML.encode(),
        },
    ),
    "mat": ("mat", {"a.mat": mat(np.eye(2, 4))}),
    "mat sparse": ("mat", {"a.mat": mat(sparse.csc_matrix(np.eye(2, 4)))}),
    "mat compressed": (
        "mat",
        {"a.mat": mat(sparse.csc_matrix(np.eye(2, 4)), do_compression=True)},
    ),
    "mat 4": ("mat", {"a.mat": mat(sparse.csc_matrix(np.eye(2, 4)), format="4")}),
    "arrays": ("arrays", {"a.npz": npz(X=np.ones((2, 3)), Y=np.eye(2, 4), split=[0, 1])}),
    "arrays sparse": (
        "arrays",
        {
            "a.npz": npz(
                **{"indptr": [0, 1, 2], "indices": [3, 0], "shape": [2, 4], "values": [1, -1]},
                fill=0,
            )
        },
    ),
}
TOKENS = [
    *(b"\xff", b"\x00", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\\ud800", b"\xe2\x80\xa8"),
    *(b"9" * 10_000, b"[" * 50_000, b'{"a":' * 3000, b"<a>" * 3000, b"(" * 3000, b"a" * 5000),
    *(b"nan", b"inf", b"1e999", b"-1", b"999999999", b"1_0", b"\xd9\xa1", b"0x1", b"true"),
    *(b'"', b"'", b",", b":", b"?", b"%", b"#", b"{", b"}", b"&#xD800;", b"../", b"/", b"\r\n"),
]
