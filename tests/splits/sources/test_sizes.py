"""Files of a few bytes or lines that declare or imply very large arrays."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest
from scipy import sparse
from source_files import mat

from splits.errors import InputError
from splits.sources import registry

MANY = 20_000  # images and classes; their dense matrix has 400 MB


def load(kind, path, **options):
    return registry.get(kind).load(path, **registry.complete(kind, options))


def lines(form, count=MANY):
    return "".join(form.format(i) for i in range(count))


def coco():
    return json.dumps(
        {
            "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(MANY)],
            "categories": [{"id": i, "name": f"c{i}"} for i in range(MANY)],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1}],
        }
    )


SPARSE_ARFF = lines("@attribute a{} numeric\n") + "@data\n" + "{}\n" * 50_000
MATRIX = f"there is not enough memory for {MANY} images with {MANY} classes"
LARGE = [
    ("libsvm", "a.svm", "1000000000000 1:1\n", {}, "class 1000000000000 is not a class of any set"),
    ("libsvm", "a.svm", "0 1000000000000:1\n", {}, "1 images with 1000000000000 features"),
    ("libsvm", "a.svm", "4194303 1:1\n" * 500, {}, "for 500 images with 4194304 classes"),
    (
        "list",
        "a.txt",
        lines("{}.jpg 4194303\n", 500),
        {},
        "for 500 images with 4194304 classes",
    ),
    ("list", "a.txt", lines("{} 0\n") + "x" * 5000 + " 0\n", {}, "has 5,000 characters; the limit"),
    ("csv", "a.csv", "image,label\n" + lines("{0},{0}\n"), {"layout": "long"}, MATRIX),
    ("csv", "a.csv", "image,label\n" + lines("{0},{0}\n"), {"layout": "lists"}, MATRIX),
    ("coco", "a.json", coco(), {"keep_empty": "both"}, MATRIX),
    ("mulan", "a.arff", SPARSE_ARFF, {}, "not enough memory for 50000 rows with 20000 attributes"),
]


@pytest.mark.parametrize(("kind", "name", "text", "options", "message"), LARGE)
def test_a_small_file_of_a_large_matrix(kind, name, text, options, message, put, tmp_path):
    put("a.xml", "<labels><label name='a1'/></labels>")
    with pytest.raises(InputError) as error:
        load(kind, put(name, text), **options)
    assert message in str(error.value)


def test_pairs_of_cub_are_not_counted_in_a_large_array(put, tmp_path):
    put("images.txt", lines("{0} {0}.jpg\n"))
    put("train_test_split.txt", lines("{} 0\n"))
    put("attributes.txt", lines("{0} a{0}\n"))
    put("attributes/image_attribute_labels.txt", "0 0 1 1\n0 1 1 1\n1 1 0 1\n")
    with pytest.raises(InputError, match=r"no line for image 0 with attribute 2; it has 3 of 4"):
        load("cub", tmp_path)


def npy(shape):
    """The header of an array without its data."""
    raw = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        raw, {"descr": "<i8", "fortran_order": False, "shape": shape}
    )
    return raw.getvalue()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((10**12, 0), r"the set is empty \(1000000000000 images, 0 classes\)"),
        ((10**9, 10**3), "declares 8,000,000,000,000 bytes of data, the file has 0"),
    ],
)
def test_the_shape_of_an_array(shape, message, put):
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr("Y.npy", npy(shape))
    with pytest.raises(InputError, match=message):
        load("arrays", put("a.npz", raw.getvalue()))


def shaped(content, form, old, new):
    """A file with another shape; the numbers are those of the last place."""
    start = content.rindex(struct.pack(form, *old))
    return content[:start] + struct.pack(form, *new) + content[start + struct.calcsize(form) :]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (mat(sparse.csc_matrix((2**31 - 1, 0))), "2,147,483,647 entries for 0 stored ones"),
        (
            shaped(mat(sparse.csc_matrix(np.eye(2, 4)), format="4"), "<d", [4.0], [4e9]),
            "8,000,000,000 entries for 2 stored ones",
        ),
        (
            shaped(mat(np.eye(2, 4), format="4"), "<ii", [2, 4], [2**31 - 1, 4]),
            "a variable declares more numbers than the file has bytes",
        ),
        (shaped(mat(np.eye(2, 4)), "<ii", [2, 4], [2**31 - 1, 0]), "does not have 0 numbers"),
    ],
)
def test_the_shape_of_a_matlab_matrix(content, message, put):
    with pytest.raises(InputError, match=message):
        load("mat", put("a.mat", content), features="none")


def test_deep_and_long_content_takes_no_long_time(put, tmp_path):
    """Blanks before a stray quote, many lines in XML, nested labels and repeated keys."""
    header = "@attribute x numeric\n@attribute y {0,1}\n@data\n"
    put("a.xml", "<labels>" + "\n" * 300_000 + "<label name='y'/></labels>")
    with pytest.raises(InputError, match="the row has unbalanced quotes"):
        load("mulan", put("a.arff", f"{header}1{' ' * 20_000}'x,1\n"))
    assert load("mulan", put("a.arff", f"{header}1,1\n")).labels.tolist() == [[1]]
    nested = lines("<label name='y{}'>", 5000) + "</label>" * 5000
    with pytest.raises(InputError, match="label 'y0' is not an attribute"):
        put("a.xml", f"<labels>{nested}</labels>")
        load("mulan", tmp_path / "a.arff")
    with pytest.raises(InputError, match="the key '49999' occurs twice"):
        load("coco", put("a.json", "{" + lines('"{}": 1, ', 50_000) + '"49999": 2}'))
    columns = lines(",c{}", 40_000)
    read = load("csv", put("a.csv", f"image{columns}\na{',1' * 40_000}\n"))
    assert read.labels.shape == (1, 40_000)
