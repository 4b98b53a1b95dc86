import struct

import h5py
import numpy as np
import pytest
from scipy import sparse
from scipy.io import savemat

from benchkit.base.errors import BenchkitError
from benchkit.split.hdf5 import read_arrays
from splits.errors import InputError
from splits.sources import _mat5, arrays, hdf5, mat

LABELS = np.array([[1, 0, 1], [0, 0, 1]])
FEATURES = np.array([[0.5, 2, 3, 4], [1, 0, 0, 9]])


@pytest.fixture
def write(tmp_path):
    def save(name="a.mat", **variables):
        savemat(tmp_path / name, variables)
        return tmp_path / name

    return save


@pytest.mark.parametrize("kind", [np.asarray, sparse.csc_matrix])
def test_matrices(write, kind):
    source = mat.load(write(X=kind(FEATURES), Y=kind(LABELS.astype(float))))
    assert source.labels.tolist() == LABELS.tolist()
    assert source.labels.dtype == np.int8
    assert source.features[:, 0].tolist() == FEATURES.tolist()
    assert source.name == "a" and list(source.digests) == ["a.mat"]


def test_orientation(write, put, refused):
    names = dict(labels="target", features="data")
    path = write(data=FEATURES, target=LABELS.T, parts=np.array([[0, 1]]))
    source = mat.load(path, **names, split="parts")
    assert source.labels.tolist() == LABELS.tolist()
    assert source.part.tolist() == [0, 1]
    both = mat.load(write(data=FEATURES.T, target=LABELS.T), **names)
    assert both.labels.tolist() == LABELS.tolist()
    assert both.features[:, 0].tolist() == FEATURES.tolist()
    square = write(X=FEATURES[:, :2], Y=LABELS[:, :2])
    refused("a.mat", "orientation=rows or orientation=columns", lambda: mat.load(square))
    assert mat.load(square, orientation="rows").labels.tolist() == LABELS[:, :2].tolist()
    assert mat.load(square, orientation="columns").labels.tolist() == LABELS[:, :2].T.tolist()
    alone = write(Y=LABELS.T)
    assert mat.load(alone).labels.shape == (3, 2)
    assert mat.load(alone, orientation="columns", features="none").labels.shape == (2, 3)
    refused("a.mat", "'X' must be numbers", lambda: mat.load(write(X=np.ones((7, 5)), Y=LABELS)))


def test_minus_one(write, put, refused):
    path = write(Y=2 * LABELS - 1)
    refused("a.mat", "minus_one=negative or minus_one=unknown", lambda: mat.load(path))
    assert mat.load(path, minus_one="negative").labels.tolist() == LABELS.tolist()
    assert mat.load(path, minus_one="unknown").labels.tolist() == (2 * LABELS - 1).tolist()
    path = write(Y=np.array([[1, 0, -1]]))
    assert mat.load(path).labels.tolist() == [[1, 0, -1]]
    classes = put("classes.txt", "cat\ndog\nowl\n")
    assert mat.load(path, classes=str(classes)).class_names == ("cat", "dog", "owl")


def test_malformed(write, put, refused, tmp_path):
    refused("none.mat", "no such file", lambda: mat.load(tmp_path / "none.mat"))
    refused("a.mat", "no variable 'Y'; there are X", lambda: mat.load(write(X=FEATURES)))
    path = write(target=LABELS, data=FEATURES)
    refused("a.mat", "there are target, data.", lambda: mat.load(path))
    refused("a.mat", "no variable 'Z'", lambda: mat.load(write(Y=LABELS), features="Z"))
    refused("a.mat", "label 3", lambda: mat.load(write(Y=LABELS * 3)))
    refused("a.mat", "matrix of numbers", lambda: mat.load(write(Y=np.array([["a"]], object))))
    refused(
        "a.mat", "'s' is 5 for image 1", lambda: mat.load(write(Y=LABELS, s=[[0, 5]]), split="s")
    )
    content = write(X=np.arange(5000.0)[None], Y=LABELS).read_bytes()
    for size in (0, 60, 200, len(content) // 2, len(content) - 40):
        path = put("cut.mat", content[:size])
        refused("cut.mat", "", lambda path=path: mat.load(path))


@pytest.fixture
def new_mat(tmp_path):
    """A file in the layout of MATLAB 7.3: reversed axes, sparse matrices by column."""
    path = tmp_path / "new.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["X"] = FEATURES.T
        columns = sparse.csc_array(LABELS.astype(float))
        group = file.create_group("Y")
        group["data"], group["ir"], group["jc"] = columns.data, columns.indices, columns.indptr
        group.attrs["MATLAB_sparse"] = np.uint64(2)
        file["T"] = LABELS  # [2, 3] on disk is [3, 2] in MATLAB
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64"
    path.write_bytes(head + path.read_bytes()[len(head) :])
    return path


def test_matlab_7_3(new_mat, refused):
    source = mat.load(new_mat, read_hdf5=read_arrays)
    assert source.labels.tolist() == LABELS.tolist()
    assert source.features[:, 0].tolist() == FEATURES.tolist()
    transposed = mat.load(new_mat, labels="T", read_hdf5=read_arrays)
    assert transposed.labels.tolist() == LABELS.tolist()
    refused("new.mat", "save -v7", lambda: mat.load(new_mat))


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("ir", [99, 0]),  # beyond the last row: SciPy would write there
        ("jc", [0, 99, 1]),
        ("jc", [0, 2, 1]),
        ("data", [1.0]),
        ("jc", []),
        ("rows", None),
        ("rows", 10**15),
    ],
)
def test_damaged_sparse_matrices(new_mat, refused, part, content):
    arrays = {"jc": [0, 1, 2], "ir": [1, 0], "data": [1.0, 1.0], "rows": 2, part: content}
    rows = arrays.pop("rows")
    with h5py.File(new_mat, "a") as file:
        group = file.create_group("S")
        if rows is not None:
            group.attrs["MATLAB_sparse"] = np.uint64(rows)
        for name, values in arrays.items():
            group[name] = values
    call = lambda: mat.load(new_mat, labels="S", features="none", read_hdf5=read_arrays)  # noqa: E731
    refused("new.mat", "variable 'S' is damaged", call)


def test_a_damaged_sparse_matrix_of_an_older_file(write, refused):
    matrix = sparse.csc_matrix(LABELS == 1, dtype=float)
    matrix.indices = matrix.indices.copy()
    matrix.indices[-1] = 7
    refused("a.mat", "variable 'Y' is damaged", lambda: mat.load(write(Y=matrix)))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "dtype", ["bool", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
)
def test_every_type_of_numbers_is_read_as_scipy_wrote_it(tmp_path, dtype, compressed):
    matrix = (np.arange(12).reshape(3, 4) % 5).astype(dtype)
    cube = np.arange(24).reshape(2, 3, 4).astype(dtype)
    content = {"matrix": matrix, "cube": cube, "a_rather_long_name_of_a_matrix": matrix[:, :0]}
    savemat(tmp_path / "a.mat", content, do_compression=compressed)
    read, names = _mat5.read(tmp_path / "a.mat", list(content))
    assert names == list(content)
    for name, array in content.items():
        assert read[name].shape == array.shape
        assert read[name].tolist() == array.tolist()


def test_a_big_endian_file(tmp_path):
    flags, name = struct.pack(">IIII", 6, 8, 6, 0), struct.pack(">HH4s", 1, 1, b"Y")
    shape = struct.pack(">IIii", 5, 8, 2, 2)
    numbers = struct.pack(">IIhhhh", 3, 8, 1, 0, -1, 1)
    body = flags + shape + name + numbers
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    (tmp_path / "a.mat").write_bytes(head + struct.pack(">II", 14, len(body)) + body)
    assert mat.load(tmp_path / "a.mat").labels.tolist() == [[1, -1], [0, 1]]


def test_bytes_of_a_logical_sparse_matrix_are_declared_as_doubles(write):
    """MATLAB declares them so; SciPy writes doubles, which are replaced here."""
    path = write(Y=sparse.csc_matrix(LABELS.astype(float)))
    raw = bytearray(path.read_bytes())
    values = struct.pack("<IIddd", 9, 24, 1, 1, 1)
    start = raw.index(values)
    raw[start:] = struct.pack("<II", 9, 3) + b"\x01\x01\x01" + bytes(5)
    raw[132:136] = struct.pack("<I", len(raw) - 136)
    raw[145] |= 0x02
    path.write_bytes(raw)
    assert mat.load(path).labels.tolist() == LABELS.tolist()


def test_text_cells_and_complex_numbers_are_named(write, refused):
    for value, text in (
        ("text", "not text"),
        (np.array([["a", 1]], object), "not a cell array"),
        ({"a": 1}, "not a structure"),
        (LABELS * 1j, "must not hold complex numbers"),
    ):
        refused("a.mat", text, lambda value=value: mat.load(write(Y=value)))


@pytest.mark.parametrize("kind", [np.asarray, sparse.csc_matrix])
def test_every_changed_byte_is_read_or_refused(write, kind):
    """SciPy's reader was measured to end the process on some of these."""
    path = write(X=kind(FEATURES), Y=kind(LABELS.astype(float)))
    raw = path.read_bytes()
    outcomes = set()
    for position in range(124, len(raw)):
        for value in (0x00, 0xFF, raw[position] ^ 0x08):
            path.write_bytes(raw[:position] + bytes([value]) + raw[position + 1 :])
            try:
                outcomes.add(mat.load(path).labels.shape)
            except InputError as error:
                assert "\n" not in str(error)
                outcomes.add("refused")
    assert {LABELS.shape, "refused"} <= outcomes


def test_a_sparse_matrix_of_an_implausible_shape(write, refused):
    path = write(Y=sparse.csc_matrix(([1.0], ([0], [0])), (1 << 30, 2)))
    refused("a.mat", "2,147,483,648 entries for 1 stored ones", lambda: mat.load(path))


# ----------------------------------------------------------------------------- HDF5


@pytest.fixture
def h5(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["X"] = FEATURES
        file["Y"] = LABELS
        file["label_names"] = np.array(["cat", "dog", "ünï"], h5py.string_dtype())
        file["image_ids"] = np.array([b"i", b"j"])
        file["split"] = [0, 1]
        file["more/truth"] = -LABELS
    return path


def test_hdf5(h5):
    source = hdf5.load(h5, read_hdf5=read_arrays)
    assert source.labels.tolist() == LABELS.tolist()
    assert source.features[:, 0].tolist() == FEATURES.tolist()
    assert source.class_names == ("cat", "dog", "ünï")
    assert source.image_ids.tolist() == ["i", "j"]
    assert source.part.tolist() == [0, 1]
    assert list(source.digests) == ["a.h5"]
    with h5py.File(h5, "a") as file:
        del file["label_names"]
        file["label_names"] = np.array([name.encode() for name in source.class_names])
    assert hdf5.load(h5, read_hdf5=read_arrays).class_names == source.class_names
    other = hdf5.load(h5, read_hdf5=read_arrays, labels="more/truth", features="none")
    assert other.labels.tolist() == (-LABELS).tolist() and other.features is None
    with h5py.File(h5, "a") as file:
        file["p_indptr"], file["p_indices"], file["shape"] = [0, 1, 1], [2], [2, 3]
    assert hdf5.load(h5, read_hdf5=read_arrays, labels="p").labels.tolist() == [
        [0, 0, 1],
        [0, 0, 0],
    ]


def test_malformed_hdf5(h5, refused, tmp_path):
    read = dict(read_hdf5=read_arrays)
    refused("a.h5", "no labels 'Z'", lambda: hdf5.load(h5, labels="Z", **read))
    refused("a.h5", "no features 'Z'", lambda: hdf5.load(h5, features="Z", **read))
    refused("a.h5", "'Y' must be", lambda: hdf5.load(h5, labels="label_names", **read))
    for content in (b"", b"text", h5.read_bytes()[:2000]):
        (tmp_path / "cut.h5").write_bytes(content)
        with pytest.raises(BenchkitError, match=r"cut.h5 is not an HDF5 file, or damaged"):
            hdf5.load(tmp_path / "cut.h5", **read)
    with pytest.raises(BenchkitError, match=r"none.h5: there is no such file"):
        hdf5.load(tmp_path / "none.h5", **read)
    with h5py.File(h5, "a") as file:
        file["refs"] = np.array([file["X"].ref], h5py.ref_dtype)
    with pytest.raises(BenchkitError, match="'refs' holds neither numbers nor text"):
        hdf5.load(h5, labels="refs", **read)


def test_a_real_set_in_both_formats(data, write, tmp_path):
    """Scene has 2407 x 6 labels, 1.074 per row, counts from 533 to 364, 1211 training rows."""
    published = arrays.load(data("features/scene.npz"))
    path = write(
        data=published.features[:, 0], target=published.labels.T, part=published.part[None]
    )
    with h5py.File(tmp_path / "scene.h5", "w") as file:
        file["X"], file["Y"], file["split"] = published.features, published.labels, published.part
    for source in (
        mat.load(path, labels="target", features="data", split="part"),
        hdf5.load(tmp_path / "scene.h5", read_hdf5=read_arrays),
    ):
        counts = source.labels.sum(0)
        assert (source.labels == published.labels).all()
        assert (source.features == published.features).all()
        assert np.bincount(source.part).tolist() == [1211, 1196]
        assert round(source.labels.sum() / 2407, 3) == 1.074
        assert (counts.max(), counts.min()) == (533, 364)
