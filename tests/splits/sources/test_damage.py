"""A damaged file is read, or refused with one sentence; sources raise no other error."""

import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.io import savemat

from benchkit.base import random
from splits.errors import InputError
from splits.sources import registry

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


@pytest.fixture
def written(tmp_path, put):
    def write(kind):
        for name, content in FILES[kind].items():
            put(name, content)
        if kind == "mat":
            savemat(tmp_path / "a.mat", {"X": np.ones((2, 3)), "Y": np.eye(2, 4)})
        return tmp_path / STARTS.get(kind, ""), [tmp_path / name for name in FILES[kind]]

    return write


def attempt(kind: str, start: Path, damaged: Path) -> bool:
    """Whether the source was read; an error message must be one sentence."""
    try:
        registry.get(kind).load(start, **registry.complete(kind, {}))
    except InputError as error:
        assert "\n" not in str(error), (damaged, str(error))
        return False
    return True


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", FILES)
def test_truncated_and_overwritten_files(kind, written):
    start, files = written(kind)
    assert attempt(kind, start, start)
    for file in files:
        content = file.read_bytes()
        step = 1 if len(content) < 100 else len(content) // 60
        for length in range(0, len(content), step):
            file.write_bytes(content[:length])
            attempt(kind, start, file)
        count = 40
        positions = random.uniform(0, "places", np.arange(count)) * len(content)
        values = random.uniform(0, "values", np.arange(count)) * 256
        for position, value in zip(positions.astype(int), values.astype(int), strict=True):
            file.write_bytes(content[:position] + bytes([value]) + content[position + 1 :])
            attempt(kind, start, file)
        file.unlink()
        assert not attempt(kind, start, file)
        file.write_bytes(content)
    assert attempt(kind, start, start)


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind != "mat"])
def test_byte_order_marks_and_line_ends_change_nothing(kind, written):
    start, files = written(kind)
    load, options = registry.get(kind).load, registry.complete(kind, {})
    before = load(start, **options)
    for file in files:
        text = file.read_bytes()
        file.write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    after = load(start, **options)
    assert after.class_names == before.class_names
    assert (after.image_ids == before.image_ids).all()
    dense = [
        s.labels if isinstance(s.labels, np.ndarray) else s.labels.to_dense()
        for s in (before, after)
    ]
    assert (dense[0] == dense[1]).all()


@st.composite
def edits(draw: st.DrawFn) -> list[tuple[float, int, bytes]]:
    """Up to three replacements: a position as a share of the file, bytes to remove, new bytes."""
    edit = st.tuples(
        st.floats(0, 1),
        st.integers(0, 8) | st.just(1000),
        st.binary(max_size=4) | st.sampled_from(TOKENS),
    )
    return draw(st.lists(edit, min_size=1, max_size=3))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), changes=edits())
def test_a_damaged_file_is_read_or_refused_with_one_sentence(name, data, changes):
    kind, files = SOURCES[name]
    damaged = data.draw(st.sampled_from(sorted(files)))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for file, content in files.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            if file == damaged:
                for share, count, new in changes:
                    start = int(share * len(content))
                    content = content[:start] + new + content[start + count :]
            (root / file).write_bytes(content)
        first = next(iter(files))
        source = root / STARTS.get(kind, first if len(files) == 1 else "")
        options = {"labels": "xml"} if name == "voc xml" else {}
        try:
            read = registry.get(kind).load(source, **registry.complete(kind, options))
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 2000
            return
        assert all(str(image).encode() for image in read.image_ids)
        assert read.features is None or np.isfinite(read.features).all()


@pytest.mark.parametrize("kind", ["csv", "list", "libsvm", "mulan", "mat", "coco", "arrays"])
def test_a_named_pipe_is_refused_and_does_not_hang(kind, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"pipe(\.xml)?: (this is a named pipe|there is no such)"):
        registry.get(kind).load(tmp_path / "pipe", **registry.complete(kind, {}))


@pytest.mark.parametrize("kind", ["nus", "cub", "openimages", "voc"])
def test_a_named_pipe_in_a_folder_is_refused_and_does_not_hang(kind, written):
    start, files = written(kind)
    files[-1].unlink()
    os.mkfifo(files[-1])
    with pytest.raises(InputError, match="this is a named pipe, a socket or a device; a file"):
        registry.get(kind).load(start, **registry.complete(kind, {}))
