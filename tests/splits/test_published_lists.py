"""The readers of published list files: correct files, and a message for each malformed one."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splits.errors import InputError
from splits.published.core import lists


def text(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def npy(path: Path, array: Any) -> Path:
    np.save(path, array)
    return path


def test_ids(tmp_path: Path) -> None:
    listed = lists.ids(text(tmp_path / "img_id.pkl", "554625\r\n118113\n\n000007\n"))
    assert listed.names == ("554625", "118113", "000007")
    assert listed.locations == ("line 1", "line 2", "line 4")
    assert listed.labels.shape == (3, 0)


def test_lmpt(tmp_path: Path) -> None:
    listed = lists.lmpt(text(tmp_path / "x.txt", "a/1.jpg 2 0\nb/2.jpg\n"), 3)
    assert listed.names == ("a/1.jpg", "b/2.jpg")
    assert listed.labels.tolist() == [[1, 0, 1], [0, 0, 0]]


def test_robust_loss(tmp_path: Path) -> None:
    listed = lists.robust_loss(text(tmp_path / "x.txt", "1.jpg,2\n2.jpg, 0 1\n"), 3)
    assert listed.names == ("1.jpg", "2.jpg")
    assert listed.labels.tolist() == [[0, 0, 1], [1, 1, 0]]


def test_comic(tmp_path: Path) -> None:
    content = json.dumps({"b.jpg": [0, 1], "a.jpg": [1, 0]})
    listed = lists.comic(text(tmp_path / "x.json", content), 2)
    assert listed.names == ("b.jpg", "a.jpg")
    assert listed.labels.tolist() == [[0, 1], [1, 0]]


def test_parts(tmp_path: Path) -> None:
    part = {"ids": [5, "x"], "labels": [[1], []]}
    train, test = lists.parts(text(tmp_path / "x.json", json.dumps(dict(train=part, test=part))), 2)
    assert train.names == test.names == ("5", "x")
    assert train.labels.tolist() == [[0, 1], [0, 0]]
    assert train.locations == ("train row 0", "train row 1")


def test_spml(tmp_path: Path) -> None:
    labels = npy(tmp_path / "l.npy", np.array([[1.0, 0.0], [0.0, 0.0]]))
    images = npy(tmp_path / "i.npy", np.array(["a.jpg", "b.jpg"]))
    listed = lists.spml(labels, images, 2)
    assert listed.names == ("a.jpg", "b.jpg")
    assert listed.labels.tolist() == [[1, 0], [0, 0]]


def test_statistics(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    content = {"gt_labels": np.eye(2), "class_freq": np.array([1, 1]), "condition_prob": np.eye(2)}
    path.write_bytes(pickle.dumps(content, 2))
    assert lists.class_freq(path)["class_freq"].tolist() == [1, 1]
    path.write_bytes(pickle.dumps({"head": {1}, "middle": {np.int64(0)}, "tail": set()}, 2))
    assert lists.class_split(path) == ({1}, {0}, set())
    for content in ([1], {"head": {1}, "middle": {0}}, {"head": {1}, "middle": {0}, "tail": {"a"}}):
        path.write_bytes(pickle.dumps(content, 2))
        with pytest.raises(InputError, match="has no sets 'head', 'middle' and 'tail'"):
            lists.class_split(path)
        with pytest.raises(InputError, match="has no 'gt_labels' and 'class_freq'"):
            lists.class_freq(path)
    path.write_bytes(pickle.dumps({"gt_labels": np.eye(2), "class_freq": "many"}, 2))
    with pytest.raises(InputError, match="'class_freq' must be numbers of 1 dimension"):
        lists.class_freq(path)


@pytest.mark.parametrize(
    ("reader", "content", "message"),
    [
        (lists.ids, "", "this list is empty"),
        (lists.ids, "1\n\n2\n1\n", "line 4: '1' occurs twice, first in line 1"),
        (lists.ids, "1 2\n", "line 1: '1 2' is not the name of one image"),
        (lists.ids, pickle.dumps(["1"], 2), "this is a pickle; a list of images must be plain"),
        (lists.ids, b"1\n\xff\xfe\n", "line 2: this is not UTF-8 text"),
        (lists.lmpt, "a.jpg 0 3\n", "line 1: '3' is not a class index, 0 to 2"),
        (lists.lmpt, "a.jpg 0\nb.jpg -1\n", "line 2: '-1' is not a class index"),
        (lists.lmpt, f"a.jpg {'9' * 5000}\n", "line 1: '9{40}' is not a class index"),
        (lists.lmpt, "a.jpg 1.0\n", "line 1: '1.0' is not a class index"),
        (lists.lmpt, "a.jpg 0 0\n", "line 1: a class occurs twice"),
        (lists.lmpt, "a.jpg, 0\n", "line 1: 'a.jpg,' is not the name of one image"),
        (lists.robust_loss, "a.jpg 0\n", "line 1: there is no comma; a line must be"),
        (lists.robust_loss, ",0\n", "line 1: '' is not the name of one image"),
        (lists.robust_loss, "a.jpg,0,1\n", "line 1: '0,1' is not a class index"),
        (lists.comic, "[1]", "not a JSON object of images"),
        (lists.comic, "{", "this is not JSON"),
        (lists.comic, '{"a": [0, 1]}', "the labels of 'a' must be 3 numbers, each 0 or 1"),
        (lists.comic, '{"a": [0, 1, 2]}', "the labels of 'a' must be 3 numbers, each 0 or 1"),
        (lists.comic, '{"a": [0, 1, true]}', "the labels of 'a' must be 3 numbers, each 0 or 1"),
        (lists.parts, "[]", "'train' must be .* with as many ids as labels"),
        (
            lists.parts,
            '{"train": {"ids": [1], "labels": []}}',
            "'train' must be .* with as many ids as labels",
        ),
        (
            lists.parts,
            '{"train": {"ids": [1], "labels": [7]}}',
            "train row 0: 7 is not a class index",
        ),
        (lists.names, "a\nb\n", "there are 2 class names; 3 are needed"),
    ],
)
def test_messages_name_the_line(tmp_path: Path, reader: Any, content: Any, message: str) -> None:
    path = text(tmp_path / "list.txt", content)
    with pytest.raises(InputError, match=message) as raised:
        reader(path) if reader is lists.ids else reader(path, 3)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("labels", "images", "message"),
    [
        (np.ones((2, 3)), ["a", "b"], r"l.npy: the labels must be a matrix \[N, 2\]"),
        (
            np.array([[1, 0], [0, 0.5]]),
            ["a", "b"],
            r"l.npy: row 1, class 1 is 0.5; it must be one of \(0, 1",
        ),
        (np.eye(2), ["a"], "i.npy: the images of l.npy must be 2 texts"),
        (np.eye(2), [1, 2], "i.npy: the images of l.npy must be 2 texts"),
        (np.eye(2), ["a", "a"], "i.npy, row 1: 'a' occurs twice, first in row 0"),
        (
            np.array([[1, 0], [0, None]], object),
            ["a", "b"],
            r"l.npy: this is not .* \(it holds Python obj",
        ),
    ],
)
def test_wrong_arrays(tmp_path: Path, labels: Any, images: Any, message: str) -> None:
    files = npy(tmp_path / "l.npy", labels), npy(tmp_path / "i.npy", np.array(images))
    with pytest.raises(InputError, match=message):
        lists.spml(*files, 2)


def test_missing_files_and_other_formats(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such list file"):
        lists.ids(tmp_path / "x")
    with pytest.raises(InputError, match="there is no such list file"):
        lists.spml_matrix(tmp_path / "x.npy", 2, (0, 1))
    with pytest.raises(InputError, match=r"not an \.npy file of numbers"):
        lists.spml_matrix(text(tmp_path / "x.npy", "hello"), 2, (0, 1))
    np.savez(tmp_path / "x.npz", a=np.eye(2))
    with pytest.raises(InputError, match=r"this is an \.npz archive"):
        lists.spml_matrix(tmp_path / "x.npz", 2, (0, 1))
