"""Readers of published list files, one function per format.

Error messages name the file and the line and describe the format.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splits import npy, reasons, unpickle
from splits.errors import InputError
from splits.numbers import parse_whole


@dataclass(frozen=True, eq=False)
class LabelList:
    """The images of a list file and their labels.

    Attributes:
        path: the file.
        names: unique images, in the order of the file.
        locations: the location of each in the file, for messages ("line 7").
        labels: int8 [N, C], 1 and 0.
    """

    path: Path
    names: tuple[str, ...]
    locations: tuple[str, ...]
    labels: np.ndarray


def ids(path: Path) -> LabelList:
    """One image id per line (DBL's `img_id.txt`, and `img_id.pkl`, which is also text).

    Args:
        path: the file.

    Returns:
        The ids, with labels of shape [N, 0].
    """
    return _collect(path, 0, ((line, text, []) for line, text in _lines(path)))


def lmpt(path: Path, classes: int) -> LabelList:
    """`path/of/image.jpg i j k` per line: an image and the indices of its classes, if any.

    Args:
        path: the file.
        classes: C; indices run from 0 to C - 1.
    """
    return _collect(
        path, classes, ((line, text.split()[0], text.split()[1:]) for line, text in _lines(path))
    )


def robust_loss(path: Path, classes: int) -> LabelList:
    """`image.jpg, i j k` per line: an image, a comma, the indices of its classes.

    Args:
        path: the file.
        classes: C; indices run from 0 to C - 1.
    """

    def entries() -> Iterable[tuple[str, str, list[str]]]:
        for line, text in _lines(path):
            name, comma, rest = text.partition(",")
            if not comma:
                raise InputError(
                    f"{path}, {line}: there is no comma; a line must be 'file.jpg, i j k'."
                )
            yield line, name.strip(), rest.split()

    return _collect(path, classes, entries())


def comic(path: Path, classes: int) -> LabelList:
    """JSON `{image: [C numbers, 0 or 1]}`.

    Args:
        path: the file.
        classes: C.
    """
    content = _json(path)
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: this is not a JSON object of images and their labels.")
    for name, row in content.items():
        has_length = isinstance(row, list) and len(row) == classes
        if not has_length or any(type(label) is not int or label not in (0, 1) for label in row):
            raise InputError(
                f"{path}: the labels of {name!r} must be {classes} numbers, each 0 or 1."
            )
    return LabelList(
        path=path,
        names=tuple(content),
        locations=tuple(repr(name) for name in content),
        labels=np.array(list(content.values()), np.int8),
    )


def parts(path: Path, classes: int) -> tuple[LabelList, LabelList]:
    """JSON with `train` and `test`, each `{"ids": [...], "labels": [[i, j, k], ...]}`.

    Args:
        path: the file.
        classes: C; indices run from 0 to C - 1.

    Returns:
        The training and the test list.
    """
    content = _json(path)
    lists = []
    for part in ("train", "test"):
        value = content.get(part) if isinstance(content, dict) else None
        names, rows = (value.get(k) if isinstance(value, dict) else None for k in ("ids", "labels"))
        if not isinstance(names, list) or not isinstance(rows, list) or len(names) != len(rows):
            raise InputError(
                f"{path}: {part!r} must be {{'ids': [...], 'labels': [[i, j], ...]}} with as many "
                f"ids as labels."
            )
        entries = (
            (f"{part} row {row}", str(name), list(labels) if isinstance(labels, list) else [labels])
            for row, (name, labels) in enumerate(zip(names, rows, strict=True))
        )
        lists.append(_collect(path, classes, entries))
    return lists[0], lists[1]


def spml(labels: Path, images: Path, classes: int) -> LabelList:
    """SPML's `formatted_*_labels.npy` [N, C] of 0 and 1 with `formatted_*_images.npy` [N].

    Args:
        labels: the matrix.
        images: the image files.
        classes: C.
    """
    matrix = spml_matrix(labels, classes, (0, 1))
    names = _npy(images)
    if names.dtype.kind not in "US" or names.shape != (len(matrix),):
        raise InputError(
            f"{images}: the images of {labels.name} must be {len(matrix)} texts, not "
            f"{names.dtype} of shape {names.shape}."
        )
    texts = npy.texts(images, names)
    locations = tuple(f"row {row}" for row in range(len(texts)))
    _check_unique(images, texts, locations)
    return LabelList(images, tuple(texts), locations, matrix)


def spml_matrix(path: Path, classes: int, codes: tuple[int, ...]) -> np.ndarray:
    """A matrix of SPML, int8 [N, C], in its own codes.

    Args:
        path: the `.npy` file.
        classes: C.
        codes: the allowed values.
    """
    matrix = _npy(path)
    if matrix.ndim != 2 or matrix.shape[1] != classes or matrix.dtype.kind not in "biuf":
        raise InputError(
            f"{path}: the labels must be a matrix [N, {classes}], not {matrix.dtype} of shape "
            f"{matrix.shape}."
        )
    wrong = ~np.isin(matrix, codes)
    if wrong.any():
        row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
        raise InputError(
            f"{path}: row {row}, class {column} is {matrix[row, column]}; it must be one of "
            f"{codes}."
        )
    return matrix.astype(np.int8)


def class_freq(path: Path) -> dict[str, np.ndarray]:
    """DBL's `class_freq.pkl`: `gt_labels` [N, C] and `class_freq` [C], read by `unpickle`.

    Args:
        path: the pickle.
    """
    content = unpickle.load(path)
    keys = ("gt_labels", "class_freq")
    if not isinstance(content, dict) or any(key not in content for key in keys):
        raise InputError(f"{path}: this pickle has no 'gt_labels' and 'class_freq'.")
    arrays = {key: np.asarray(content[key]) for key in keys}
    for key, dimensions in zip(keys, (2, 1), strict=True):
        if arrays[key].ndim != dimensions or arrays[key].dtype.kind not in "biuf":
            raise InputError(f"{path}: {key!r} must be numbers of {dimensions} dimension(s).")
    return arrays


def class_split(path: Path) -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
    """DBL's `class_split.pkl`: the head, middle and tail classes, read by `unpickle`.

    Args:
        path: the pickle.
    """
    content = unpickle.load(path)
    groups = [content.get(k) if isinstance(content, dict) else None for k in _GROUPS]
    if not all(isinstance(g, set | frozenset) and all(type(c) is int for c in g) for g in groups):
        raise InputError(f"{path}: this pickle has no sets 'head', 'middle' and 'tail'.")
    head, middle, tail = (frozenset(group or ()) for group in groups)
    return head, middle, tail


_GROUPS = ("head", "middle", "tail")


def names(path: Path, count: int) -> tuple[str, ...]:
    """Class names, one per line.

    Args:
        path: the file.
        count: the required number of names.
    """
    class_names = tuple(text for _, text in _lines(path))
    if len(class_names) != count:
        raise InputError(f"{path}: there are {len(class_names)} class names; {count} are needed.")
    return class_names


# ----------------------------------------------------------------------------- helpers


def _lines(path: Path) -> list[tuple[str, str]]:
    """("line 7", text) of every line that is not empty."""
    data = _read(path, Path.read_bytes)
    if data[:1] == b"\x80":
        raise InputError(f"{path}: this is a pickle; a list of images must be plain text.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: this is not UTF-8 text.") from None
    numbered = enumerate(text.split("\n"), 1)
    lines = [(f"line {number}", line.strip()) for number, line in numbered if line.strip()]
    if not lines:
        raise InputError(f"{path}: this list is empty.")
    return lines


def _read(path: Path, reader: Callable[[Path], Any]) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: there is no such list file.")
    try:
        return reader(path)
    except OSError as error:
        reason = error.strerror or "an error of the disk"
        raise InputError(f"{path}: the file cannot be read ({reason}).") from None


def _json(path: Path) -> Any:
    data = _read(path, Path.read_bytes)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {reasons.of_json(error)}.") from None


def _npy(path: Path) -> np.ndarray:
    try:
        array = _read(path, lambda file: npy.load(file))
    except InputError:
        raise
    except npy.BROKEN_NPZ as error:
        raise InputError(
            f"{path}: this is not an .npy file of numbers or text ({npy.reason(path, error)})."
        ) from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: this is an .npz archive; a single .npy array is needed.")
    return array


def _check_unique(path: Path, names: Iterable[str], locations: Iterable[str]) -> None:
    first: dict[str, str] = {}
    for name, location in zip(names, locations, strict=True):
        if name in first:
            raise InputError(f"{path}, {location}: {name!r} occurs twice, first in {first[name]}.")
        first[name] = location


def _collect(path: Path, classes: int, entries: Iterable[tuple[str, str, list[Any]]]) -> LabelList:
    """A checked list from (location, name, class indices)."""
    names: list[str] = []
    locations: list[str] = []
    rows: list[int] = []
    columns: list[int] = []
    for location, name, indices in entries:
        if not name or any(separator in name for separator in " \t,"):
            raise InputError(f"{path}, {location}: {name!r} is not the name of one image.")
        for index in indices:
            number = parse_whole(index) if isinstance(index, str) else index
            if type(number) is not int or not 0 <= number < classes:
                text = repr(index[:40] if isinstance(index, str) else index)
                raise InputError(
                    f"{path}, {location}: {text} is not a class index, 0 to {classes - 1}."
                )
            rows.append(len(names))
            columns.append(number)
        if len(set(columns[len(columns) - len(indices) :])) != len(indices):
            raise InputError(f"{path}, {location}: a class occurs twice.")
        names.append(name)
        locations.append(location)
    _check_unique(path, names, locations)
    labels = np.zeros((len(names), classes), np.int8)
    labels[rows, columns] = 1
    return LabelList(path, tuple(names), tuple(locations), labels)
