"""Reads ARFF tables of numbers and nominal values, dense or sparse."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from splits.errors import InputError
from splits.numbers import parse_whole
from splits.sources._matrix import TooLargeError, check_dense
from splits.sources._text import check_unique, line_error, read_lines

_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_ATTRIBUTE = re.compile(
    rf"@attribute\s+({_QUOTED}|[^\s{{'\"][^\s{{]*)(?=[\s{{])\s*(.+)", re.IGNORECASE
)
# Without backtracking, which takes minutes for a row of blanks before a stray quote.
_FIELD = re.compile(rf"\s*+({_QUOTED}|[^,'\"]*+)\s*+(?:,|$)")
_ENTRY = re.compile(rf"\s*([0-9]+)\s+({_QUOTED}|[^\s,'\"]+)\s*(?:,|$)")
_SHORTEST_ENTRY = 2  # characters of a value and its comma
_NUMERIC = ("numeric", "real", "integer")


@dataclass(frozen=True)
class Table:
    """The numbers of an ARFF file.

    Attributes:
        names: the names of the attributes.
        values: float64 [N, attributes]. A nominal value is its number, or its position among the
            declared values if one of these is not a number; `?` is NaN.
        lines: the line of each row, from 1.
    """

    names: tuple[str, ...]
    values: np.ndarray
    lines: list[int]


@dataclass(frozen=True)
class _Attribute:
    """An attribute of an ARFF file.

    Attributes:
        name: its name.
        numbers: nominal value -> number; None for a numeric attribute.
        is_numeric: whether the text of every value is its number.
    """

    name: str
    numbers: dict[str, float] | None
    is_numeric: bool = True

    @property
    def default(self) -> float:
        """The value that sparse rows leave out: 0, or the first nominal value."""
        return 0.0 if self.numbers is None else next(iter(self.numbers.values()))

    def allows(self, number: np.ndarray | float) -> np.ndarray | bool:
        """Whether numbers are among the declared values; NaN is not."""
        if self.numbers is None:
            return number == number
        return np.isin(number, list(self.numbers.values()))


def read_arff(file: Path) -> Table:
    """Read an ARFF file.

    Args:
        file: its attributes are numeric, real, integer or nominal; rows are dense or in braces.

    Returns:
        Its numbers.

    Raises:
        InputError: a missing file, a header or row that is not ARFF, too few or too many values, a
            value that is not a number or not declared, a repeated attribute.
    """
    lines = read_lines(file)
    attributes, start = _header(file, lines)
    _check_size(file, lines[start:], len(attributes))
    defaults = np.array([attribute.default for attribute in attributes])
    is_numeric = all(attribute.is_numeric for attribute in attributes)
    rows, numbers = [], []
    for number, text in enumerate(lines[start:], start + 1):
        text = text.strip()
        if not text or text.startswith("%"):
            continue
        if text.startswith("{"):
            rows.append(_sparse(file, number, text, attributes, defaults))
        else:
            rows.append(_dense(file, number, text, attributes, is_numeric))
        numbers.append(number)
    if not rows:
        raise line_error(file, len(lines), "the file ends without a row of data.")
    values = np.array(rows, np.float64)
    _check_declared(file, values, attributes, numbers)
    return Table(tuple(attribute.name for attribute in attributes), values, numbers)


def _check_size(file: Path, rows: list[str], attributes: int) -> None:
    """Raise if the rows, most of whose values may be left out, do not fit into memory."""
    entries = len(rows) * attributes
    try:
        check_dense(entries, sum(map(len, rows)) // _SHORTEST_ENTRY, itemsize=8)
    except TooLargeError:
        raise InputError(
            f"{file}: there is not enough memory for {len(rows)} rows with {attributes} attributes."
        ) from None


def _check_declared(
    file: Path, values: np.ndarray, attributes: list[_Attribute], lines: list[int]
) -> None:
    for column, attribute in enumerate(attributes):
        valid = np.isnan(values[:, column]) | attribute.allows(values[:, column])
        if not valid.all():
            row = int(valid.argmin())
            _refuse(file, lines[row], f"{values[row, column]:g}", attribute)


def _header(file: Path, lines: list[str]) -> tuple[list[_Attribute], int]:
    """The attributes, and the number of lines of the header."""
    attributes: list[_Attribute] = []
    name_lines: dict[str, int] = {}
    for number, text in enumerate(lines, 1):
        text = text.strip()
        keyword = text.lower().split(maxsplit=1)[:1]
        if keyword == ["@data"]:
            if not attributes:
                raise line_error(file, number, "there is no @attribute before @data.")
            return attributes, number
        if keyword == ["@attribute"]:
            attributes.append(_attribute(file, number, text))
            check_unique(file, number, "attribute", attributes[-1].name, name_lines)
        elif text and not text.startswith("%") and keyword != ["@relation"]:
            raise line_error(
                file,
                number,
                f"a header line must be @relation, @attribute or @data, not {text[:60]!r}.",
            )
    raise InputError(f"{file}:{len(lines)}: the file ends without @data; it is truncated.")


def _attribute(file: Path, line: int, text: str) -> _Attribute:
    match = _ATTRIBUTE.match(text)
    if match is None:
        raise line_error(file, line, f"an attribute needs a name and a type, not {text[:60]!r}.")
    name, kind = _unquoted(match[1]), match[2].strip()
    if kind.startswith("{"):
        values = _fields(kind[1:-1]) if kind.endswith("}") else None
        if not values or len(set(values)) < len(values):
            raise line_error(file, line, f"attribute {name!r} needs unique values in {{}}.")
        try:
            return _Attribute(name, {value: float(value) for value in values})
        except ValueError:
            positions = {value: float(position) for position, value in enumerate(values)}
            return _Attribute(name, positions, is_numeric=False)
    if kind.lower() not in _NUMERIC:
        raise line_error(
            file, line, f"attribute {name!r} has type {kind!r}; it must be numeric or nominal."
        )
    return _Attribute(name, None)


def _dense(
    file: Path, line: int, text: str, attributes: list[_Attribute], is_numeric: bool
) -> np.ndarray:
    has_quotes = "'" in text or '"' in text
    fields = _fields(text) if has_quotes else text.split(",")
    if fields is None or len(fields) != len(attributes):
        actual = "unbalanced quotes" if fields is None else f"{len(fields)} values"
        raise line_error(
            file, line, f"the row has {actual}; there are {len(attributes)} attributes."
        )
    if is_numeric:
        try:
            row = np.array(list(map(float, fields)))
        except ValueError:
            row = np.array([np.nan])
        if not np.isnan(row).any():  # the loop below handles `?` and errors
            return row
    pairs = zip(fields, attributes, strict=True)
    return np.array([_value(file, line, field.strip(), attribute) for field, attribute in pairs])


def _sparse(
    file: Path, line: int, text: str, attributes: list[_Attribute], defaults: np.ndarray
) -> np.ndarray:
    if not text.endswith("}"):
        raise line_error(file, line, "the sparse row has no closing brace; it is truncated.")
    entries = text[1:-1].strip()
    row, previous, position = defaults.copy(), -1, 0
    while position < len(entries):
        match = _ENTRY.match(entries, position)
        if match is None:
            actual = entries[position:][:40]
            raise line_error(file, line, f"an entry must be 'NUMBER VALUE', not {actual!r}.")
        column = parse_whole(match[1])
        if column is None or column >= len(attributes):
            raise line_error(
                file,
                line,
                f"attribute {match[1][:40]} is unknown; there are 0 to {len(attributes) - 1}.",
            )
        if column <= previous:
            raise line_error(file, line, f"attribute {column} occurs twice or after {previous}.")
        row[column] = _value(file, line, _unquoted(match[2]), attributes[column])
        previous, position = column, match.end()
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
    if not attribute.is_numeric or not attribute.allows(number):
        _refuse(file, line, text, attribute)
    return number


def _refuse(file: Path, line: int, text: str, attribute: _Attribute) -> NoReturn:
    allowed = "a number" if attribute.numbers is None else f"one of {list(attribute.numbers)}"
    raise line_error(file, line, f"{attribute.name!r} is {text!r}; it must be {allowed}.")


def _fields(text: str) -> list[str] | None:
    """The values between commas, without their quotes; None if quotes are unbalanced."""
    fields, position = [], 0
    while True:
        match = _FIELD.match(text, position)
        if match is None:
            return None
        fields.append(_unquoted(match[1]))
        if not match[0].endswith(","):
            return fields
        position = match.end()


def _unquoted(text: str) -> str:
    if text[:1] in ("'", '"'):
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text.strip()
