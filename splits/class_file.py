"""A number for each class from a file: target counts, or weights of noise rates.

The file is CSV, with a line `name,number` per class after an optional header, or a JSON object.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splits import reasons
from splits.errors import InputError

_MAX = 1e15
"""Larger than any count or weight; integers up to here are exact, and their sums are finite."""

_Line = tuple[int, str, Any]


@dataclass(frozen=True)
class ClassFile:
    """The numbers of a file, not yet matched with the classes of a data set.

    Attributes:
        path: the file.
        numbers: class name -> number.
        lines: class name -> line, for messages.
    """

    path: Path
    numbers: dict[str, float]
    lines: dict[str, int]

    def of(self, class_names: Sequence[str]) -> np.ndarray:
        """The numbers in the order of the classes.

        Args:
            class_names: C names.

        Returns:
            float64 [C].

        Raises:
            InputError: a name that is not a class, or a class without a number.
        """
        known = set(class_names)
        for name in self.numbers:
            if name not in known:
                close = difflib.get_close_matches(name, class_names, 1)
                hint = f"; did you mean {close[0]!r}?" if close else "."
                raise InputError(
                    f"{self.path}, line {self.lines[name]}: there is no class {name!r}{hint}"
                )
        missing = [name for name in class_names if name not in self.numbers]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise InputError(
                f"{self.path}: no number for class {missing[0]!r}{more}; give one for each of the "
                f"{len(class_names)} classes."
            )
        return np.array([self.numbers[name] for name in class_names], np.float64)


def read(path: Path, *, whole_numbers: bool) -> ClassFile:
    """Read a file of class names and numbers.

    Args:
        path: a JSON file if its name ends in .json, else a CSV file.
        whole_numbers: whether the numbers must be whole, as counts are.

    Returns:
        Its numbers, all at least 0.

    Raises:
        InputError: no such file, not CSV or JSON of this form, an empty or repeated name, or a
            value that is not a number >= 0; the message names the file and the line.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: this is a named pipe, a socket or a device, not a file.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: this is not a text file in UTF-8.") from None
    numbers: dict[str, float] = {}
    lines: dict[str, int] = {}
    for line, name, value in (_json if path.suffix.lower() == ".json" else _csv)(path, text):
        if not name:
            raise InputError(f"{path}, line {line}: the name of the class is empty.")
        if name in numbers:
            raise InputError(f"{path}, line {line}: class {name!r} occurs twice.")
        lines[name], numbers[name] = (
            line,
            _number(f"{path}, line {line}", name, value, whole_numbers),
        )
    if not numbers:
        raise InputError(f"{path}: the file names no class.")
    return ClassFile(path, numbers, lines)


def _csv(path: Path, text: str) -> Iterator[_Line]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        first = True
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != 2:
                raise InputError(
                    f"{path}, line {reader.line_num}: a line must be `name,number`, not "
                    f"{len(cells)} cells; a name with a comma needs quotes."
                )
            is_header = first and _float(cells[1]) is None and cells[1].strip().isalpha()
            first = False
            if not is_header:
                yield reader.line_num, cells[0].strip(), cells[1].strip()
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: this is not CSV: {reasons.of_csv(error)}."
        ) from None


def _json(path: Path, text: str) -> Iterator[_Line]:
    try:
        # Pairs, because a dictionary would hide a repeated name.
        pairs = json.loads(text, object_pairs_hook=tuple)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {reasons.of_json(error)}.") from None
    if not text.lstrip().startswith("{"):
        raise InputError(f"{path}: the JSON must be one object that maps class names to numbers.")
    position = 0
    for name, value in pairs:
        # The parser gives no line numbers, but the names are in the order of the text.
        quoted = (
            text.find(json.dumps(name, ensure_ascii=ascii), position) for ascii in (False, True)
        )
        position = max(position, *quoted) + 1
        yield text.count("\n", 0, position) + 1, name.strip(), value


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _number(where: str, name: str, value: Any, whole_numbers: bool) -> float:
    number = None
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        number = _float(str(value))
    if number is None or not 0 <= number <= _MAX or (whole_numbers and number % 1):
        noun = "a whole number" if whole_numbers else "a number"
        shown = repr(value) if isinstance(value, str) else json.dumps(value)
        raise InputError(f"{where}: class {name!r} needs {noun} >= 0, not {shown}.")
    return number
