"""Reads the human-verified image-level labels of Open Images, V4 to V7.

Files: CSVs with the columns ImageID, Source, LabelName and Confidence (1 verified present, 0
verified absent), and a class list of lines `mid,name`, with or without the header
`LabelName,DisplayName`. Labels that nobody verified are unknown, also in the test part; therefore
the labels are `SparseLabels` with the fill -1.
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

from splits import reasons
from splits.errors import InputError
from splits.labels import SparseLabels
from splits.source import Source
from splits.sources._matrix import name_array
from splits.sources._text import check_unique, digests, find_file, line_error, part_codes, read_text
from splits.sources.registry import Option

FORM = "openimages:ROOT"
HELP = "Open Images V4 to V7, human image-level labels; unverified labels are unknown."
OPTIONS = {
    "train": Option(
        "train-annotations-human-imagelabels-boxable.csv", "the training labels", is_path=True
    ),
    "validation": Option("", "more labels for the training part", is_path=True),
    "test": Option(
        "test-annotations-human-imagelabels-boxable.csv", "the test labels, or none", is_path=True
    ),
    "classes": Option(
        "class-descriptions-boxable.csv", "the class list, lines mid,name", is_path=True
    ),
    "other_classes": Option(
        "refuse",
        "rows of classes outside the list; drop also drops images without another row",
        ("refuse", "drop"),
    ),
    "repeated": Option("refuse", "identical rows", ("refuse", "merge")),
    "threshold": Option(
        0.0, "accept fractional confidences: positive from here on, unknown between 0 and here"
    ),
}

HAS_UNKNOWN_LABELS = True

_COLUMNS = ("ImageID", "LabelName", "Confidence")
_CHUNK = 1 << 19
_BLOCK = 1 << 24  # bytes
_WRONG, _LEFT_OUT = 3, 2


@dataclass(frozen=True)
class _Rules:
    """How rows are read: class -> column, and the options of `load`."""

    column: dict[str, int]
    drop: bool
    merge: bool
    threshold: float


# Row, column, code and line of each label of a file, or of a chunk of it.
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
        path: the folder of the files; the following names are relative to it.
        train: the CSV of the training labels.
        validation: another CSV for the training part, or empty.
        test: the CSV of the test labels, or "none".
        classes: the class list.
        other_classes: "refuse" or "drop" rows of classes that are not in the list.
        repeated: "refuse" or "merge" rows with the same label of the same image and class.
        threshold: in [0, 1]. With 0, confidences other than 0 and 1 are errors; else this is the
            smallest confidence of a positive, and confidences between 0 and it are unknown.
        name: the name of the data set.

    Returns:
        The source, with sparse labels; images in the order of their first rows.

    Raises:
        InputError: a file that is missing or malformed, an unknown class, an image in two files, a
            repeated pair of image and class.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold of source openimages must be in [0, 1], not {threshold}.")
    root = Path(path)
    class_list = find_file(root, classes, content="the classes")
    column, class_names = _classes(class_list)
    rules = _Rules(column, other_classes == "drop", repeated == "merge", threshold)
    names = [[train, *filter(None, [validation])]] + ([[test]] if test != "none" else [])
    files = [[find_file(root, file, content="labels") for file in part] for part in names]
    ids: dict[str, int] = {}
    sizes, labels = [], []
    for part in files:
        before = len(ids)
        labels += [_read(file, rules, ids) for file in part]
        sizes.append(len(ids) - before)
    return Source(
        name=name,
        class_names=class_names,
        image_ids=name_array(root, "image", list(ids)),
        labels=_matrix(labels, len(ids), len(class_names)),
        part=part_codes(sizes),
        paths=None,
        roots=(),
        features=None,
        digests=digests(root, [class_list, *files[0], *(files[1] if len(files) == 2 else [])]),
        path=root,
    )


def _matrix(labels: list[_Labels], images: int, classes: int) -> SparseLabels:
    row, column, code = (np.concatenate([piece[k] for piece in labels]) for k in range(3))
    return SparseLabels.from_triplets(row, column, code, (images, classes), fill=-1)


def _classes(file: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Class id -> column, and the names; a name of several classes is followed by the id."""
    column: dict[str, int] = {}
    lines: dict[str, int] = {}
    names: list[str] = []
    reader = csv.reader(io.StringIO(read_text(file), ""), strict=True)
    for row in _rows(file, reader):
        if not row or (reader.line_num == 1 and row[0] == "LabelName"):
            continue
        if len(row) != 2 or not row[0].strip() or not row[1].strip():
            raise line_error(
                file, reader.line_num, f"a line must be a class id and a name, not {row}."
            )
        check_unique(file, reader.line_num, "class", row[0], lines)
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
        sentence = f"this is not CSV, or it is truncated: {reasons.of_csv(error)}."
        raise line_error(file, line, sentence) from None


def _read(file: Path, rules: _Rules, ids: dict[str, int]) -> _Labels:
    """The labels of a file; its images are added to `ids`, image -> row."""
    header = _header(file)
    start, line, pieces = len(ids), 2, []
    try:
        with pd.read_csv(
            file,
            index_col=False,  # trailing commas would make the first column an index
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
                    error_line = int(piece[3][(piece[0] < start).argmax()])
                    image = chunk["ImageID"].iloc[error_line - line]
                    raise line_error(
                        file, error_line, f"image {image!r} is also in an earlier file."
                    )
                pieces.append(piece)
                line += len(chunk)
    except (UnicodeDecodeError, pd.errors.ParserError):
        raise _not_csv(file) from None
    _check_widths(file, len(header), line - 1)
    if len(ids) == start:
        raise InputError(f"{file}: the file has no label of a listed class.")
    row, column, code, lines = (np.concatenate([piece[k] for piece in pieces]) for k in range(4))
    return _unique(file, (row, column, code, lines), rules)


def _not_csv(file: Path) -> InputError:
    """The error for a file that pandas cannot parse; it names the line if this can be found."""
    try:
        for _ in _rows(file, csv.reader(io.StringIO(read_text(file), ""), strict=True)):
            pass
    except InputError as error:
        return error
    return InputError(f"{file}: this is not a CSV file, or it is truncated.")


def _header(file: Path) -> list[str]:
    """The names of the columns, after checking those that are read."""
    with file.open(encoding="utf-8-sig", errors="replace") as opened:
        first = opened.readline().rstrip("\r\n")
    header = next(csv.reader([first]), [])
    for name in _COLUMNS:
        if header.count(name) != 1:
            raise line_error(
                file, 1, f"the header must have one column {name!r}; its columns are {header}."
            )
    return header


def _check_widths(file: Path, columns: int, lines: int) -> None:
    """Refuse rows with more columns than the header, because pandas ignores the additional ones."""
    with file.open("rb") as opened:
        commas = sum(block.count(b",") for block in iter(lambda: opened.read(_BLOCK), b""))
    if commas <= (columns - 1) * lines:
        return
    with file.open(encoding="utf-8-sig", newline="") as text:  # quoted names may contain commas
        reader = csv.reader(text, strict=True)
        for row in _rows(file, reader):
            if any(cell.strip() for cell in row[columns:]):
                raise line_error(file, reader.line_num, "the row has more columns than the header.")


def _piece(
    file: Path, chunk: pd.DataFrame, line: int, rules: _Rules, ids: dict[str, int]
) -> _Labels:
    """The labels of a chunk of rows whose first one is in the given line."""
    numbers, names = pd.factorize(chunk["LabelName"].to_numpy())
    column = np.array([rules.column.get(name, -1) for name in names], np.int32)[numbers]
    codes = [_code(str(text), rules.threshold) for text in chunk["Confidence"].cat.categories]
    code = np.array([*codes, _WRONG], np.int8)[chunk["Confidence"].cat.codes]
    images = chunk["ImageID"]
    has_id = (images != "").to_numpy()
    blank = ~has_id & (chunk["LabelName"] == "").to_numpy() & (chunk["Confidence"] == "").to_numpy()
    valid = has_id & (code != _WRONG) & (rules.drop | (column >= 0)) | blank
    if not valid.all():
        raise _row_error(file, line, int(valid.argmin()), chunk, column, has_id)
    kept = np.flatnonzero(~blank & (column >= 0) & (code != _LEFT_OUT))
    numbers, unique = pd.factorize(images.to_numpy()[kept])
    rows = np.array([ids.setdefault(str(name), len(ids)) for name in unique], np.int32)
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


def _row_error(
    file: Path, line: int, row: int, chunk: pd.DataFrame, column: np.ndarray, has_id: np.ndarray
) -> InputError:
    name, confidence = chunk["LabelName"].iloc[row], str(chunk["Confidence"].iloc[row])
    if not has_id[row]:
        return line_error(file, line + row, "the image id is empty.")
    if column[row] < 0:
        return line_error(
            file,
            line + row,
            f"class {name!r} is not in the class list; use another list, or other_classes=drop.",
        )
    return line_error(
        file,
        line + row,
        f"the confidence must be 1 (verified present) or 0 (verified absent), not {confidence!r}; "
        f"threshold=T accepts the fractions of machine-generated labels.",
    )


def _unique(file: Path, labels: _Labels, rules: _Rules) -> _Labels:
    """The labels without repeated ones, which are an error unless they are merged."""
    row, column, code, line = labels
    keys = row.astype(np.int64) * len(rules.column) + column
    if (np.diff(keys) > 0).all():
        return labels
    order = np.argsort(keys, kind="stable")
    repeated = np.flatnonzero(np.diff(keys[order]) == 0) + 1
    refused = repeated
    if rules.merge:
        refused = repeated[code[order[repeated]] != code[order[repeated - 1]]]
    if len(refused):
        position = refused[line[order[refused]].argmin()]
        first, second = order[position - 1], order[position]
        name = next(key for key, index in rules.column.items() if index == column[second])
        is_same = code[first] == code[second]
        label = "the same label (repeated=merge accepts that)" if is_same else "the opposite label"
        raise line_error(
            file,
            int(line[second]),
            f"class {name!r} occurs twice for one image; line {line[first]} has {label}.",
        )
    kept = np.ones(len(row), bool)
    kept[order[repeated]] = False
    return row[kept], column[kept], code[kept], line[kept]
