"""Typed access to a parsed JSON object; every error names the file and the key."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leaderboard.errors import ReportError

_TYPE_NAMES: dict[type | tuple[type, ...], str] = {
    str: "a string",
    int: "a whole number",
    (int, float): "a number",
    dict: "an object",
    list: "a list",
}
_MOST_SHOWN = 60  # characters of a value in a message


class Reader:
    """One JSON object of a file.

    Args:
        values: the parsed JSON value.
        path: the file, for messages.
        key: the dotted key of the object in the file; empty for the file itself.

    Raises:
        ReportError: the value is not an object.
    """

    def __init__(self, values: Any, path: Path, key: str = "") -> None:
        if not isinstance(values, dict):
            raise ReportError(f"{path}: {key or 'the file'} must hold a JSON object.")
        self.values: Mapping[str, Any] = values
        self.path = path
        self.key = key

    def error(self, key: str, expected: str) -> ReportError:
        """An error that says what the value of `key` must be."""
        return ReportError(
            f"{self.path}: {self.full_key(key)} must be {expected}, but is {self.shown(key)}."
        )

    def shown(self, key: str) -> str:
        """The value of a key as short JSON for a message; `nothing` if the key is missing."""
        if key not in self.values:
            return "nothing"
        text = json.dumps(self.values[key], ensure_ascii=False)
        return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 3] + "..."

    def full_key(self, key: str) -> str:
        """The dotted key from the top of the file."""
        return f"{self.key}.{key}" if self.key else key

    def has(self, key: str) -> bool:
        """Whether the key is present and not null."""
        return self.values.get(key) is not None

    def value(self, key: str, kind: type | tuple[type, ...]) -> Any:
        """A value of this Python type."""
        value = self.values.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(key, _TYPE_NAMES[kind])
        return value

    def text(self, key: str) -> str:
        """A string."""
        return str(self.value(key, str))

    def boolean(self, key: str) -> bool:
        """True or false."""
        value = self.values.get(key)
        if not isinstance(value, bool):
            raise self.error(key, "true or false")
        return value

    def integer(self, key: str) -> int:
        """A whole number."""
        return int(self.value(key, int))

    def number(self, key: str) -> int | float:
        """A number, in the type that the file gives it."""
        number: int | float = self.value(key, (int, float))
        return number

    def mapping(self, key: str) -> dict[str, Any]:
        """An object, as a dictionary."""
        return dict(self.value(key, dict))

    def object(self, key: str) -> Reader:
        """A reader of an object."""
        return Reader(self.value(key, dict), self.path, self.full_key(key))

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self.value(key, list)
        if not all(isinstance(value, str) for value in values):
            raise self.error(key, "a list of strings")
        return tuple(values)

    def mappings(self, key: str) -> tuple[dict[str, Any], ...]:
        """A list of objects."""
        values = self.value(key, list)
        if not all(isinstance(value, dict) for value in values):
            raise self.error(key, "a list of objects")
        return tuple(values)

    def counts(self, key: str, length: int) -> tuple[int, ...]:
        """A list of `length` counts."""
        values = self.value(key, list)
        if len(values) != length or not all(type(value) is int and value >= 0 for value in values):
            raise self.error(key, f"a list of {length} counts")
        return tuple(values)

    def fraction(self, key: str) -> float | None:
        """A fraction from 0 to 1, or `None` for null; the key must be present."""
        if key not in self.values or not _is_fraction(self.values[key]):
            raise self.error(key, "a fraction from 0 to 1, or null")
        return _as_float(self.values[key])

    def fractions(self, key: str, length: int) -> tuple[float | None, ...]:
        """A list of `length` fractions or nulls."""
        values = self.value(key, list)
        if len(values) != length or not all(_is_fraction(value) for value in values):
            raise self.error(key, f"a list of {length} fractions from 0 to 1, or nulls")
        return tuple(_as_float(value) for value in values)


def _as_float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _is_fraction(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and 0.0 <= value <= 1.0
