"""Tables of labels: a column per class (wide), a row per image and class (long), or lists.

The rows are texts with line numbers, from CSV or Parquet. A label is 1 or true, 0 or false, -1 or
empty; the last two are unknown.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from splits.errors import InputError
from splits.source import TEST, TRAIN, VAL, Source
from splits.sources._matrix import name_array, zeros
from splits.sources._text import digests, line_error, lines_by_name, read_names
from splits.sources.registry import Option

_LONG, _LISTS = {"layout": ("long",)}, {"layout": ("lists",)}
OPTIONS = {
    "layout": Option(
        "wide",
        "a column per class; or a row per image and class (long); or a cell with all classes",
        ("wide", "long", "lists"),
    ),
    "id": Option("", "the column of image ids; none numbers the rows  [default: the first]"),
    "classes": Option(
        "", "a file with a class name per line: these, in this order, and no others", is_path=True
    ),
    "features": Option(
        "",
        "wide, lists: the prefix of the names of the feature columns",
        only={"layout": ("wide", "lists")},
    ),
    "split": Option("", "the column of parts: train, test or val, or 0, 1 or 2"),
    "test_ids": Option(
        "", "a file with an image id per line: these images are the test part", is_path=True
    ),
    "label": Option(
        "label", "long, lists: the column of class names", only={"layout": ("long", "lists")}
    ),
    "value": Option(
        "", "long: the column of values; without one every row is a positive", only=_LONG
    ),
    "absent": Option(
        "negative", "long: the label of pairs without a row", ("negative", "unknown"), _LONG
    ),
    "separator": Option(
        "|", "lists: the separator of classes; 'space' and 'tab' are allowed", only=_LISTS
    ),
    "no_label": Option("", "lists: a name that means no class, such as 'No Finding'", only=_LISTS),
    "minus_one": Option("unknown", "the meaning of -1", ("unknown", "negative"), record="changed"),
    "images": Option(
        "", "the folder of the images; image ids are file names in it", is_path=True, record="never"
    ),
}

_VALUES = {"1": 1, "0": 0, "-1": -1, "": -1, "true": 1, "false": 0}
_PARTS = {"train": TRAIN, "0": TRAIN, "test": TEST, "1": TEST, "val": VAL, "2": VAL}
_BLANKS = {"space": " ", "tab": "\t"}

Rows = Iterator[tuple[int, list[str]]]


@dataclass(frozen=True)
class TableOptions:
    """The values of the options of a table; see `OPTIONS`."""

    layout: str = "wide"
    id: str = ""
    classes: str = ""
    features: str = ""
    split: str = ""
    test_ids: str = ""
    label: str = "label"
    value: str = ""
    absent: str = "negative"
    separator: str = "|"
    no_label: str = ""
    minus_one: str = "unknown"
    images: str = ""


@dataclass
class _Table:
    """The images that are read so far: image -> row, and the line, part and features of each."""

    file: Path
    options: TableOptions
    header: list[str]

    def __post_init__(self) -> None:
        self.ids: dict[str, int] = {}
        self.lines: list[int] = []
        self.part = bytearray()
        self.features = array("f")
        options, header = self.options, self.header
        self.columns: dict[str, int] = {}
        for column, name in enumerate(header):
            if name in self.columns:
                raise line_error(self.file, 1, f"column {name!r} occurs twice in the header.")
            self.columns[name] = column
        self.id = -1 if options.id == "none" else self.column(options.id) if options.id else 0
        self.split = self.column(options.split) if options.split else -1
        self.feature = [
            column
            for column, name in enumerate(header)
            if options.features and name.startswith(options.features)
        ]
        if options.features and not self.feature:
            raise line_error(self.file, 1, f"no feature column begins with {options.features!r}.")

    def column(self, name: str) -> int:
        """The position of a column."""
        if name not in self.columns:
            raise line_error(
                self.file, 1, f"the header has no column {name!r}; its columns are {self.header}."
            )
        return self.columns[name]

    def image(self, line: int, fields: list[str], may_repeat: bool) -> int:
        """The row of the image of a line; a new image is added."""
        name = str(len(self.ids)) if self.id < 0 else fields[self.id].strip()
        if not name:
            raise line_error(self.file, line, "the image id is empty.")
        part = 0 if self.split < 0 else self._part(line, fields[self.split].strip())
        if name not in self.ids:
            self.ids[name] = len(self.ids)
            self.lines.append(line)
            self.part.append(part)
            self._add_features(line, fields)
            return self.ids[name]
        row = self.ids[name]
        if not may_repeat:
            raise line_error(
                self.file, line, f"image {name!r} occurs twice, first in line {self.lines[row]}."
            )
        if self.part[row] != part:
            raise line_error(
                self.file, line, f"image {name!r} is in another part in line {self.lines[row]}."
            )
        return row

    def _part(self, line: int, text: str) -> int:
        if text.lower() not in _PARTS:
            raise line_error(
                self.file, line, f"{self.options.split!r} must be train, test or val, not {text!r}."
            )
        return _PARTS[text.lower()]

    def _add_features(self, line: int, fields: list[str]) -> None:
        for column in self.feature:
            try:
                number = float(fields[column])
            except ValueError:
                raise line_error(
                    self.file,
                    line,
                    f"feature {self.header[column]!r} must be a number, not {fields[column]!r}.",
                ) from None
            try:
                self.features.append(number)
            except OverflowError:
                self.features.append(np.inf)  # refused by `Source`, which names the image

    def value(self, line: int, column: int, text: str) -> int:
        """The code of a label."""
        text = text.strip()
        code = _code(text)
        if code == -1 and text and self.options.minus_one == "negative":
            return 0
        if code is None:
            raise line_error(
                self.file,
                line,
                f"{self.header[column]!r} is {text!r}; a label must be 1 (positive), 0 (negative), "
                f"-1 or empty (unknown).",
            )
        return code


def _code(text: str) -> int | None:
    """The code of a text, or None if the text is not a label."""
    code = _VALUES.get(text.lower())
    if code is None:
        try:
            number = float(text)  # 1.0 and .0 are labels too
        except ValueError:
            return None
        code = int(number) if number in (1, 0, -1) else None
    return code


def read(file: Path, header: list[str], rows: Rows, options: TableOptions) -> Source:
    """A source from a table.

    Args:
        file: the file of the table.
        header: the names of its columns.
        rows: the line and the texts of each row, one text per column.
        options: the values of the options.

    Raises:
        InputError: a missing or repeated column, a repeated image or pair of image and class, an
            unknown class, a value that is not a label, number or part, or no row at all.
    """
    table = _Table(file, options, header)
    if options.split and options.test_ids:
        raise InputError(
            f"{file}: the column {options.split!r} and test_ids both define the test part; leave "
            f"one of them out."
        )
    lists = (options.classes, options.test_ids)
    listed = read_names(Path(options.classes), "class") if options.classes else None
    tests = lines_by_name(Path(options.test_ids), "test image") if options.test_ids else {}
    reader = {"wide": _wide, "long": _long, "lists": _lists}[options.layout]
    names, labels = reader(table, rows, listed)
    if not table.ids:
        raise line_error(file, 1, "the file has a header but no rows.")
    _mark_test(table, tests)
    folder = Path(options.images) if options.images else None
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder of images.")
    ids = name_array(file, "image", list(table.ids))
    features = np.frombuffer(table.features, np.float32).reshape(len(ids), 1, -1)
    return Source(
        name=file.stem,
        class_names=tuple(names),
        image_ids=ids,
        labels=labels,
        part=np.frombuffer(bytes(table.part), np.uint8) if options.split or tests else None,
        paths=ids if folder is not None else None,
        roots=() if folder is None else (folder,),
        features=features if options.features else None,
        digests=digests(file.parent, [file, *map(Path, filter(None, lists))]),
        path=file,
    )


def _mark_test(table: _Table, tests: dict[str, int]) -> None:
    """Move images into the test part; `tests` maps each to its line in `test_ids`."""
    for name, line in tests.items():
        if name not in table.ids:
            path = Path(table.options.test_ids)
            raise line_error(path, line, f"image {name!r} is not in {table.file}.")
        table.part[table.ids[name]] = 1


def _wide(table: _Table, rows: Rows, listed: list[str] | None) -> tuple[list[str], np.ndarray]:
    others = {table.id, table.split, *table.feature}
    if listed is None:
        columns = [column for column in range(len(table.header)) if column not in others]
    else:
        columns = [table.column(name) for name in listed]
    if not columns:
        raise line_error(
            table.file,
            1,
            f"the header has no label column; its columns are {table.header}.",
        )
    for column in columns:
        if not table.header[column].strip():
            raise line_error(table.file, 1, f"column {column + 1} of the header has no name.")
    codes = bytearray()
    for line, fields in rows:
        table.image(line, fields, may_repeat=False)
        codes.extend(table.value(line, column, fields[column]) + 1 for column in columns)
    matrix = np.frombuffer(bytes(codes), np.int8).reshape(-1, len(columns)) - np.int8(1)
    return [table.header[column] for column in columns], matrix


def _long(table: _Table, rows: Rows, listed: list[str] | None) -> tuple[list[str], np.ndarray]:
    label = table.column(table.options.label)
    value = table.column(table.options.value) if table.options.value else -1
    known = dict.fromkeys(listed or (), 0)
    pairs: dict[tuple[int, str], tuple[int, int]] = {}  # row and class -> code and line
    for line, fields in rows:
        row, name = table.image(line, fields, may_repeat=True), fields[label].strip()
        if not name:  # an image without a label
            continue
        if listed is not None and name not in known:
            _unknown(table, line, name)
        if (row, name) in pairs:
            first = pairs[row, name][1]
            raise line_error(
                table.file,
                line,
                f"class {name!r} occurs twice for an image, first in line {first}.",
            )
        pairs[row, name] = (1 if value < 0 else table.value(line, value, fields[value]), line)
    names = listed or sorted({name for _, name in pairs})
    fill = {"negative": 0, "unknown": -1}[table.options.absent]
    return names, _matrix(table, names, {key: code for key, (code, _) in pairs.items()}, fill)


def _lists(table: _Table, rows: Rows, listed: list[str] | None) -> tuple[list[str], np.ndarray]:
    label, options = table.column(table.options.label), table.options
    known = dict.fromkeys(listed or (), 0)
    separator = _BLANKS.get(options.separator, options.separator)
    if not separator:
        raise InputError(
            f"{table.file}: the separator of lists is empty; write 'space' for a blank."
        )
    pairs: dict[tuple[int, str], int] = {}
    for line, fields in rows:
        row = table.image(line, fields, may_repeat=False)
        classes = [name for name in map(str.strip, fields[label].split(separator)) if name]
        if options.no_label in classes and len(classes) > 1:
            raise line_error(
                table.file,
                line,
                f"{options.no_label!r} means no class, but the list has others: {classes}.",
            )
        for name in classes:
            if name == options.no_label:
                continue
            if listed is not None and name not in known:
                _unknown(table, line, name)
            if (row, name) in pairs:
                raise line_error(table.file, line, f"class {name!r} occurs twice in the list.")
            pairs[row, name] = 1
    names = listed or sorted({name for _, name in pairs})
    return names, _matrix(table, names, pairs, 0)


def _matrix(
    table: _Table, names: list[str], pairs: dict[tuple[int, str], int], fill: int
) -> np.ndarray:
    if not names:
        raise InputError(f"{table.file}: no row names a class; give the classes with classes=FILE.")
    column = {name: position for position, name in enumerate(names)}
    matrix = zeros(table.file, len(table.ids), len(names), len(pairs))
    matrix[...] = fill
    for (row, name), code in pairs.items():
        matrix[row, column[name]] = code
    return matrix


def _unknown(table: _Table, line: int, name: str) -> NoReturn:
    raise line_error(table.file, line, f"class {name!r} is not in {table.options.classes}.")
