"""The worst messages of each source: one sentence, with the place and the true reason."""

import io
import os
import re
import zipfile

import numpy as np
import pytest
from source_files import SOURCES, STARTS, mat, npz
from unprivileged import public_folder, unprivileged

from splits import unpickle
from splits.errors import InputError
from splits.published.core import lists
from splits.sources import registry

ARRAYS = npz(Y=np.eye(2), X=np.ones((2, 3)))
BIG = "9" * 5000


def load(kind, root, name="", **options):
    """Load a source; its message without the folder."""
    try:
        registry.get(kind).load(root / name, **registry.complete(kind, options))
    except InputError as error:
        return str(error).replace(f"{root}/", "")
    raise AssertionError("the source was read")


def with_header(shape):
    """An .npz file with the correct checksums and another shape in the header of Y [2, 2]."""
    array, raw = io.BytesIO(), io.BytesIO()
    np.save(array, np.eye(2))
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr("Y.npy", overwritten(array.getvalue(), b"(2, 2)", shape))
    return raw.getvalue()


def overwritten(content, old, new):
    assert content.count(old) >= 1 and len(old) == len(new)
    return content.replace(old, new)


JSON = "this is not JSON, or it is truncated, from line 1, column "
DAMAGED = "the array 'Y' is damaged and cannot be read"
WORST = [
    ("csv", "a.csv", b'image,cat\na,"1\n', "a.csv:2: this is not CSV, or it is truncated: a quoted "
     "cell does not end."),
    ("csv", "a.csv", b'image,cat\n"a"b,1\n', "a.csv:2: this is not CSV, or it is truncated: a "
     "quoted cell is followed by something else than a delimiter."),
    ("csv", "a.csv", b"image,cat\n" + b"a" * 200_000, "a.csv:2: this is not CSV, or it is "
     "truncated: a cell has more than 131,072 characters."),
    ("csv", "a.csv", b"image,cat\na\xff,1\n", "a.csv:2: this is not UTF-8 text."),
    ("list", "a.txt", b"a.jpg, 0x1\n", "a.txt:1: a class must be a whole number, not '0x1'."),
    ("libsvm", "a.svm", f"{BIG} 1:1\n".encode(), "a.svm:1: a class must be a whole number of at "
     f"most 18 digits, not '{'9' * 40}'."),
    ("libsvm", "a.svm", b"1 1:x\n", "a.svm:1: a feature must be NUMBER:VALUE, not '1:x'."),
    ("coco", "a.json", b"", f"a.json: {JSON}1 on."),
    ("coco", "a.json", b'{"a": 1,}', f"a.json: {JSON}9 on."),
    ("coco", "a.json", f"[{BIG}]".encode(), "a.json: this JSON has a number of more than 4,300 "
     "digits."),
    ("coco", "a.json", b"[" * 100_000, "a.json: this JSON is nested too deeply."),
    ("coco", "a.json", b'{"a": 1, "a": 2}', "a.json: the key 'a' occurs twice in one object."),
    ("mat", "a.mat", b"", "a.mat: this is not a MATLAB file, or it is damaged: a variable is "
     "truncated or has a damaged header."),
    ("mat", "a.mat", mat(np.eye(2), format="4")[:-9], "a.mat: this is not a MATLAB file, or it is "
     "damaged: a variable is truncated or has a damaged header."),
    ("arrays", "a.npz", b"", "a.npz: the file is empty; write an .npz file with numpy.savez."),
    ("arrays", "a.npz", b"\x00\xffjunk", "a.npz: this is not an .npz file; write an .npz file with "
     "numpy.savez."),
    ("arrays", "a.npz", ARRAYS[:-30], "a.npz: this .npz file is truncated, because its end is "
     "missing; write an .npz file with numpy.savez."),
    ("arrays", "a.npz", with_header(b"(2,\xff2)"), f"a.npz: {DAMAGED} (it is "
     "truncated, or the header of an array in it is damaged)."),
    ("arrays", "a.npz", with_header(b"(2, 9)"), f"a.npz: {DAMAGED} (its header "
     "declares 144 bytes of data, the file has 32)."),
    ("arrays", "a.npz", overwritten(ARRAYS, np.eye(2).tobytes(), np.eye(2)[::-1].tobytes()),
     f"a.npz: {DAMAGED} (it is truncated, or its content does not match its checksums)."),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "content", "message"), WORST)
def test_the_worst_message_of_a_file(kind, name, content, message, put, tmp_path):
    put(name, content)
    assert load(kind, tmp_path, name) == message


def test_the_worst_messages_of_parquet(put, tmp_path):
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    raw = io.BytesIO()
    pandas.DataFrame({"image": ["a"], "cat": [1]}).to_parquet(raw)
    content = raw.getvalue()
    for changed, message in (
        (b"", "this is not a Parquet file"),
        (content[:-9], "this Parquet file is truncated"),
        (content[:-40] + b"\xff" * 32 + content[-8:], "this Parquet file is damaged"),
    ):
        put("a.parquet", changed)
        assert load("parquet", tmp_path, "a.parquet") == f"a.parquet: {message}."


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("", "a.xml:1: this is not XML, or it is truncated: there is no element."),
        ("<a>\n</b>", "a.xml:2: this is not XML, or it is truncated: an end tag does not match its "
         "start tag."),
        ("<?xml version='1.0' encoding='rot13'?><a/>", "a.xml:1: its encoding is not supported; "
         "save it as UTF-8."),
        ("<?xml version='1.0' encoding='none'?><a/>", "a.xml:1: its encoding is not supported; "
         "save it as UTF-8."),
        ("<!DOCTYPE a><a/>", "a.xml:1: a document type declaration is not allowed; remove it."),
    ],
)  # fmt: skip
def test_the_worst_messages_of_xml(xml, message, put, tmp_path):
    put("a.arff", "@attribute x numeric\n@data\n1\n")
    put("a.xml", xml)
    assert load("mulan", tmp_path, "a.arff") == message


def test_the_worst_messages_of_folders(put, tmp_path):
    for name, content in SOURCES["openimages"][1].items():
        put(name, content)
    labels = "test-annotations-human-imagelabels-boxable.csv"
    put(labels, 'ImageID,Source,LabelName,Confidence\nc,v,"/m/2,1\n')
    assert load("openimages", tmp_path) == (
        f"{labels}:2: this is not CSV, or it is truncated: a quoted cell does not end."
    )
    for part in ("train", "val"):
        put(f"formatted_{part}_images.npy", b"")
        put(f"formatted_{part}_labels.npy", b"")
    assert load("nus", tmp_path, layout="spml") == (
        "formatted_train_images.npy: this is not an .npy file, or it is truncated (it is empty)."
    )


def test_the_worst_messages_of_published_lists(put):
    with pytest.raises(InputError, match=r"a\.json: this is not JSON, or it is truncated, from l"):
        lists.comic(put("a.json", "{"), ["cat"])
    with pytest.raises(InputError, match=r"json: this is not JSON, because it is not UTF-8 text"):
        lists.comic(put("a.json", b'{"\xff"'), ["cat"])
    with pytest.raises(InputError, match=r"a\.pkl: this is not a pickle, or it is damaged or trun"):
        unpickle.load(put("a.pkl", b"\x80\x02]q\x00(K\x01"))


def test_an_array_of_python_objects_in_a_damaged_archive(put, tmp_path):
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr("Y.npy", b"not an array")
    put("a.npz", raw.getvalue())
    assert load("arrays", tmp_path, "a.npz") == (
        "a.npz: 'Y' is not an array; write it with numpy.savez."
    )


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in ("mat 4", "mat sparse")])
def test_a_file_without_read_permission_is_named(name):
    kind, files = SOURCES[name]
    options = {"labels": "xml"} if name == "voc xml" else {}
    with public_folder() as root:
        for file, content in files.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_bytes(content)
        for path in root.rglob("*"):
            path.chmod(0o755)
        first = next(iter(files))
        start = STARTS.get(kind, first if len(files) == 1 else "")
        for file in files:
            (root / file).chmod(0)
            with unprivileged():
                message = load(kind, root, start, **options)
            (root / file).chmod(0o755)
            assert message == f"{file}: the file cannot be read: permission denied."


def test_a_folder_that_may_not_be_entered_and_other_bad_paths(tmp_path):
    with public_folder() as root:
        (root / "closed").mkdir(mode=0)
        with unprivileged():
            assert load("csv", root, "closed/a.csv") == (
                "closed/a.csv: there is no permission to look into its folder."
            )
    os.symlink("loop", tmp_path / "loop")
    assert load("csv", tmp_path, "loop") == "loop: the link leads to itself."
    long = "x" * 300
    assert load("csv", tmp_path, long) == f"{long}: the name is too long."
    assert load("csv", tmp_path, "none") == "none: there is no such file."


def test_no_message_has_a_word_of_python():
    words = re.compile(r"codec|object at 0x|Errno|char \d|Expecting|invalid literal|[A-Z]\w+Error")
    for _, _, _, message in WORST:
        assert not words.search(message)
