"""Reads Caltech-UCSD Birds 200-2011 as 312 binary attributes per image.

Files: `images.txt` (id, path), `train_test_split.txt` (id, 1 for training), `attributes.txt` (id,
name; beside the folder CUB_200_2011 in the official archive) and
`attributes/image_attribute_labels.txt` (image, attribute, 0 or 1, certainty 1 to 4, seconds). A few
lines of the official file have additional columns, which are ignored.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from splits import numbers
from splits.errors import InputError
from splits.source import Source
from splits.sources._matrix import name_array
from splits.sources._text import (
    check_unique,
    digests,
    find_file,
    line_error,
    numbered_lines,
    read_lines,
    whole_number,
)
from splits.sources.registry import Option

FORM = "cub:ROOT"
HELP = "CUB-200-2011, 312 attributes: ROOT is the folder CUB_200_2011 or its parent."
OPTIONS = {
    "certainty": Option(
        "ignore", "ignore, or unknown-below=N: labels less certain than N (1 to 4) are unknown"
    ),
}

_BELOW = "unknown-below="


def load(path: Path, *, certainty: str = "ignore", name: str = "cub") -> Source:
    """Read CUB-200-2011.

    Args:
        path: the folder of the archive, or CUB_200_2011 inside it.
        certainty: "ignore", or "unknown-below=N".
        name: the name of the data set.

    Returns:
        The source; image ids are CUB's numbers as text.

    Raises:
        InputError: a file that is missing, truncated or malformed, a repeated or unknown image or
            attribute.
    """
    root = Path(path)
    least = _least(certainty)
    base = root / "CUB_200_2011" if (root / "CUB_200_2011" / "images.txt").is_file() else root
    images = find_file(base, "images.txt", content="the images")
    split = find_file(base, "train_test_split.txt", content="the part of each image")
    names = find_file(
        base,
        "attributes.txt",
        "../attributes.txt",
        "attributes/attributes.txt",
        content="the classes",
    ).resolve()
    labelled = find_file(base, "attributes/image_attribute_labels.txt", content="the labels")
    paths, classes = _table(images, "image", "path"), _table(names, "attribute", "name")
    part = _parts(split, list(paths))
    labels = _labels(labelled, list(paths), list(classes), least)
    files = [images, split, names, labelled]
    return Source(
        name=name,
        class_names=tuple(classes.values()),
        image_ids=name_array(images, "image id", list(paths)),
        labels=labels,
        part=part,
        paths=name_array(images, "image path", list(paths.values())),
        roots=(base / "images",) if (base / "images").is_dir() else (),
        features=None,
        digests={
            file.name: digest for file in files for digest in digests(file.parent, [file]).values()
        },
        path=root,
    )


def _least(certainty: str) -> int:
    """The smallest certainty of known labels; 0 if all labels are known."""
    if certainty == "ignore":
        return 0
    number = certainty.removeprefix(_BELOW)
    if not certainty.startswith(_BELOW) or number not in ("1", "2", "3", "4"):
        raise InputError(
            f"certainty of source cub must be ignore or {_BELOW}N with N from 1 to 4, not "
            f"{certainty!r}."
        )
    return int(number)


def _table(file: Path, noun: str, value: str) -> dict[str, str]:
    """Id -> the rest of its line."""
    values: dict[str, str] = {}
    id_lines: dict[str, int] = {}
    value_lines: dict[str, int] = {}
    for line, text in numbered_lines(file):
        fields = text.split(maxsplit=1)
        if len(fields) != 2:
            raise line_error(
                file, line, f"a line must be the id of an {noun} and its {value}, not {text!r}."
            )
        number = str(whole_number(file, line, fields[0], f"the id of an {noun}"))
        check_unique(file, line, noun, number, id_lines)
        check_unique(file, line, f"{noun} {value}", fields[1], value_lines)
        values[number] = fields[1]
    if not values:
        raise InputError(f"{file}: the file is empty; it must list each {noun}.")
    return values


def _parts(file: Path, images: list[str]) -> np.ndarray:
    """0 train or 1 test for each image."""
    row = {image: position for position, image in enumerate(images)}
    lines: dict[str, int] = {}
    part = np.zeros(len(images), np.uint8)
    for line, text in numbered_lines(file):
        fields = text.split()
        if len(fields) != 2 or fields[1] not in ("0", "1"):
            raise line_error(
                file, line, f"a line must be an image id and 1 (train) or 0 (test), not {text!r}."
            )
        if fields[0] not in row:
            raise line_error(file, line, f"image {fields[0]!r} is not in images.txt.")
        check_unique(file, line, "image", fields[0], lines)
        part[row[fields[0]]] = fields[1] == "0"
    if not lines:
        raise InputError(f"{file}: the file is empty; it must have a line for each image.")
    for image in images:
        if image not in lines:
            last = max(lines.values())
            raise line_error(file, last, f"the file ends here and has no line for image {image!r}.")
    return part


def _labels(file: Path, images: list[str], attributes: list[str], least: int) -> np.ndarray:
    """The labels, int8 [N, C], of a file with one line for each image and attribute."""
    table = _columns(file, 4 if least else 3)
    if not len(table):
        raise InputError(f"{file}: the file is empty; it must have a line for each label.")
    row = _positions(table[:, 0], images)
    column = _positions(table[:, 1], attributes)
    present = table[:, 2]
    valid = (row >= 0) & (column >= 0) & (present >= 0) & (present <= 1)
    if least:
        valid &= (table[:, 3] >= 1) & (table[:, 3] <= 4)
    if not valid.all():
        line = int(valid.argmin())
        raise _label_error(file, line + 1, table[line], row[line], column[line])
    keys = row * len(attributes) + column
    _check_pairs(file, table, keys, images, attributes)
    labels = np.empty(len(keys), np.int8)
    labels[keys] = present if not least else np.where(table[:, 3] < least, -1, present)
    return labels.reshape(len(images), len(attributes))


def _check_pairs(
    file: Path, table: np.ndarray, keys: np.ndarray, images: list[str], attributes: list[str]
) -> None:
    """Raise for a pair of image and attribute that is repeated or missing.

    Args:
        file: the file, for messages.
        table: its lines.
        keys: the number of the pair of each line, image by image.
        images: the ids of the images.
        attributes: the ids of the attributes.
    """
    order = np.argsort(keys, kind="stable")
    ascending = keys[order]
    repeated = np.diff(ascending) == 0
    if repeated.any():
        first, line = order[int(repeated.argmax()) :][:2] + 1
        image, attribute = table[line - 1, :2]
        pair = f"image {image} with attribute {attribute}"
        raise line_error(file, int(line), f"{pair} occurs twice, first in line {first}.")
    total = len(images) * len(attributes)
    if len(keys) < total:
        gaps = ascending != np.arange(len(keys))
        missing = int(gaps.argmax()) if gaps.any() else len(keys)
        image, attribute = divmod(missing, len(attributes))
        raise line_error(
            file,
            len(table),
            f"the file ends here and has no line for image {images[image]} with attribute "
            f"{attributes[attribute]}; it has {len(table)} of {total} lines.",
        )


def _columns(file: Path, count: int) -> np.ndarray:
    """The first columns of a file of whole numbers, int64 [lines, count]."""
    try:
        table = pd.read_csv(
            file,
            sep=r"\s+",
            header=None,
            names=[str(column) for column in range(count)],
            usecols=list(range(count)),
            dtype="int32",
            encoding="utf-8-sig",
            skip_blank_lines=False,
        )
        return table.to_numpy(np.int64)
    except (ValueError, OverflowError):  # pandas' parser errors are ValueErrors
        pass
    lines = read_lines(file)
    while lines and not lines[-1].strip():
        lines.pop()
    rows = []
    for line, text in enumerate(lines, 1):
        fields = text.split()[:count]
        if len(fields) < count or not all(field.isascii() and field.isdigit() for field in fields):
            raise line_error(
                file,
                line,
                f"a line must begin with {count} whole numbers (image, attribute, 0 or 1"
                f"{', certainty' if count == 4 else ''}), not {text!r}.",
            )
        parsed = map(numbers.parse_whole, fields)  # None is larger than any id
        rows.append([np.iinfo(np.int64).max if number is None else number for number in parsed])
    return np.array(rows, np.int64).reshape(-1, count)


def _positions(values: np.ndarray, known: list[str]) -> np.ndarray:
    """The position of each value in a list of unique numbers as texts, or -1."""
    ids = np.array([int(number) for number in known])
    order = np.argsort(ids)
    nearest = np.searchsorted(ids[order], values).clip(max=len(ids) - 1)
    return np.where(ids[order][nearest] == values, order[nearest], -1)


def _label_error(file: Path, line: int, fields: np.ndarray, row: int, column: int) -> InputError:
    if row < 0:
        return line_error(file, line, f"image {fields[0]} is not in images.txt.")
    if column < 0:
        return line_error(file, line, f"attribute {fields[1]} is not in attributes.txt.")
    if fields[2] not in (0, 1):
        return line_error(file, line, f"the third column must be 0 or 1, not {fields[2]}.")
    return line_error(file, line, f"the certainty must be 1 to 4, not {fields[3]}.")
