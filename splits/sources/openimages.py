"""Reads the human-verified image-level labels of Open Images, V4 to V7.

Files: CSVs with the columns ImageID, Source, LabelName and Confidence (1 verified present, 0
verified absent), and a class list of lines `mid,name`, with or without the header
`LabelName,DisplayName`. What nobody verified is unknown, in the test part too; therefore the labels
are `SparseLabels` with the fill -1.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from splits.errors import InputError
from splits.labels import SparseLabels
from splits.source import Source
from splits.sources._text import digests, existing, once, parts, read_text, wrong
from splits.sources.registry import Option

FORM = "openimages:ROOT"
HELP = "Open Images V4 to V7, human image-level labels; what nobody verified is unknown."
OPTIONS = {
    "train": Option(
        "train-annotations-human-imagelabels-boxable.csv", "the training labels", record="name"
    ),
    "validation": Option("", "further labels that join the training part", record="name"),
    "test": Option(
        "test-annotations-human-imagelabels-boxable.csv", "the test labels, or none", record="name"
    ),
    "classes": Option(
        "class-descriptions-boxable.csv", "the class list, lines mid,name", record="name"
    ),
    "other_classes": Option(
        "refuse",
        "rows of classes outside the list; drop also drops images left bare",
        ("refuse", "drop"),
    ),
    "repeated": Option("refuse", "rows that say the same twice", ("refuse", "merge")),
    "threshold": Option(
        0.0, "accept fractional confidences: from here on positive, others but 0 left unknown"
    ),
}

_COLUMNS = ("ImageID", "LabelName", "Confidence")
_CHUNK = 1 << 19
_BLOCK = 1 << 24  # bytes
_WRONG, _LEFT_OUT = 3, 2


@dataclass(frozen=True)
class _Rules:
    """What a row may be: class -> column, and the options of `load`."""

    column: dict[str, int]
    drop: bool
    merge: bool
    threshold: float


# Row, column, code and line of each label of a file, or of a piece of it.
_Labels = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def load(
    path: Path,
    *,
    train: str = "train-annotations-human-imagelabels-boxable.csv",
    validation: str = "",
    test: str = "test-annotations-human-imagelabels-boxable.csv",
    classes: str = "class-descriptions-boxable.csv",
    other_classes: str = "refuse",
    repeated: str = "refuse",
    threshold: float = 0.0,
    name: str = "openimages",
) -> Source:
    """Read Open Images.

    Args:
        path: the folder of the files; the names below are relative to it.
        train: the CSV of the training labels.
        validation: one more CSV for the training part, or empty.
        test: the CSV of the test labels, or "none".
        classes: the class list.
        other_classes: "refuse" or "drop" rows of classes that are not in the list.
        repeated: "refuse" or "merge" rows that say the same of the same image and class.
        threshold: in [0, 1]; 0 to refuse confidences other than 0 and 1; else the least confidence
            of a positive, below which all but 0 is left unknown.
        name: what to call the data set.

    Returns:
        The source, with sparse labels; images in the order in which the files first name them.

    Raises:
        InputError: a file that is missing or malformed, an unknown class, an image in two files, a
            pair of image and class that comes twice.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold of source openimages is from 0 to 1, not {threshold}.")
    root = Path(path)
    listed = existing(root, classes, what="the classes")
    column, class_names = _classes(listed)
    rules = _Rules(column, other_classes == "drop", repeated == "merge", threshold)
    names = [[train, *filter(None, [validation])]] + ([[test]] if test != "none" else [])
    files = [[existing(root, file, what="labels") for file in part] for part in names]
    ids: dict[str, int] = {}
    sizes, found = [], []
    for part in files:
        before = len(ids)
        found += [_read(file, rules, ids) for file in part]
        sizes.append(len(ids) - before)
    return Source(
        name=name,
        class_names=class_names,
        image_ids=np.array(list(ids), np.str_),
        labels=_matrix(found, len(ids), len(class_names)),
        part=parts(sizes),
        paths=None,
        roots=(),
        features=None,
        digests=digests(root, [listed, *files[0], *(files[1] if len(files) == 2 else [])]),
        path=root,
    )


def _matrix(found: list[_Labels], images: int, classes: int) -> SparseLabels:
    row, column, code = (np.concatenate([labels[k] for labels in found]) for k in range(3))
    return SparseLabels.from_triplets(row, column, code, (images, classes), fill=-1)


def _classes(file: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Class id -> column, and the names; one that several classes share has its id behind it."""
    column: dict[str, int] = {}
    lines: dict[str, int] = {}
    names: list[str] = []
    reader = csv.reader(io.StringIO(read_text(file), ""), strict=True)
    for row in _rows(file, reader):
        if not row or (reader.line_num == 1 and row[0] == "LabelName"):
            continue
        if len(row) != 2 or not row[0].strip() or not row[1].strip():
            raise wrong(file, reader.line_num, f"a line is a class id and a name, not {row}.")
        once(file, reader.line_num, "class", row[0], lines)
        column[row[0]] = len(names)
        names.append(row[1].strip())
    if not names:
        raise InputError(f"{file}: the file is empty; it must list the classes.")
    shared = {name for name, count in Counter(names).items() if count > 1}
    return column, tuple(
        f"{name} ({key})" if name in shared else name
        for key, name in zip(column, names, strict=True)
    )


def _rows(file: Path, reader: Any) -> Iterator[list[str]]:
    line = 1
    try:
        for row in reader:
            yield row
            line = reader.line_num + 1
    except csv.Error as error:
        raise wrong(file, line, f"this is not CSV, or it was cut off ({error}).") from None


def _read(file: Path, rules: _Rules, ids: dict[str, int]) -> _Labels:
    """The labels of a file; its images are added to `ids`, image -> row."""
    header = _header(file)
    start, line, pieces = len(ids), 2, []
    try:
        with pd.read_csv(
            file,
            index_col=False,  # else a comma at each end makes the first column an index
            usecols=list(_COLUMNS),
            dtype={"ImageID": "str", "LabelName": "str", "Confidence": "category"},
            keep_default_na=False,
            skip_blank_lines=False,
            encoding="utf-8-sig",
            chunksize=_CHUNK,
        ) as chunks:
            for chunk in chunks:
                piece = _piece(file, chunk, line, rules, ids)
                if (piece[0] < start).any():
                    at = int((piece[0] < start).argmax())
                    image = chunk["ImageID"].iloc[int(piece[3][at]) - line]
                    raise wrong(
                        file, int(piece[3][at]), f"image {image!r} is also in a file before this."
                    )
                pieces.append(piece)
                line += len(chunk)
    except UnicodeDecodeError:
        read_text(file)  # names the line
        raise
    except pd.errors.ParserError as error:
        raise InputError(f"{file}: this is not a CSV file, or it was cut off ({error}).") from None
    _check_widths(file, len(header), line - 1)
    if len(ids) == start:
        raise InputError(f"{file}: the file has no label of a listed class.")
    row, column, code, lines = (np.concatenate([piece[k] for piece in pieces]) for k in range(4))
    return _once_each(file, (row, column, code, lines), rules)


def _header(file: Path) -> list[str]:
    """The names of the columns, those that are read once each."""
    with file.open(encoding="utf-8-sig", errors="replace") as opened:
        first = opened.readline().rstrip("\r\n")
    found = next(csv.reader([first]), [])
    for name in _COLUMNS:
        if found.count(name) != 1:
            raise wrong(file, 1, f"the header has no one column {name!r}; its columns are {found}.")
    return found


def _check_widths(file: Path, columns: int, lines: int) -> None:
    """Refuse a row with more columns than the header, whose rest pandas passes over."""
    with file.open("rb") as opened:
        commas = sum(block.count(b",") for block in iter(lambda: opened.read(_BLOCK), b""))
    if commas <= (columns - 1) * lines:
        return
    with file.open(encoding="utf-8-sig", newline="") as text:  # names may hold commas, in quotes
        reader = csv.reader(text, strict=True)
        for row in _rows(file, reader):
            if any(cell.strip() for cell in row[columns:]):
                raise wrong(file, reader.line_num, "the row has more columns than the header.")


def _piece(
    file: Path, chunk: pd.DataFrame, line: int, rules: _Rules, ids: dict[str, int]
) -> _Labels:
    """The labels of some rows, the first of which is in a line."""
    numbers, names = pd.factorize(chunk["LabelName"].to_numpy())
    column = np.array([rules.column.get(name, -1) for name in names], np.int32)[numbers]
    codes = [_code(str(text), rules.threshold) for text in chunk["Confidence"].cat.categories]
    code = np.array([*codes, _WRONG], np.int8)[chunk["Confidence"].cat.codes]
    images = chunk["ImageID"]
    named = (images != "").to_numpy()
    blank = ~named & (chunk["LabelName"] == "").to_numpy() & (chunk["Confidence"] == "").to_numpy()
    good = named & (code != _WRONG) & (rules.drop | (column >= 0)) | blank
    if not good.all():
        _say_wrong(file, line, int(good.argmin()), chunk, column, named)
    kept = np.flatnonzero(~blank & (column >= 0) & (code != _LEFT_OUT))
    numbers, different = pd.factorize(images.to_numpy()[kept])
    rows = np.array([ids.setdefault(str(name), len(ids)) for name in different], np.int32)
    return rows[numbers], column[kept], code[kept], (kept + line).astype(np.int32)


def _code(text: str, threshold: float) -> int:
    try:
        confidence = float(text)
    except ValueError:
        return _WRONG
    if confidence in (0.0, 1.0):
        return int(confidence)
    if not threshold or not 0 < confidence < 1:
        return _WRONG
    return 1 if confidence >= threshold else _LEFT_OUT


def _say_wrong(
    file: Path, line: int, at: int, chunk: pd.DataFrame, column: np.ndarray, named: np.ndarray
) -> None:
    name, confidence = chunk["LabelName"].iloc[at], str(chunk["Confidence"].iloc[at])
    if not named[at]:
        raise wrong(file, line + at, "the image id is empty.")
    if column[at] < 0:
        raise wrong(
            file,
            line + at,
            f"class {name!r} is not in the class list; give another list, or other_classes=drop.",
        )
    raise wrong(
        file,
        line + at,
        f"the confidence is 1 (verified present) or 0 (verified absent), not {confidence!r}; "
        f"fractions, which machines give, are read with threshold=T.",
    )


def _once_each(file: Path, labels: _Labels, rules: _Rules) -> _Labels:
    """The labels without repetitions, which are an error unless they are to be merged."""
    row, column, code, line = labels
    keys = row.astype(np.int64) * len(rules.column) + column
    if (np.diff(keys) > 0).all():
        return labels
    order = np.argsort(keys, kind="stable")
    again = np.flatnonzero(np.diff(keys[order]) == 0) + 1
    refused = again
    if rules.merge:
        refused = again[code[order[again]] != code[order[again - 1]]]
    if len(refused):
        place = refused[line[order[refused]].argmin()]
        first, second = line[order[place - 1]], line[order[place]]
        name = next(key for key, at in rules.column.items() if at == column[order[place]])
        same = code[order[place - 1]] == code[order[place]]
        said = "the same (repeated=merge accepts that)" if same else "the contrary"
        raise wrong(
            file,
            int(second),
            f"class {name!r} comes twice for one image; line {first} says {said}.",
        )
    kept = np.ones(len(row), bool)
    kept[order[again]] = False
    return row[kept], column[kept], code[kept], line[kept]
