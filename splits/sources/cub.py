"""Reads Caltech-UCSD Birds 200-2011 as 312 binary attributes per image.

Files: `images.txt` (id, path), `train_test_split.txt` (id, 1 for training), `attributes.txt` (id,
name; it lies beside the folder CUB_200_2011 in the official archive) and
`attributes/image_attribute_labels.txt` (image, attribute, 0 or 1, certainty 1 to 4, seconds). A few
lines of the official file have more columns; only the first ones are read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from splits import numbers
from splits.errors import InputError
from splits.source import Source
from splits.sources._text import digests, existing, numbered, once, read_lines, whole, wrong
from splits.sources.registry import Option

FORM = "cub:ROOT"
HELP = "CUB-200-2011, 312 attributes: ROOT is the folder CUB_200_2011 or the one that holds it."
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
        name: what to call the data set.

    Returns:
        The source; image ids are CUB's numbers as text.

    Raises:
        InputError: a file that is missing, cut off or malformed, an image or attribute that comes
            twice or is unknown.
    """
    root = Path(path)
    least = _least(certainty)
    base = root / "CUB_200_2011" if (root / "CUB_200_2011" / "images.txt").is_file() else root
    images = existing(base, "images.txt", what="the images")
    split = existing(base, "train_test_split.txt", what="the part of each image")
    names = existing(
        base, "attributes.txt", "../attributes.txt", "attributes/attributes.txt", what="the classes"
    ).resolve()
    labelled = existing(base, "attributes/image_attribute_labels.txt", what="the labels")
    paths, classes = _table(images, "image", "path"), _table(names, "attribute", "name")
    part = _parts(split, list(paths))
    labels = _labels(labelled, list(paths), list(classes), least)
    files = [images, split, names, labelled]
    return Source(
        name=name,
        class_names=tuple(classes.values()),
        image_ids=np.array(list(paths), np.str_),
        labels=labels,
        part=part,
        paths=np.array(list(paths.values()), np.str_),
        roots=(base / "images",) if (base / "images").is_dir() else (),
        features=None,
        digests={
            file.name: digest for file in files for digest in digests(file.parent, [file]).values()
        },
        path=root,
    )


def _least(certainty: str) -> int:
    """The least certainty of a label that counts; 0 counts all."""
    if certainty == "ignore":
        return 0
    number = certainty.removeprefix(_BELOW)
    if not certainty.startswith(_BELOW) or number not in ("1", "2", "3", "4"):
        raise InputError(
            f"certainty of source cub is ignore or {_BELOW}N, N from 1 to 4, not {certainty!r}."
        )
    return int(number)


def _table(file: Path, what: str, value: str) -> dict[str, str]:
    """Id -> the rest of its line."""
    found: dict[str, str] = {}
    ids: dict[str, int] = {}
    values: dict[str, int] = {}
    for line, text in numbered(file):
        words = text.split(maxsplit=1)
        if len(words) != 2:
            raise wrong(file, line, f"a line is the id of an {what} and its {value}, not {text!r}.")
        number = str(whole(file, line, words[0], f"the id of an {what}"))
        once(file, line, what, number, ids)
        once(file, line, f"{what} {value}", words[1], values)
        found[number] = words[1]
    if not found:
        raise InputError(f"{file}: the file is empty; it must list each {what}.")
    return found


def _parts(file: Path, images: list[str]) -> np.ndarray:
    """0 train or 1 test for each image."""
    row = {image: position for position, image in enumerate(images)}
    ids: dict[str, int] = {}
    part = np.zeros(len(images), np.uint8)
    for line, text in numbered(file):
        words = text.split()
        if len(words) != 2 or words[1] not in ("0", "1"):
            raise wrong(file, line, f"a line is an image id and 1 (train) or 0, not {text!r}.")
        if words[0] not in row:
            raise wrong(file, line, f"image {words[0]!r} is not in images.txt.")
        once(file, line, "image", words[0], ids)
        part[row[words[0]]] = words[1] == "0"
    if not ids:
        raise InputError(f"{file}: the file is empty; it must have a line for each image.")
    for image in images:
        if image not in ids:
            last = max(ids.values())
            raise wrong(file, last, f"the file ends here and has no line for image {image!r}.")
    return part


def _labels(file: Path, images: list[str], attributes: list[str], least: int) -> np.ndarray:
    """The labels, int8 [N, C], of a file with one line for each image and attribute."""
    table = _columns(file, 4 if least else 3)
    if not len(table):
        raise InputError(f"{file}: the file is empty; it must have a line for each label.")
    row = _positions(table[:, 0], images)
    column = _positions(table[:, 1], attributes)
    present = table[:, 2]
    good = (row >= 0) & (column >= 0) & (present >= 0) & (present <= 1)
    if least:
        good &= (table[:, 3] >= 1) & (table[:, 3] <= 4)
    if not good.all():
        line = int(good.argmin())
        _say_wrong(file, line + 1, table[line], row[line], column[line])
    keys = row * len(attributes) + column
    count = np.bincount(keys, minlength=len(images) * len(attributes))
    if (count > 1).any():
        first, line = np.flatnonzero(keys == int((count > 1).argmax()))[:2] + 1
        image, attribute = table[line - 1, :2]
        pair = f"image {image} with attribute {attribute}"
        raise wrong(file, int(line), f"{pair} comes twice, first in line {first}.")
    if not count.all():
        image, attribute = divmod(int(count.argmin()), len(attributes))
        raise wrong(
            file,
            len(table),
            f"the file ends here and has no line for image {images[image]} with attribute "
            f"{attributes[attribute]}; it has {len(table)} of {len(count)} lines.",
        )
    labels = np.empty(len(count), np.int8)
    labels[keys] = present if not least else np.where(table[:, 3] < least, -1, present)
    return labels.reshape(len(images), len(attributes))


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
        words = text.split()[:count]
        if len(words) < count or not all(word.isascii() and word.isdigit() for word in words):
            raise wrong(
                file,
                line,
                f"a line begins with {count} whole numbers (image, attribute, 0 or 1"
                f"{', certainty' if count == 4 else ''}), not {text!r}.",
            )
        found = map(numbers.whole, words)  # no id is as large as those that it does not read
        rows.append([np.iinfo(np.int64).max if number is None else number for number in found])
    return np.array(rows, np.int64).reshape(-1, count)


def _positions(wanted: np.ndarray, known: list[str]) -> np.ndarray:
    """Where each number stands in a list of different numbers in text, or -1."""
    ids = np.array([int(number) for number in known])
    order = np.argsort(ids)
    place = np.searchsorted(ids[order], wanted).clip(max=len(ids) - 1)
    return np.where(ids[order][place] == wanted, order[place], -1)


def _say_wrong(file: Path, line: int, words: np.ndarray, row: int, column: int) -> None:
    if row < 0:
        raise wrong(file, line, f"image {words[0]} is not in images.txt.")
    if column < 0:
        raise wrong(file, line, f"attribute {words[1]} is not in attributes.txt.")
    if words[2] not in (0, 1):
        raise wrong(file, line, f"the third column is 0 or 1, not {words[2]}.")
    raise wrong(file, line, f"the certainty is 1 to 4, not {words[3]}.")
