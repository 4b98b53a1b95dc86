"""Readers of the list files that authors published; one function per format.

Every error names the file and the line, and says what a right line looks like.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splits import npy, unpickle
from splits.errors import InputError
from splits.numbers import whole


@dataclass(frozen=True, eq=False)
class LabelList:
    """Images and their labels, as a list file has them.

    Attributes:
        path: the file.
        names: the images, each once, in the file's order.
        places: where each stands, for messages ("line 7").
        labels: int8 [N, C], 1 and 0.
    """

    path: Path
    names: tuple[str, ...]
    places: tuple[str, ...]
    labels: np.ndarray


def ids(path: Path) -> LabelList:
    """One image id per line (DBL's `img_id.txt`, and `img_id.pkl`, which is text too).

    Args:
        path: the file.

    Returns:
        The ids, with labels of no class.
    """
    return _collect(path, 0, ((line, text, []) for line, text in _lines(path)))


def lmpt(path: Path, classes: int) -> LabelList:
    """`path/of/image.jpg i j k` per line: an image and the indices of its classes, maybe none.

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
                raise InputError(f"{path}, {line}: there is no comma; a line is 'file.jpg, i j k'.")
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
        raise InputError(f"{path}: this is no JSON object of images and their labels.")
    for name, row in content.items():
        right = isinstance(row, list) and len(row) == classes
        if not right or any(type(one) is not int or one not in (0, 1) for one in row):
            raise InputError(f"{path}: the labels of {name!r} are not {classes} numbers 0 or 1.")
    return LabelList(
        path=path,
        names=tuple(content),
        places=tuple(repr(name) for name in content),
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
    made = []
    for part in ("train", "test"):
        given = content.get(part) if isinstance(content, dict) else None
        names, rows = (given.get(k) if isinstance(given, dict) else None for k in ("ids", "labels"))
        if not isinstance(names, list) or not isinstance(rows, list) or len(names) != len(rows):
            raise InputError(
                f"{path}: {part!r} does not hold as many 'ids' as 'labels'; it is "
                f"{{'ids': [...], 'labels': [[i, j], ...]}}."
            )
        entries = (
            (f"{part} row {row}", str(name), list(labels) if isinstance(labels, list) else [labels])
            for row, (name, labels) in enumerate(zip(names, rows, strict=True))
        )
        made.append(_collect(path, classes, entries))
    return made[0], made[1]


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
            f"{images}: the images of {labels.name} are {len(matrix)} texts, not {names.dtype} of "
            f"shape {names.shape}."
        )
    texts = npy.texts(images, names)
    _once(images, texts, [f"row {row}" for row in range(len(texts))])
    return LabelList(images, tuple(texts), tuple(f"row {row}" for row in range(len(texts))), matrix)


def spml_matrix(path: Path, classes: int, codes: tuple[int, ...]) -> np.ndarray:
    """A matrix of SPML's, int8 [N, C], in its own codes.

    Args:
        path: the `.npy` file.
        classes: C.
        codes: the values that may be in it.
    """
    matrix = _npy(path)
    if matrix.ndim != 2 or matrix.shape[1] != classes or matrix.dtype.kind not in "biuf":
        raise InputError(
            f"{path}: this is not a matrix of labels [N, {classes}], but {matrix.dtype} of shape "
            f"{matrix.shape}."
        )
    wrong = ~np.isin(matrix, codes)
    if wrong.any():
        row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
        raise InputError(
            f"{path}: row {row}, class {column} is {matrix[row, column]}, none of {codes}."
        )
    return matrix.astype(np.int8)


def class_freq(path: Path) -> dict[str, np.ndarray]:
    """DBL's `class_freq.pkl`: `gt_labels` [N, C] and `class_freq` [C], by the safe reader.

    Args:
        path: the pickle.
    """
    content = unpickle.load(path)
    wanted = ("gt_labels", "class_freq")
    if not isinstance(content, dict) or any(key not in content for key in wanted):
        raise InputError(f"{path}: this pickle holds no 'gt_labels' and 'class_freq'.")
    made = {key: np.asarray(content[key]) for key in wanted}
    for key, dimensions in zip(wanted, (2, 1), strict=True):
        if made[key].ndim != dimensions or made[key].dtype.kind not in "biuf":
            raise InputError(f"{path}: {key!r} is not numbers of {dimensions} dimension(s).")
    return made


def class_split(path: Path) -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
    """DBL's `class_split.pkl`: the head, middle and tail classes, by the safe reader.

    Args:
        path: the pickle.
    """
    content = unpickle.load(path)
    groups = [content.get(k) if isinstance(content, dict) else None for k in _GROUPS]
    if not all(isinstance(g, set | frozenset) and all(type(c) is int for c in g) for g in groups):
        raise InputError(f"{path}: this pickle holds no sets 'head', 'middle' and 'tail'.")
    head, middle, tail = (frozenset(group or ()) for group in groups)
    return head, middle, tail


_GROUPS = ("head", "middle", "tail")


def names(path: Path, count: int) -> tuple[str, ...]:
    """Class names, one per line.

    Args:
        path: the file.
        count: how many there must be.
    """
    found = tuple(text for _, text in _lines(path))
    if len(found) != count:
        raise InputError(f"{path}: there are {len(found)} class names; {count} are needed.")
    return found


# ----------------------------------------------------------------------------- helpers


def _lines(path: Path) -> list[tuple[str, str]]:
    """("line 7", text) of every line that is not empty."""
    data = _read(path, Path.read_bytes)
    if data[:1] == b"\x80":
        raise InputError(f"{path}: this is a pickle; a list of images is plain text.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: this is not UTF-8 text.") from None
    numbered = enumerate(text.split("\n"), 1)
    found = [(f"line {number}", line.strip()) for number, line in numbered if line.strip()]
    if not found:
        raise InputError(f"{path}: this list is empty.")
    return found


def _read(path: Path, how: Callable[[Path], Any]) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: there is no such list file.")
    try:
        return how(path)
    except OSError as error:
        raise InputError(f"{path}: it cannot be read ({error.strerror or error}).") from None


def _json(path: Path) -> Any:
    data = _read(path, Path.read_bytes)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: this is not JSON ({error}).") from None


def _npy(path: Path) -> np.ndarray:
    try:
        array = _read(path, lambda file: np.load(file, allow_pickle=False))
    except npy.BROKEN as error:
        raise InputError(
            f"{path}: this is no .npy file of plain numbers or text ({npy.reason(path, error)})."
        ) from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: this is an .npz archive; a single .npy array is needed.")
    return array


def _once(path: Path, names: Iterable[str], places: Iterable[str]) -> None:
    first: dict[str, str] = {}
    for name, place in zip(names, places, strict=True):
        if name in first:
            raise InputError(f"{path}, {place}: {name!r} was there already, in {first[name]}.")
        first[name] = place


def _collect(path: Path, classes: int, entries: Iterable[tuple[str, str, list[Any]]]) -> LabelList:
    """A list of (place, name, class indices), checked."""
    names: list[str] = []
    places: list[str] = []
    rows: list[int] = []
    columns: list[int] = []
    for place, name, indices in entries:
        if not name or any(sign in name for sign in " \t,"):
            raise InputError(f"{path}, {place}: {name!r} is not one image.")
        for index in indices:
            number = whole(index) if isinstance(index, str) else index
            if type(number) is not int or not 0 <= number < classes:
                shown = repr(index[:40] if isinstance(index, str) else index)
                raise InputError(
                    f"{path}, {place}: {shown} is not the index of a class, 0 to {classes - 1}."
                )
            rows.append(len(names))
            columns.append(number)
        if len(set(columns[len(columns) - len(indices) :])) != len(indices):
            raise InputError(f"{path}, {place}: a class is named twice.")
        names.append(name)
        places.append(place)
    _once(path, names, places)
    labels = np.zeros((len(names), classes), np.int8)
    labels[rows, columns] = 1
    return LabelList(path, tuple(names), tuple(places), labels)
