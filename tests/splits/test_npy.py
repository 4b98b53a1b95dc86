import numpy as np
import pytest

from splits import npy
from splits.errors import InputError


@pytest.fixture
def refusal(tmp_path):
    """The reason for refusing a file with some bytes."""

    def reason(content):
        path = tmp_path / "a.npy"
        path.write_bytes(content)
        try:
            np.load(path, allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            return npy.reason(path, error)
        raise AssertionError("NumPy read the file")

    return reason


def test_no_message_recommends_pickle(refusal, tmp_path):
    np.save(tmp_path / "b.npy", np.array([None]), allow_pickle=True)
    objects = (tmp_path / "b.npy").read_bytes()
    assert refusal(objects).startswith("it holds Python objects, which are not read")
    assert refusal(b"image,cat\n1,0\n") == "it is neither an .npy nor an .npz file"
    assert refusal(b"\x80\x04]\x94K\x01a.") == "it is neither an .npy nor an .npz file"
    for content in (objects, b"text of some length", b"\x80\x04]\x94K\x01a."):
        assert "allow_pickle" not in refusal(content)


def test_a_header_that_python_cannot_parse_is_one_phrase(refusal, tmp_path):
    np.save(tmp_path / "b.npy", np.arange(9.0))
    content = (tmp_path / "b.npy").read_bytes()
    assert refusal(content.replace(b"(9,)", b"(x,)")) == (
        "it is truncated, or the header of an array in it is damaged"
    )


def test_the_texts_of_numpy_do_not_appear(refusal, tmp_path):
    np.save(tmp_path / "b.npy", np.arange(9.0))
    content = (tmp_path / "b.npy").read_bytes()
    damaged = "it is truncated, or the header of an array in it is damaged"
    assert refusal(content[:9]) == refusal(content.replace(b"(9,)", b"(\xff,)")) == damaged
    assert refusal(b"") == "it is empty"
    with pytest.raises(ValueError) as error:
        (tmp_path / "b.npy").write_bytes(content[:-8])
        npy.load(tmp_path / "b.npy")
    declared = "its header declares 72 bytes of data, the file has 64"
    assert npy.reason(tmp_path / "b.npy", error.value) == declared
    assert npy.reason(tmp_path, IsADirectoryError("[Errno 21]")) == "it is a folder"


def test_bytes_are_utf_8(tmp_path):
    assert npy.texts(tmp_path, np.array(["é", "b"])) == ["é", "b"]
    assert npy.texts(tmp_path, np.array(["é".encode(), b"b"])) == ["é", "b"]
    with pytest.raises(InputError, match=r"a.npy: row 1 is not UTF-8 text, but b'.xff'"):
        npy.texts(tmp_path / "a.npy", np.array([b"b", b"\xff"]))
