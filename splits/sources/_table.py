"""Tables of labels: one row per image (wide), per image and class (long), or lists in a cell.

Rows come from CSV or Parquet as texts with a line number each. A label is 1 or true, 0 or false,
-1 or empty; the last two are unknown.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from splits.errors import InputError
from splits.source import Source
from splits.sources._text import digests, named_lines, read_names, wrong
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
        "", "a file with a class name per line: these, in this order, and no others", record="name"
    ),
    "features": Option(
        "",
        "wide, lists: what the names of the feature columns begin with",
        only={"layout": ("wide", "lists")},
    ),
    "split": Option("", "the column of parts: train or test, 0 or 1"),
    "test_ids": Option(
        "", "a file with an image id per line: these are the test part", record="name"
    ),
    "label": Option(
        "label", "long, lists: the column of class names", only={"layout": ("long", "lists")}
    ),
    "value": Option(
        "", "long: the column of values; without one every row is a positive", only=_LONG
    ),
    "absent": Option("negative", "long: what no row says", ("negative", "unknown"), _LONG),
    "separator": Option(
        "|", "lists: what stands between two classes; space and tab are written so", only=_LISTS
    ),
    "no_label": Option(
        "", "lists: a word that stands for no class, such as 'No Finding'", only=_LISTS
    ),
    "images": Option("", "a folder; image ids are file names in it", record="no"),
}

_VALUES = {"1": 1, "0": 0, "-1": -1, "": -1, "true": 1, "false": 0}
_PARTS = {"train": 0, "0": 0, "test": 1, "1": 1}
_BLANKS = {"space": " ", "tab": "\t"}

Rows = Iterator[tuple[int, list[str]]]


@dataclass(frozen=True)
class Words:
    """The options of a table, as in `OPTIONS`."""

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
    images: str = ""


@dataclass
class _Table:
    """What has been read so far: image -> row, the line and part of each, labels and features."""

    file: Path
    words: Words
    header: list[str]

    def __post_init__(self) -> None:
        self.ids: dict[str, int] = {}
        self.lines: list[int] = []
        self.part = bytearray()
        self.features = array("f")
        words, header = self.words, self.header
        for column, name in enumerate(header):
            if name in header[:column]:
                raise wrong(self.file, 1, f"column {name!r} comes twice in the header.")
        self.id = -1 if words.id == "none" else self.column(words.id) if words.id else 0
        self.split = self.column(words.split) if words.split else -1
        self.feature = [
            column
            for column, name in enumerate(header)
            if words.features and name.startswith(words.features)
        ]
        if words.features and not self.feature:
            raise wrong(self.file, 1, f"no column begins with {words.features!r}, as features do.")

    def column(self, name: str) -> int:
        """Where a column of the header stands."""
        if name not in self.header:
            raise wrong(
                self.file, 1, f"the header has no column {name!r}; its columns are {self.header}."
            )
        return self.header.index(name)

    def image(self, line: int, fields: list[str], again: bool) -> int:
        """The row of the image of a line; a new one is added, an old one only if it may be."""
        name = str(len(self.ids)) if self.id < 0 else fields[self.id].strip()
        if not name:
            raise wrong(self.file, line, "the image id is empty.")
        part = 0 if self.split < 0 else self._part(line, fields[self.split].strip())
        if name not in self.ids:
            self.ids[name] = len(self.ids)
            self.lines.append(line)
            self.part.append(part)
            self._add_features(line, fields)
            return self.ids[name]
        row = self.ids[name]
        if not again:
            raise wrong(
                self.file, line, f"image {name!r} comes twice, first in line {self.lines[row]}."
            )
        if self.part[row] != part:
            raise wrong(
                self.file, line, f"image {name!r} is in another part in line {self.lines[row]}."
            )
        return row

    def _part(self, line: int, text: str) -> int:
        if text.lower() not in _PARTS:
            raise wrong(self.file, line, f"{self.words.split!r} is train or test, not {text!r}.")
        return _PARTS[text.lower()]

    def _add_features(self, line: int, fields: list[str]) -> None:
        for column in self.feature:
            try:
                number = float(fields[column])
            except ValueError:
                raise wrong(
                    self.file,
                    line,
                    f"feature {self.header[column]!r} is a number, not {fields[column]!r}.",
                ) from None
            try:
                self.features.append(number)
            except OverflowError:
                self.features.append(np.inf)  # refused later, by the image's name

    def value(self, line: int, column: int, text: str) -> int:
        """The code of a label."""
        text = text.strip()
        code = _code(text)
        if code is None:
            raise wrong(
                self.file,
                line,
                f"{self.header[column]!r} is {text!r}; a label is 1 (positive), 0 (negative), -1 "
                f"or empty (unknown).",
            )
        return code


def _code(text: str) -> int | None:
    """What a text says as a label; None where it is none."""
    code = _VALUES.get(text.lower())
    if code is None:
        try:
            number = float(text)  # as in 1.0, or .0
        except ValueError:
            return None
        code = int(number) if number in (1, 0, -1) else None
    return code


def read(file: Path, header: list[str], rows: Rows, words: Words) -> Source:
    """A source from a table.

    Args:
        file: where it comes from.
        header: the names of its columns.
        rows: the line and the texts of each row, as many as columns.
        words: the options.

    Raises:
        InputError: a column that is missing or comes twice, an image or a pair that comes twice,
            an unknown class, a value that is no label, number or part, no row at all.
    """
    table = _Table(file, words, header)
    if words.split and words.test_ids:
        raise InputError(
            f"{file}: the parts are given twice, by the column {words.split!r} and by test_ids; "
            f"leave one of them out."
        )
    lists = (words.classes, words.test_ids)
    listed = read_names(Path(words.classes), "class") if words.classes else None
    tests = named_lines(Path(words.test_ids), "test image") if words.test_ids else {}
    reader = {"wide": _wide, "long": _long, "lists": _lists}[words.layout]
    names, labels = reader(table, rows, listed)
    if not table.ids:
        raise wrong(file, 1, "the file has a header and no row.")
    _mark_test(table, tests)
    folder = Path(words.images) if words.images else None
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder of images.")
    ids = np.array(list(table.ids), np.str_)
    features = np.frombuffer(table.features, np.float32).reshape(len(ids), 1, -1)
    return Source(
        name=file.stem,
        class_names=tuple(names),
        image_ids=ids,
        labels=labels,
        part=np.frombuffer(bytes(table.part), np.uint8) if words.split or tests else None,
        paths=ids if folder is not None else None,
        roots=() if folder is None else (folder,),
        features=features if words.features else None,
        digests=digests(file.parent, [file, *map(Path, filter(None, lists))]),
        path=file,
    )


def _mark_test(table: _Table, tests: dict[str, int]) -> None:
    """Move the images of `test_ids`, given with their lines, into the test part."""
    for name, line in tests.items():
        if name not in table.ids:
            path = Path(table.words.test_ids)
            raise wrong(path, line, f"image {name!r} is not in {table.file}.")
        table.part[table.ids[name]] = 1


def _wide(table: _Table, rows: Rows, listed: list[str] | None) -> tuple[list[str], np.ndarray]:
    taken = {table.id, table.split, *table.feature}
    if listed is None:
        columns = [column for column in range(len(table.header)) if column not in taken]
    else:
        columns = [table.column(name) for name in listed]
    if not columns:
        raise wrong(
            table.file,
            1,
            f"the header has no column of labels; its columns are {table.header}.",
        )
    for column in columns:
        if not table.header[column].strip():
            raise wrong(table.file, 1, f"column {column + 1} of the header has no name.")
    codes = bytearray()
    for line, fields in rows:
        table.image(line, fields, again=False)
        codes.extend(table.value(line, column, fields[column]) + 1 for column in columns)
    matrix = np.frombuffer(bytes(codes), np.int8).reshape(-1, len(columns)) - np.int8(1)
    return [table.header[column] for column in columns], matrix


def _long(table: _Table, rows: Rows, listed: list[str] | None) -> tuple[list[str], np.ndarray]:
    label = table.column(table.words.label)
    value = table.column(table.words.value) if table.words.value else -1
    known = dict.fromkeys(listed or (), 0)
    pairs: dict[tuple[int, str], tuple[int, int]] = {}  # row and class -> code and line
    for line, fields in rows:
        row, name = table.image(line, fields, again=True), fields[label].strip()
        if not name:  # an image without a label
            continue
        if listed is not None and name not in known:
            _unknown(table, line, name)
        if (row, name) in pairs:
            first = pairs[row, name][1]
            raise wrong(
                table.file, line, f"class {name!r} comes twice for an image, first in line {first}."
            )
        pairs[row, name] = (1 if value < 0 else table.value(line, value, fields[value]), line)
    names = listed or sorted({name for _, name in pairs})
    fill = {"negative": 0, "unknown": -1}[table.words.absent]
    return names, _matrix(table, names, {key: code for key, (code, _) in pairs.items()}, fill)


def _lists(table: _Table, rows: Rows, listed: list[str] | None) -> tuple[list[str], np.ndarray]:
    label, words = table.column(table.words.label), table.words
    known = dict.fromkeys(listed or (), 0)
    between = _BLANKS.get(words.separator, words.separator)
    if not between:
        raise InputError(f"{table.file}: the separator of lists is empty; a blank is 'space'.")
    pairs: dict[tuple[int, str], int] = {}
    for line, fields in rows:
        row = table.image(line, fields, again=False)
        found = [name for name in map(str.strip, fields[label].split(between)) if name]
        if words.no_label in found and len(found) > 1:
            raise wrong(
                table.file, line, f"{words.no_label!r} stands for no class, beside others: {found}."
            )
        for name in found:
            if name == words.no_label:
                continue
            if listed is not None and name not in known:
                _unknown(table, line, name)
            if (row, name) in pairs:
                raise wrong(table.file, line, f"class {name!r} comes twice in the list.")
            pairs[row, name] = 1
    names = listed or sorted({name for _, name in pairs})
    return names, _matrix(table, names, pairs, 0)


def _matrix(
    table: _Table, names: list[str], pairs: dict[tuple[int, str], int], fill: int
) -> np.ndarray:
    if not names:
        raise InputError(f"{table.file}: no row names a class; give the classes with classes=FILE.")
    column = {name: position for position, name in enumerate(names)}
    matrix = np.full((len(table.ids), len(names)), fill, np.int8)
    for (row, name), code in pairs.items():
        matrix[row, column[name]] = code
    return matrix


def _unknown(table: _Table, line: int, name: str) -> NoReturn:
    raise wrong(table.file, line, f"class {name!r} is not in {table.words.classes}.")
