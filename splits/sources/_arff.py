"""Reads ARFF tables of numbers and nominal values, dense or sparse."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from splits.errors import InputError
from splits.numbers import whole
from splits.sources._text import once, read_lines, wrong

_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_ATTRIBUTE = re.compile(
    rf"@attribute\s+({_QUOTED}|[^\s{{'\"][^\s{{]*)(?=[\s{{])\s*(.+)", re.IGNORECASE
)
_FIELD = re.compile(rf"\s*({_QUOTED}|[^,'\"]*?)\s*(?:,|$)")
_ENTRY = re.compile(rf"\s*([0-9]+)\s+({_QUOTED}|[^\s,'\"]+)\s*(?:,|$)")
_NUMERIC = ("numeric", "real", "integer")


@dataclass(frozen=True)
class Table:
    """The numbers of an ARFF file.

    Attributes:
        names: of the attributes.
        values: float64 [N, attributes]; a nominal value is its number, or its position among the
            values declared where one of them is no number; `?` is NaN.
        lines: the line of each row, from 1.
    """

    names: tuple[str, ...]
    values: np.ndarray
    lines: list[int]


@dataclass(frozen=True)
class _Attribute:
    """A nominal attribute knows the number of each value; a numeric one has None.

    `plain` says that a value, read as a number, is that number.
    """

    name: str
    numbers: dict[str, float] | None
    plain: bool = True

    @property
    def absent(self) -> float:
        """What a sparse row does not name: 0, or the first nominal value."""
        return 0.0 if self.numbers is None else next(iter(self.numbers.values()))

    def allows(self, number: np.ndarray | float) -> np.ndarray | bool:
        """Whether values were declared; NaN was not."""
        if self.numbers is None:
            return number == number
        return np.isin(number, list(self.numbers.values()))


def read_arff(file: Path) -> Table:
    """Read an ARFF file.

    Args:
        file: attributes numeric, real, integer or nominal; rows dense or in braces.

    Returns:
        Its numbers.

    Raises:
        InputError: a missing file, a header or row that is not ARFF, too few or many values, a
            value that is no number or was not declared, an attribute that comes twice.
    """
    lines = read_lines(file)
    attributes, start = _header(file, lines)
    absent = np.array([attribute.absent for attribute in attributes])
    plain = all(attribute.plain for attribute in attributes)
    rows, numbers = [], []
    for number, text in enumerate(lines[start:], start + 1):
        text = text.strip()
        if not text or text.startswith("%"):
            continue
        if text.startswith("{"):
            rows.append(_sparse(file, number, text, attributes, absent))
        else:
            rows.append(_dense(file, number, text, attributes, plain))
        numbers.append(number)
    if not rows:
        raise wrong(file, len(lines), "the file ends without a row of data.")
    values = np.array(rows, np.float64)
    _check_declared(file, values, attributes, numbers)
    return Table(tuple(attribute.name for attribute in attributes), values, numbers)


def _check_declared(
    file: Path, values: np.ndarray, attributes: list[_Attribute], lines: list[int]
) -> None:
    for column, attribute in enumerate(attributes):
        good = np.isnan(values[:, column]) | attribute.allows(values[:, column])
        if not good.all():
            row = int(good.argmin())
            _refuse(file, lines[row], f"{values[row, column]:g}", attribute)


def _header(file: Path, lines: list[str]) -> tuple[list[_Attribute], int]:
    """The attributes, and how many lines the header has."""
    attributes: list[_Attribute] = []
    first: dict[str, int] = {}
    for number, text in enumerate(lines, 1):
        text = text.strip()
        word = text.lower().split(maxsplit=1)[:1]
        if word == ["@data"]:
            if not attributes:
                raise wrong(file, number, "the data begin without any @attribute before them.")
            return attributes, number
        if word == ["@attribute"]:
            attributes.append(_attribute(file, number, text))
            once(file, number, "attribute", attributes[-1].name, first)
        elif text and not text.startswith("%") and word != ["@relation"]:
            raise wrong(
                file, number, f"a header has @relation, @attribute and @data, not {text[:60]!r}."
            )
    raise InputError(f"{file}:{len(lines)}: the file ends without @data; it was cut off.")


def _attribute(file: Path, line: int, text: str) -> _Attribute:
    match = _ATTRIBUTE.match(text)
    if match is None:
        raise wrong(file, line, f"an attribute has a name and a type, not {text[:60]!r}.")
    name, kind = _unquoted(match[1]), match[2].strip()
    if kind.startswith("{"):
        values = _fields(kind[1:-1]) if kind.endswith("}") else None
        if not values or len(set(values)) < len(values):
            raise wrong(file, line, f"attribute {name!r} needs different values in {{}}.")
        try:
            return _Attribute(name, {value: float(value) for value in values})
        except ValueError:
            positions = {value: float(at) for at, value in enumerate(values)}
            return _Attribute(name, positions, plain=False)
    if kind.lower() not in _NUMERIC:
        raise wrong(
            file, line, f"attribute {name!r} is of type {kind!r}; only numbers and {{}} are read."
        )
    return _Attribute(name, None)


def _dense(
    file: Path, line: int, text: str, attributes: list[_Attribute], plain: bool
) -> np.ndarray:
    quoted = "'" in text or '"' in text
    fields = _fields(text) if quoted else text.split(",")
    if fields is None or len(fields) != len(attributes):
        count = "unreadable quotes" if fields is None else f"{len(fields)} values"
        raise wrong(file, line, f"the row has {count}; there are {len(attributes)} attributes.")
    if plain:
        try:
            row = np.array(list(map(float, fields)))
        except ValueError:
            row = np.array([np.nan])
        if not np.isnan(row).any():  # `?` and errors go the slower way
            return row
    pairs = zip(fields, attributes, strict=True)
    return np.array([_value(file, line, field.strip(), attribute) for field, attribute in pairs])


def _sparse(
    file: Path, line: int, text: str, attributes: list[_Attribute], absent: np.ndarray
) -> np.ndarray:
    if not text.endswith("}"):
        raise wrong(file, line, "the sparse row has no closing brace; it was cut off.")
    inside = text[1:-1].strip()
    row, before, place = absent.copy(), -1, 0
    while place < len(inside):
        match = _ENTRY.match(inside, place)
        if match is None:
            raise wrong(file, line, f"an entry is 'NUMBER VALUE', not {inside[place:][:40]!r}.")
        at = whole(match[1])
        if at is None or at >= len(attributes):
            raise wrong(
                file,
                line,
                f"attribute {match[1][:40]} is unknown; there are 0 to {len(attributes) - 1}.",
            )
        if at <= before:
            raise wrong(file, line, f"attribute {at} comes twice or after {before}.")
        row[at] = _value(file, line, _unquoted(match[2]), attributes[at])
        before, place = at, match.end()
    return row


def _value(file: Path, line: int, text: str, attribute: _Attribute) -> float:
    if text == "?":
        return np.nan
    if attribute.numbers is not None and text in attribute.numbers:
        return attribute.numbers[text]
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not attribute.plain or not attribute.allows(number):
        _refuse(file, line, text, attribute)
    return number


def _refuse(file: Path, line: int, text: str, attribute: _Attribute) -> NoReturn:
    allowed = "a number" if attribute.numbers is None else f"one of {list(attribute.numbers)}"
    raise wrong(file, line, f"{attribute.name!r} is {text!r}; it is {allowed}.")


def _fields(text: str) -> list[str] | None:
    """Values between commas, some in quotes; None where the quotes do not match."""
    found, at = [], 0
    while True:
        match = _FIELD.match(text, at)
        if match is None:
            return None
        found.append(_unquoted(match[1]))
        if not match[0].endswith(","):
            return found
        at = match.end()


def _unquoted(text: str) -> str:
    if text[:1] in ("'", '"'):
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text.strip()
