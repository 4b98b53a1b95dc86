"""Reads published lists: one image per line, then its classes by number, or a 0 or 1 per class.

Lines such as `val/12.jpg, 0 3 17` or `12.jpg 0 3 17` (numbers), or `12.jpg 1 0 0 1` (flags).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from splits.errors import InputError
from splits.source import Source
from splits.sources._matrix import MOST_CLASSES, zeros
from splits.sources._text import (
    digests,
    no_overlap,
    numbered,
    once,
    parts,
    read_names,
    whole,
    wrong,
)
from splits.sources.registry import Option

FORM = "list:FILE"
HELP = "A text list, one image per line: 'FILE.jpg, 0 3 17' (classes) or 'FILE.jpg 1 0 0 1'."
OPTIONS = {
    "test": Option("", "a second list with the test part", record="name"),
    "labels": Option("numbers", "class numbers, or a 0 or 1 for every class", ("numbers", "flags")),
    "labels_from": Option(
        0, "numbers: the number of the first class", (0, 1), {"labels": ("numbers",)}
    ),
    "classes": Option(
        "", "a file with a class name per line; else class_0, class_1, ...", record="name"
    ),
    "images": Option("", "the folder that the image names are relative to", record="no"),
}


def load(
    path: Path,
    *,
    test: str = "",
    labels: str = "numbers",
    labels_from: int = 0,
    classes: str = "",
    images: str = "",
) -> Source:
    """Read a list, or one for training and one for testing.

    Args:
        path: the list; names of images have no space in them.
        test: a second list with the test part.
        labels: "numbers" or "flags".
        labels_from: the number of the first class, 0 or 1.
        classes: a file with a class name per line.
        images: the folder of the images.

    Returns:
        The source; image ids are the names in the list. Without `classes` there are as many as
        the largest number, or the number of flags, says.

    Raises:
        InputError: a missing file, a line that is not as above, a class that is not in the list of
            classes or comes twice in a line, an image that comes twice.
    """
    files = [Path(path), *([Path(test)] if test else [])]
    names = read_names(Path(classes), "class") if classes else []
    first, words = zip(*(_read(file) for file in files), strict=True)
    if len(files) == 2:
        no_overlap(files[0], first[0], files[1], first[1])
    width = len(names)
    rows: list[list[int]] = []
    for file, lines, listed in zip(files, first, words, strict=True):
        for line, texts in zip(lines.values(), listed, strict=True):
            if labels == "flags":
                width = width or len(texts)
                rows.append(_flags(file, line, texts, width))
            else:
                rows.append(_numbers(file, line, texts, labels_from, len(names)))
    matrix = _matrix(files[0], rows, width)
    ids = np.array([image for lines in first for image in lines], np.str_)
    if images and not Path(images).is_dir():
        raise InputError(f"{images}: there is no such folder of images.")
    return Source(
        name=Path(path).stem,
        class_names=tuple(names) or tuple(f"class_{number}" for number in range(matrix.shape[1])),
        image_ids=ids,
        labels=matrix,
        part=parts([len(lines) for lines in first]),
        paths=ids,
        roots=(Path(images),) if images else (),
        features=None,
        digests=digests(Path(path).parent, [*files, *([Path(classes)] if classes else [])]),
        path=Path(path),
    )


def _read(file: Path) -> tuple[dict[str, int], list[list[str]]]:
    """Image -> line, and the words behind each image."""
    lines: dict[str, int] = {}
    words = []
    for line, text in numbered(file):
        image, *rest = text.replace(",", " ").split() or [text]
        once(file, line, "image", image, lines)
        words.append(rest)
    if not lines:
        raise InputError(f"{file}: the file is empty; it must have a line for each image.")
    return lines, words


def _matrix(file: Path, rows: list[list[int]], width: int) -> np.ndarray:
    """Labels [N, C] from the positive classes of each row."""
    width = width or 1 + max((number for row in rows for number in row), default=-1)
    if not width:
        raise InputError(f"{file}: no line has a label; give the classes with classes=FILE.")
    matrix = zeros(file, len(rows), width)
    for row, positive in enumerate(rows):
        matrix[row, positive] = 1
    return matrix


def _flags(file: Path, line: int, words: list[str], width: int) -> list[int]:
    if len(words) != width:
        raise wrong(file, line, f"the line has {len(words)} labels; there are {width} classes.")
    for word in words:
        if word not in ("0", "1"):
            raise wrong(file, line, f"a label is 0 or 1, not {word!r}.")
    return [column for column, word in enumerate(words) if word == "1"]


def _numbers(file: Path, line: int, words: list[str], least: int, classes: int) -> list[int]:
    found: list[int] = []
    for word in words:
        number = whole(file, line, word, "a class") - least
        if not 0 <= number < (classes or MOST_CLASSES):
            last = (classes or MOST_CLASSES) + least - 1
            end = f"they are numbered {least} to {last}."
            raise wrong(file, line, f"class {word} is unknown; {end}")
        if number in found:
            raise wrong(file, line, f"class {word} comes twice.")
        found.append(number)
    return found
