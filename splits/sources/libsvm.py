"""Reads multi-label LibSVM files: lines `1,3 5:0.2 7:1`, labels and then `feature:value`.

A line without labels begins with its first feature. An empty line is an image without labels and
features, except at the end of the file. A `#` starts a comment.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from splits.errors import InputError
from splits.source import Source
from splits.sources._matrix import MAX_CLASSES, check_dense, zeros
from splits.sources._text import (
    digests,
    line_error,
    part_codes,
    read_lines,
    read_names,
    whole_number,
)
from splits.sources.registry import Option

FORM = "libsvm:FILE"
HELP = "Multi-label LibSVM: lines '1,3 5:0.2 7:1'; images are numbered."
OPTIONS = {
    "test": Option("", "a second file with the test part", is_path=True),
    "labels_from": Option(0, "the number of the first class", (0, 1)),
    "features_from": Option(1, "the number of the first feature", (0, 1), {"features": ("dense",)}),
    "features": Option("dense", "dense, or none to read labels only", ("dense", "none")),
    "classes": Option(
        "", "a file with a class name per line; else class_0, class_1, ...", is_path=True
    ),
}


def load(
    path: Path,
    *,
    test: str = "",
    labels_from: int = 0,
    features_from: int = 1,
    features: str = "dense",
    classes: str = "",
    name: str | None = None,
) -> Source:
    """Read a LibSVM file, or one for training and one for testing.

    Args:
        path: the file.
        test: a second file with the test part.
        labels_from: the number of the first class, 0 or 1.
        features_from: the number of the first feature, 0 or 1.
        features: "dense" for float32 [N, 1, D], or "none".
        classes: a file with a class name per line, in the order of the numbers.
        name: the name of the data set; by default the stem of the file name.

    Returns:
        The source. Without `classes`, the largest number defines the count of classes.

    Raises:
        InputError: a missing file, or a malformed line.
    """
    files = [Path(path), *([Path(test)] if test else [])]
    names = read_names(Path(classes), "class") if classes else []
    lines = [
        _read(file, labels_from, features_from, len(names), features == "dense") for file in files
    ]
    rows = [row for part in lines for row in part]
    if not rows:
        raise InputError(f"{path}: the file is empty; it must have a line for each image.")
    count = len(names) or 1 + max((label for row in rows for label in row[0]), default=-1)
    if not count:
        raise InputError(f"{path}: no line has a label; name the classes with classes=FILE.")
    labels = zeros(Path(path), len(rows), count, sum(len(row[0]) for row in rows))
    for row, (positive, _) in enumerate(rows):
        labels[row, positive] = 1
    return Source(
        name=name or Path(path).stem,
        class_names=tuple(names) or tuple(f"class_{number}" for number in range(count)),
        image_ids=np.arange(len(rows)).astype(np.str_),
        labels=labels,
        part=part_codes([len(part) for part in lines]),
        paths=None,
        roots=(),
        features=_dense(Path(path), [row[1] for row in rows]) if features == "dense" else None,
        digests=digests(Path(path).parent, [*files, *([Path(classes)] if classes else [])]),
        path=Path(path),
    )


def _read(
    file: Path, labels_from: int, features_from: int, classes: int, features: bool
) -> list[tuple[list[int], dict[int, float]]]:
    """Classes and features of each line, both numbered from 0."""
    lines, rows = read_lines(file), []
    while lines and not lines[-1]:
        lines.pop()
    for line, text in enumerate(lines, 1):
        if text.startswith("#"):
            continue
        fields = text.partition("#")[0].split()
        labels = fields.pop(0).split(",") if fields and ":" not in fields[0] else []
        positive = [_number(file, line, "a class", label, labels_from) for label in labels]
        for label in positive:
            if label >= (classes or MAX_CLASSES):
                where = f"in the list of {classes} classes" if classes else "a class of any set"
                last = (classes or MAX_CLASSES) + labels_from - 1
                raise line_error(
                    file,
                    line,
                    f"class {label + labels_from} is not {where} ({labels_from} to {last}).",
                )
        if len(set(positive)) < len(positive):
            raise line_error(file, line, f"a class occurs twice in {','.join(labels)!r}.")
        rows.append((positive, _features(file, line, fields, features_from) if features else {}))
    return rows


def _number(file: Path, line: int, noun: str, text: str, least: int) -> int:
    number = whole_number(file, line, text, noun) - least
    if number < 0:
        key = "labels_from" if noun == "a class" else "features_from"
        raise line_error(file, line, f"{noun} has the number 0, but {key} is {least}.")
    return number


def _features(file: Path, line: int, fields: list[str], least: int) -> dict[int, float]:
    features: dict[int, float] = {}
    for field in fields:
        key, colon, text = field.partition(":")
        try:
            value = float(text)
        except ValueError:
            colon = ""
        if not colon:
            raise line_error(file, line, f"a feature must be NUMBER:VALUE, not {field!r}.")
        number = _number(file, line, "a feature", key, least)
        if number in features:
            raise line_error(file, line, f"feature {key} occurs twice.")
        features[number] = value
    return features


def _dense(path: Path, rows: list[dict[int, float]]) -> np.ndarray:
    """Float32 [N, 1, D]; features that a line does not name are 0."""
    width = 1 + max((number for row in rows for number in row), default=-1)
    if not width:
        raise InputError(f"{path}: no line has a feature; features=none reads labels only.")
    try:
        check_dense(len(rows) * width, sum(map(len, rows)), itemsize=4)
        dense = np.zeros((len(rows), 1, width), np.float32)
    except (MemoryError, ValueError):
        raise InputError(
            f"{path}: there is not enough memory for {len(rows)} images with {width} features; is "
            f"the number of the last feature right? features=none reads labels only."
        ) from None
    with np.errstate(over="ignore"):  # `Source` refuses infinite numbers
        for row, values in enumerate(rows):
            dense[row, 0, list(values)] = list(values.values())
    return dense
