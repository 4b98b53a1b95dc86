"""Reads lists with an image per line, followed by its class numbers or by a 0 or 1 per class.

Examples of lines: `val/12.jpg, 0 3 17` and `12.jpg 0 3 17` (numbers), `12.jpg 1 0 0 1` (flags).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from splits.errors import InputError
from splits.source import Source
from splits.sources._matrix import MAX_CLASSES, name_array, zeros
from splits.sources._text import (
    check_unique,
    digests,
    line_error,
    no_overlap,
    numbered_lines,
    part_codes,
    read_names,
    whole_number,
)
from splits.sources.registry import Option

FORM = "list:FILE"
HELP = "A text list, one image per line: 'FILE.jpg, 0 3 17' (classes) or 'FILE.jpg 1 0 0 1'."
OPTIONS = {
    "test": Option("", "a second list with the test part", is_path=True),
    "labels": Option("numbers", "class numbers, or a 0 or 1 for every class", ("numbers", "flags")),
    "labels_from": Option(
        0, "numbers: the number of the first class", (0, 1), {"labels": ("numbers",)}
    ),
    "classes": Option(
        "", "a file with a class name per line; else class_0, class_1, ...", is_path=True
    ),
    "images": Option(
        "", "the folder that the image names are relative to", is_path=True, record="never"
    ),
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
        path: the list; image names must not contain spaces.
        test: a second list with the test part.
        labels: "numbers" or "flags".
        labels_from: the number of the first class, 0 or 1.
        classes: a file with a class name per line.
        images: the folder of the images.

    Returns:
        The source; image ids are the names in the list. Without `classes`, the largest number or
        the number of flags defines the count of classes.

    Raises:
        InputError: a missing file, a malformed line, a class that is not in the list of classes or
            is repeated in a line, a repeated image.
    """
    files = [Path(path), *([Path(test)] if test else [])]
    names = read_names(Path(classes), "class") if classes else []
    image_lines, fields = zip(*(_read(file) for file in files), strict=True)
    if len(files) == 2:
        no_overlap(files[0], image_lines[0], files[1], image_lines[1])
    width = len(names)
    rows: list[list[int]] = []
    for file, lines, fields_of_file in zip(files, image_lines, fields, strict=True):
        for line, texts in zip(lines.values(), fields_of_file, strict=True):
            if labels == "flags":
                width = width or len(texts)
                rows.append(_flags(file, line, texts, width))
            else:
                rows.append(_numbers(file, line, texts, labels_from, len(names)))
    matrix = _matrix(files[0], rows, width)
    ids = name_array(files[0], "image", [image for lines in image_lines for image in lines])
    if images and not Path(images).is_dir():
        raise InputError(f"{images}: there is no such folder of images.")
    return Source(
        name=Path(path).stem,
        class_names=tuple(names) or tuple(f"class_{number}" for number in range(matrix.shape[1])),
        image_ids=ids,
        labels=matrix,
        part=part_codes([len(lines) for lines in image_lines]),
        paths=ids,
        roots=(Path(images),) if images else (),
        features=None,
        digests=digests(Path(path).parent, [*files, *([Path(classes)] if classes else [])]),
        path=Path(path),
    )


def _read(file: Path) -> tuple[dict[str, int], list[list[str]]]:
    """Image -> line, and the fields after each image."""
    lines: dict[str, int] = {}
    fields = []
    for line, text in numbered_lines(file):
        image, *rest = text.replace(",", " ").split() or [text]
        check_unique(file, line, "image", image, lines)
        fields.append(rest)
    if not lines:
        raise InputError(f"{file}: the file is empty; it must have a line for each image.")
    return lines, fields


def _matrix(file: Path, rows: list[list[int]], width: int) -> np.ndarray:
    """Labels [N, C] from the positive classes of each row."""
    width = width or 1 + max((number for row in rows for number in row), default=-1)
    if not width:
        raise InputError(f"{file}: no line has a label; name the classes with classes=FILE.")
    matrix = zeros(file, len(rows), width, sum(map(len, rows)))
    for row, positive in enumerate(rows):
        matrix[row, positive] = 1
    return matrix


def _flags(file: Path, line: int, flags: list[str], width: int) -> list[int]:
    if len(flags) != width:
        raise line_error(
            file, line, f"the line has {len(flags)} labels; there are {width} classes."
        )
    for flag in flags:
        if flag not in ("0", "1"):
            raise line_error(file, line, f"a label must be 0 or 1, not {flag!r}.")
    return [column for column, flag in enumerate(flags) if flag == "1"]


def _numbers(file: Path, line: int, texts: list[str], least: int, classes: int) -> list[int]:
    columns: dict[int, None] = {}  # in the order of the line
    for text in texts:
        column = whole_number(file, line, text, "a class") - least
        if not 0 <= column < (classes or MAX_CLASSES):
            last = (classes or MAX_CLASSES) + least - 1
            end = f"classes have the numbers {least} to {last}."
            raise line_error(file, line, f"class {text} is unknown; {end}")
        if column in columns:
            raise line_error(file, line, f"class {text} occurs twice.")
        columns[column] = None
    return list(columns)
