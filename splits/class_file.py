"""A number for each class, from a file that a person wrote: target counts, rates of noise.

Either CSV, a line `name,number` per class after an optional heading, or a JSON object.
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

from splits.errors import InputError

_MOST = 1e15
"""More than any count or weight; numbers up to here are exact as integers and have finite sums."""

_Line = tuple[int, str, Any]


@dataclass(frozen=True)
class ClassFile:
    """The numbers of a file, before it is known which classes there are.

    Attributes:
        path: the file.
        numbers: the number of each name.
        lines: the line of each name.
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
            InputError: a name that is no class, or a class without a number.
        """
        known = set(class_names)
        for name in self.numbers:
            if name not in known:
                near = difflib.get_close_matches(name, class_names, 1)
                hint = f"; the nearest is {near[0]!r}" if near else ""
                raise InputError(
                    f"{self.path}, line {self.lines[name]}: there is no class {name!r}{hint}."
                )
        missing = [name for name in class_names if name not in self.numbers]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise InputError(
                f"{self.path}: no number for class {missing[0]!r}{more}; give one for each of the "
                f"{len(class_names)} classes."
            )
        return np.array([self.numbers[name] for name in class_names], np.float64)


def read(path: Path, *, whole: bool) -> ClassFile:
    """Read a file of class names and numbers.

    Args:
        path: a file that ends in .json, or a CSV file.
        whole: whether only whole numbers will do, as for counts.

    Returns:
        Its numbers, all at least 0.

    Raises:
        InputError: no such file, not CSV or JSON of that form, a name that is empty or comes
            twice, or something else than a number >= 0; with the file and the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: this file cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: this is not a text file in UTF-8.") from None
    numbers: dict[str, float] = {}
    lines: dict[str, int] = {}
    for line, name, value in (_json if path.suffix.lower() == ".json" else _csv)(path, text):
        if not name:
            raise InputError(f"{path}, line {line}: the name of the class is empty.")
        if name in numbers:
            raise InputError(f"{path}, line {line}: class {name!r} comes twice.")
        lines[name], numbers[name] = line, _number(f"{path}, line {line}", name, value, whole)
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
                    f"{path}, line {reader.line_num}: a line is `name,number`, not {len(cells)} "
                    f"cells; a name with a comma needs quotes."
                )
            heading = first and _float(cells[1]) is None and cells[1].strip().isalpha()
            first = False
            if not heading:
                yield reader.line_num, cells[0].strip(), cells[1].strip()
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: this is not CSV: {error}.") from None


def _json(path: Path, text: str) -> Iterator[_Line]:
    try:
        # As pairs, because a dictionary would swallow a name that comes twice.
        found = json.loads(text, object_pairs_hook=tuple)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: this is not JSON: {error.msg}.") from None
    except RecursionError:
        raise InputError(f"{path}: this JSON is nested too deeply.") from None
    except ValueError as error:  # a number of thousands of digits
        raise InputError(f"{path}: this JSON cannot be read ({error}).") from None
    if not text.lstrip().startswith("{"):
        raise InputError(f"{path}: the JSON must be one object, class name to number.")
    place = 0
    for name, value in found:
        # JSON has no line numbers: the names come in the order of the text.
        quoted = (text.find(json.dumps(name, ensure_ascii=ascii), place) for ascii in (False, True))
        place = max(place, *quoted) + 1
        yield text.count("\n", 0, place) + 1, name.strip(), value


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _number(where: str, name: str, value: Any, whole: bool) -> float:
    number = None
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        number = _float(str(value))
    right = number is not None and 0 <= number <= _MOST and not (whole and number % 1)
    if number is None or not right:
        wanted = "a whole number" if whole else "a number"
        raise InputError(f"{where}: class {name!r} needs {wanted} >= 0, not {value!r}.")
    return number
