import hashlib
import io
import zipfile

import numpy as np
import pytest
from scipy import sparse

from splits.errors import InputError
from splits.labels import SparseLabels
from splits.sources import _label_arrays, arrays

DENSE = dict(Y=np.array([[1, 0, 1], [0, 0, 0]], np.uint8))
ROWS = dict(indptr=np.array([0, 2, 2]), indices=np.array([2, 0]), shape=np.array([2, 3]))


@pytest.fixture
def write(tmp_path):
    def save(**content):
        path = tmp_path / "toy.npz"
        np.savez(path, **content)
        return path

    return save


@pytest.mark.parametrize("content", [DENSE, ROWS], ids=["dense", "rows"])
def test_labels_alone(write, content):
    path = write(**content)
    source = arrays.load(path)
    assert source.labels.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert source.labels.dtype == np.int8
    assert source.name == "toy"
    assert source.class_names == ("class_0", "class_1", "class_2")
    assert source.image_ids.tolist() == ["0", "1"]
    assert source.part is None and source.paths is None and source.features is None
    assert source.roots == ()
    assert source.digests == {"toy.npz": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_everything_else(write):
    path = write(
        Y=np.array([[1.0, -1.0], [0.0, 1.0]]),
        X=np.array([[1, 2, 3], [4, 5, 6]]),
        split=np.array([False, True]),
        label_names=np.array(["cat", "dog"]),
        image_ids=np.array([12, 7]),
        feature_names=np.array([object()]),  # other keys are not read
    )
    source = arrays.load(path, name="mine")
    assert source.name == "mine"
    assert source.labels.tolist() == [[1, -1], [0, 1]]
    assert source.features.tolist() == [[[1, 2, 3]], [[4, 5, 6]]]
    assert source.features.dtype == np.float32
    assert source.part.tolist() == [0, 1] and source.part.dtype == np.uint8
    assert source.class_names == ("cat", "dog")
    assert source.image_ids.tolist() == ["12", "7"]


def test_several_views(write):
    source = arrays.load(write(**DENSE, X=np.ones((2, 4, 5), np.float16)))
    assert source.features.shape == (2, 4, 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (dict(X=np.ones((2, 2))), "there are no labels; the file needs 'Y'"),
        (
            dict(indptr=ROWS["indptr"]),
            r"no labels \('indices', 'shape' missing\); the file needs 'Y'",
        ),
        (dict(**DENSE, indptr=ROWS["indptr"]), "two sets of labels, 'Y' and 'indptr'; keep one"),
        (dict(Y=np.array([[1, 0], [0, 2]])), "'Y' has the label 2 at row 1, class 1; a label must"),
        (dict(Y=np.array([[0.5]])), "'Y' has the label 0.5 at row 0, class 0"),
        (dict(Y=np.array([[np.nan]])), "'Y' has the label nan at row 0"),
        (dict(Y=np.array([[255]], np.uint8)), "'Y' has the label 255 at row 0"),
        (dict(Y=np.array([1, 0])), r"'Y' must be a matrix of numbers \[N, C\].* \(2,\)"),
        (dict(Y=np.array([["1"]])), "'Y' must be a matrix of numbers .* <U1"),
        (dict(Y=np.zeros((0, 2), np.int8)), "the set is empty"),
        (dict(Y=np.array([[1, None]])), "'Y' contains Python objects, which are not read"),
        (
            dict(**DENSE, label_names=np.array(["a", None, "b"])),
            "'label_names' contains Python obj",
        ),
        (dict(**DENSE, label_names=np.array(["a"])), r"'label_names' must be text of shape \(3,\)"),
        (dict(**DENSE, label_names=np.arange(3)), "'label_names' must be text .* not int64"),
        (dict(**DENSE, label_names=np.array(["a", "b", "a"])), "class name 'a' occurs twice"),
        (dict(**DENSE, image_ids=np.array([1])), r"'image_ids' must be text or integers .* \(2,\)"),
        (dict(**DENSE, image_ids=np.array([0.0, 1.0])), "'image_ids' must be text or integers"),
        (dict(**DENSE, image_ids=np.array([5, 5])), "image id '5' occurs twice"),
        (dict(**DENSE, split=np.array([0, 3])), "'split' is 3 in row 1; it must be 0"),
        (dict(**DENSE, split=np.array([0])), r"'split' must be 0 .* shape \(2,\).* \(1,\)"),
        (dict(**DENSE, X=np.ones((3, 2))), "'X' must be numbers .* with the 2 rows"),
        (dict(**DENSE, X=np.ones(2)), "'X' must be numbers"),
        (dict(**DENSE, X=np.array([["a"], ["b"]])), "'X' must be numbers .* <U1"),
        (dict(**DENSE, X=np.array([[1.0], [np.nan]])), r"image 1 \(row 1\) contain a number that"),
        (dict(**DENSE, X=np.array([[1e300], [1.0]])), "row 0.* too large for float32"),
        ({**ROWS, "shape": np.array([2, 3, 1])}, r"'shape' must be two numbers .* \[2, 3, 1\]"),
        ({**ROWS, "shape": np.array([2, 0])}, "'shape' must be two numbers >= 1"),
        ({**ROWS, "shape": np.array([2.0, 3.0])}, "'shape' must be a list of integers, not float"),
        ({**ROWS, "indices": np.array([[2, 0]])}, r"'indices' must be a list .* \(1, 2\)"),
        ({**ROWS, "indptr": np.array([0, 2])}, "'indptr' has 2 entries; 2 images need 3"),
        (
            {**ROWS, "indptr": np.array([0, 1, 1])},
            "from 0 to the length of 'indices', 2, not from 0 to 1",
        ),
        ({**ROWS, "indptr": np.array([1, 2, 2])}, "not from 1 to 2"),
        (
            {**ROWS, "indptr": np.array([0, 3, 2])},
            "'indptr' decreases after row 1; it must increase",
        ),
        ({**ROWS, "shape": np.array([2, 10**13])}, f"memory for 2 images with {10**13} classes"),
        ({**ROWS, "indices": np.array([3, 0])}, "class 3 in row 0; there are 3 classes, 0 to 2"),
        ({**ROWS, "indices": np.array([0, -1])}, "class -1 in row 0"),
        ({**ROWS, "indices": np.array([2, 2])}, "class 2 twice in row 0; classes must be unique"),
        (
            dict(indptr=np.array([0, 1, 4]), indices=np.array([2, 2, 0, 2]), shape=ROWS["shape"]),
            "class 2 twice in row 1; classes must be unique",
        ),
    ],
)
def test_bad_content(write, content, message):
    with pytest.raises(InputError, match=message) as error:
        arrays.load(write(**content))
    assert "toy" in str(error.value)


def test_two_rows_may_have_the_same_class(write):
    content = dict(indptr=np.array([0, 1, 2]), indices=np.array([1, 1]), shape=np.array([2, 3]))
    assert arrays.load(write(**content)).labels.tolist() == [[0, 1, 0], [0, 1, 0]]


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"none.npz: there is no such file"):
        arrays.load(tmp_path / "none.npz")
    with pytest.raises(InputError, match=r"this is a folder, not a file; give an \.npz file"):
        arrays.load(tmp_path)


def test_not_an_archive(tmp_path):
    np.save(tmp_path / "one.npy", np.eye(2))
    (tmp_path / "text.npz").write_text("label,image")
    (tmp_path / "empty.npz").write_bytes(b"")
    for name, reason in (
        ("one.npy", r"this is one array without a name \(.npy\), not an .npz file"),
        ("text.npz", "this is not an .npz file"),
        ("empty.npz", "the file is empty"),
    ):
        with pytest.raises(InputError, match=f"{name}: {reason}; write an .npz file with"):
            arrays.load(tmp_path / name)


def test_truncated_or_overwritten_files(write):
    path = write(Y=np.ones((200, 30), np.uint8))
    content = path.read_bytes()
    for length in (10, len(content) // 2, len(content) - 5):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"this \.npz file is truncated, because its end"):
            arrays.load(path)
    path.write_bytes(content[:1000] + b"\x07" * 50 + content[1050:])
    with pytest.raises(InputError, match="the array 'Y' is damaged and cannot be read"):
        arrays.load(path)
    path.write_bytes(content.replace(b"fortran_order", b"fortran_ordre"))
    with pytest.raises(InputError, match="the array 'Y' is damaged and cannot be read"):
        arrays.load(path)


def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path):
    """Also in the names of the arrays: without its name, an optional array would be ignored."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, Y=np.eye(2, dtype=np.int8), X=np.ones((2, 1)), split=[0, 1])
    content = path.read_bytes()
    read = 0
    for place in range(len(content)):
        flipped = content[place] ^ 1 << place % 8
        path.write_bytes(content[:place] + bytes([flipped]) + content[place + 1 :])
        try:
            source = arrays.load(path)
        except InputError:
            continue
        assert source.labels.tolist() == [[1, 0], [0, 1]]
        assert source.features.tolist() == [[[1]], [[1]]] and source.part.tolist() == [0, 1]
        read += 1
    assert 0 < read < len(content) / 2


def test_a_directory_that_lists_fewer_arrays_is_named(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, Y=np.eye(2), X=np.ones((2, 1)))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"X.npy", b"W.npy").replace(b"W.npy", b"X.npy", 1))
    with pytest.raises(InputError, match=r"a\.npz: the file is damaged .*contradicts its dir"):
        arrays.load(path)


def test_members_that_are_not_arrays(tmp_path):
    with zipfile.ZipFile(tmp_path / "raw.npz", "w") as file:
        file.writestr("Y", b"not an array")
    with pytest.raises(InputError, match="'Y' is not an array"):
        arrays.load(tmp_path / "raw.npz")


@pytest.mark.parametrize(
    ("name", "rows", "classes", "dimensions", "train"),
    [("corel5k", 5000, 374, 499, 4500), ("delicious", 16105, 983, 500, 12920)],
)
def test_real_features(data, name, rows, classes, dimensions, train):
    source = arrays.load(data(f"features/{name}.npz"))
    assert source.labels.shape == (rows, classes)
    assert source.features.shape == (rows, 1, dimensions)
    assert (source.part == 0).sum() == train


def test_real_label_lists(data):
    source = arrays.load(data("labels/coco_lt.npz"))
    assert np.bincount(source.part).tolist() == [1909, 5000]
    assert source.class_names[0] == "person" and source.class_names[-1] == "toothbrush"
    assert (~source.labels[source.part == 1].any(axis=1)).sum() == 48
    with pytest.raises(InputError, match=r"voc2007_trainval.npz: there are no labels"):
        arrays.load(data("labels/voc2007_trainval.npz"))


def test_file_names_are_paths_below_a_folder(write, tmp_path):
    path = write(**DENSE, file_names=np.array(["a/1.jpg", "b/2.jpg"]))
    source = arrays.load(path, images=str(tmp_path))
    assert source.paths.tolist() == ["a/1.jpg", "b/2.jpg"]
    assert source.roots == (tmp_path,)
    source = arrays.load(path)
    assert source.paths.tolist() == ["a/1.jpg", "b/2.jpg"] and source.roots == ()
    with pytest.raises(InputError, match="x: there is no such folder of images"):
        arrays.load(path, images="x")


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (None, "there are no 'file_names'; images="),
        (np.array(["a.jpg"]), r"'file_names' must be text of shape \(2,\)"),
        (np.array([1, 2]), r"'file_names' must be text of shape \(2,\)"),
        (np.array(["a.jpg", "/b.jpg"]), r"'file_names' is '/b.jpg' in row 1"),
        (np.array(["../a.jpg", "b.jpg"]), r"'file_names' is '../a.jpg' in row 0"),
        (np.array(["a.jpg", ""]), r"'file_names' is '' in row 1"),
    ],
)
def test_wrong_file_names(write, tmp_path, names, text):
    path = write(**DENSE, **({} if names is None else {"file_names": names}))
    with pytest.raises(InputError, match=text):
        arrays.load(path, images=str(tmp_path))


def test_messages_name_the_path(write):
    path = write(**DENSE, image_ids=np.array(["a", "a"]))
    with pytest.raises(InputError) as error:
        arrays.load(path)
    assert str(error.value).startswith(f"{path}: image id 'a' occurs twice")
    path = write(**DENSE, X=np.full((2, 2), np.nan))
    with pytest.raises(InputError) as error:
        arrays.load(path, name="mine")
    assert str(error.value).startswith(f"{path}: the features of image 0 (row 0) contain a number")


CODES = dict(values=np.array([1, 0], np.int8), fill=np.array([-1], np.int8))


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ({}, {}, [[0, 0, 1], [0, 0, 0]]),
        ({"values": CODES["values"]}, {}, [[0, 0, 1], [0, 0, 0]]),
        (CODES, {}, [[0, -1, 1], [-1, -1, -1]]),
        ({"fill": np.int64(-1)}, {}, [[1, -1, 1], [-1, -1, -1]]),
        ({"values": np.array([-1.0, 1.0])}, {}, [[1, 0, -1], [0, 0, 0]]),
        (CODES, {"minus_one": "negative"}, [[0, 0, 1], [0, 0, 0]]),
        ({"values": CODES["values"]}, {"zero": "unknown"}, [[-1, -1, 1], [-1, -1, -1]]),
    ],
)
def test_sparse_labels_with_values_and_fill(write, content, options, expected):
    source = arrays.load(write(**ROWS, **content), **options)
    labels = source.labels
    assert isinstance(labels, SparseLabels) == bool(content)
    assert (labels.to_dense() if content else labels).tolist() == np.array(
        expected if content else [[1, 0, 1], [0, 0, 0]]
    ).tolist()


def test_sparse_labels_under_a_prefix(write):
    content = {f"p75_{key}": array for key, array in {**ROWS, **CODES}.items() if key != "shape"}
    source = arrays.load(write(**content, shape=ROWS["shape"]), labels="p75")
    assert source.labels.to_dense().tolist() == [[0, -1, 1], [-1, -1, -1]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (dict(values=np.array([1, 2])), "'values' has the label 2 in row 0; a label must be 1"),
        (dict(values=np.array([1.0, np.nan])), "'values' has the label nan in row 0"),
        (dict(values=np.array([1])), r"'values' must be 2 numbers, one for each of 'indices'"),
        (dict(values=np.array(["1", "1"])), "'values' must be 2 numbers"),
        (dict(fill=np.array(1)), r"'fill' must be 0 \(negative\) or -1 \(unknown\), not 1"),
        (dict(fill=np.array([0, -1])), r"'fill' must be 0 .* not \[0, -1\]"),
        (dict(fill=np.array(np.nan)), "'fill' must be 0 .* not nan"),
        (dict(format=np.array(b"csc")), "the sparse labels have the format 'csc'"),
    ],
)
def test_wrong_values_and_fill(write, content, message):
    with pytest.raises(InputError, match=message):
        arrays.load(write(**{**ROWS, **content}))


def test_a_fill_that_would_become_positive(write):
    with pytest.raises(InputError, match="zero=positive cannot be used with the fill value 0"):
        arrays.load(write(**ROWS, values=CODES["values"]), zero="positive")


def test_a_file_of_scipy(tmp_path):
    dense = np.array([[1, 0, 1], [0, 0, -1]])
    sparse.save_npz(tmp_path / "a.npz", sparse.csr_array(dense))
    assert arrays.load(tmp_path / "a.npz").labels.to_dense().tolist() == dense.tolist()
    sparse.save_npz(tmp_path / "a.npz", sparse.csr_array(abs(dense)))
    assert arrays.load(tmp_path / "a.npz").labels.tolist() == abs(dense).tolist()
    sparse.save_npz(tmp_path / "a.npz", sparse.csc_array(dense))
    with pytest.raises(InputError, match="'csc'; save them in compressed rows"):
        arrays.load(tmp_path / "a.npz")


def test_keys_of_a_sparse_matrix_may_have_other_uses(write):
    source = arrays.load(write(**DENSE, data=np.ones((2, 3)), values=np.arange(9)), features="data")
    assert source.labels.tolist() == DENSE["Y"].tolist()
    assert source.features.shape == (2, 1, 3)


def test_large_sparse_labels_stay_sparse(write, monkeypatch):
    monkeypatch.setattr(_label_arrays, "DENSE_ENTRIES", 6)
    labels = arrays.load(write(**ROWS)).labels
    assert isinstance(labels, SparseLabels) and labels.fill == 0
    assert labels.to_dense().tolist() == [[1, 0, 1], [0, 0, 0]]
    assert (labels.indices.tolist(), labels.indptr.tolist()) == ([0, 2], [0, 2, 2])


def test_a_header_that_declares_more_than_the_file_has(tmp_path):
    raw = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        raw, {"descr": "<f4", "fortran_order": False, "shape": (2, 1 << 36)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("Y.npy", raw.getvalue() + bytes(100))
    with pytest.raises(InputError, match="its header declares 549,755,813,888 bytes of data, the"):
        arrays.load(tmp_path / "a.npz")


def test_data_without_a_format_are_values(tmp_path):
    """Stored -1 and 0 must not become positives, whatever the array is called."""
    for prefix, options in (("", {}), ("Y_", {"labels": "Y"})):
        names = {
            f"{prefix}{key}" if key != "shape" else key: value
            for key, value in {
                "indptr": [0, 1, 2, 4],
                "indices": [0, 1, 0, 1],
                "data": [1, -1, 1, 0],
            }.items()
        }
        np.savez(tmp_path / "d.npz", shape=[3, 2], **names)
        labels = arrays.load(tmp_path / "d.npz", **options).labels.to_dense()
        assert labels.tolist() == [[1, 0], [0, -1], [1, 0]]
