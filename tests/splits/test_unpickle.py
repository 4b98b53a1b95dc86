"""The restricted unpickler reads published plain data and runs no code."""

from __future__ import annotations

import collections
import datetime
import functools
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splits import unpickle
from splits.errors import InputError


def written(path: Path, value: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def class_freq() -> dict[str, Any]:
    labels = np.array([[1, 0, 1], [0, 1, 1]], np.int64)
    return {
        "gt_labels": labels,
        "class_freq": labels.sum(0),
        "neg_class_freq": 2 - labels.sum(0),
        "condition_prob": np.asfortranarray(labels[:, :2] / 3.0),
    }


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_class_statistics_come_back(tmp_path: Path, protocol: int) -> None:
    content = unpickle.load(written(tmp_path / "class_freq.pkl", class_freq(), protocol))
    assert list(content) == list(class_freq())
    for key, array in class_freq().items():
        assert isinstance(content[key], np.ndarray)
        assert content[key].dtype == array.dtype
        assert np.array_equal(content[key], array)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_class_groups_come_back(tmp_path: Path, protocol: int) -> None:
    groups = {"head": {np.int64(4), np.int64(6)}, "middle": {1}, "tail": set()}
    content = unpickle.load(written(tmp_path / "class_split.pkl", groups, protocol))
    assert content == {"head": {4, 6}, "middle": {1}, "tail": set()}
    assert {type(c) for c in content["head"]} == {int}


def test_other_plain_data(tmp_path: Path) -> None:
    shared = np.arange(3, dtype=">f4")
    value = {
        "text": ["å", b"bytes", b""],
        "numbers": (1, 2**70, -1.5, True, None, np.float32(0.25), np.bool_(True)),
        "arrays": [shared, shared, np.array(["ab", "c"]), np.empty((0, 2), np.uint8)],
        "frozen": frozenset({"x"}),
    }
    content = unpickle.load(written(tmp_path / "x.pkl", value))
    assert content["text"] == value["text"]
    assert content["numbers"] == (1, 2**70, -1.5, True, None, 0.25, True)
    assert content["arrays"][0] is content["arrays"][1]
    assert content["arrays"][0].tolist() == [0.0, 1.0, 2.0]
    assert content["arrays"][2].tolist() == ["ab", "c"]
    assert content["arrays"][3].shape == (0, 2)
    assert content["frozen"] == frozenset({"x"})


def test_an_array_as_python_2_wrote_it(tmp_path: Path) -> None:
    raw = struct.pack("<2q", 7, 200)
    content = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85"
        b"U\x01bq\x03\x87Rq\x04(K\x01K\x02\x85cnumpy\ndtype\nq\x05U\x02i8K\x00K\x01\x87Rq\x06"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10" + raw + b"tb."
    )
    path = tmp_path / "old.pkl"
    path.write_bytes(content)
    assert unpickle.load(path).tolist() == [7, 200]


class Attack:
    """Pickles to a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize(
    ("function", "named"),
    [
        (os.system, r"(posix|nt)\.system"),
        (eval, r"(builtins|__builtin__)\.eval"),
        (getattr, r"(builtins|__builtin__)\.getattr"),
        (functools.partial, r"functools\.partial"),
        (np.load, r"numpy\.load"),
        (pickle.loads, r"_?pickle\.loads"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_call_is_refused_and_does_not_run(
    tmp_path: Path, function: Any, named: str, protocol: int
) -> None:
    mark = tmp_path / "ran"
    value = {"gt_labels": np.eye(2), "extra": Attack(function, f"touch {mark}")}
    path = written(tmp_path / "bad.pkl", value, protocol)
    with pytest.raises(InputError, match=rf"bad\.pkl: this pickle is refused, .* {named};"):
        unpickle.load(path)
    assert not mark.exists()


def test_python_itself_runs_the_attack(tmp_path: Path) -> None:
    """Without this, the test above could pass for an attack that does nothing."""
    mark = tmp_path / "ran"
    content = pickle.dumps(Attack(os.system, f"touch {mark}"), 2)
    pickle.loads(content)  # noqa: S301 - our own bytes, to see that they are an attack
    assert mark.exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (datetime.date(2020, 1, 1), r"refers to datetime\.date"),
        (collections.OrderedDict(a=1), r"refers to collections\.OrderedDict"),
        (np.array([{}, 1], object), "array of type 'O8', not of numbers or text"),
        (np.zeros(2, [("a", "i4")]), "array of type 'V4', not of numbers or text"),
        (np.datetime64("2020"), "array of type 'M8', not of numbers or text"),
        (np.dtype("f4"), "contains a dtype as a value"),
        (np.random.RandomState(0), r"refers to numpy\.random"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_objects_are_refused(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        unpickle.load(written(tmp_path / "x.pkl", value))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x05N.", "has protocol 5; the limit is 4"),
        (b"(ios\nsystem\n.", "uses the operation INST"),
        (b"\x80\x02\x82\x01.", "uses the operation EXT1"),
        (b"Pname\n.", "uses the operation PERSID"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "uses the operation NEWOBJ"),
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "has memo indices beyond its length"),
        (b"\x80\x02cnumpy\nndarray\n.", "contains a function as a value"),
        (b"\x80\x02cnumpy\nndarray\nK\x00\x85R.", "contains an array without content"),
        (b"", "not a pickle, or it is damaged"),
        (b"2008_000023\n2008_000028\n", "this pickle is refused, because it uses"),
        (b"\x80\x02]q\x00(K\x01", "not a pickle, or it is damaged"),
        (b"\x80\x02K\x01R.", "not a pickle, or it is damaged"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        unpickle.load(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        unpickle.load(tmp_path / "x.pkl")


def test_every_truncated_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "x.pkl", class_freq())
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(InputError):
            unpickle.load(path)
