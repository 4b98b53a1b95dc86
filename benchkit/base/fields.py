"""Typed options from text: `NAME=VALUE` with a type, a range, choices, and the nearest name.

Recipes, hyperparameters and source options are all described by `Field`s and parsed here.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from benchkit.base.errors import BenchkitError

_SWITCH = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_KINDS = {bool: "yes or no", int: "a whole number", float: "a number", str: "text"}


@dataclass(frozen=True)
class Field:
    """One option.

    Attributes:
        name: its name.
        default: the default value; its type is the type of the option.
        choices: the allowed values, or None for any.
        low: the smallest allowed number, or None.
        high: the largest allowed number, or None.
    """

    name: str
    default: Any
    choices: Collection[Any] | None = None
    low: float | None = None
    high: float | None = None


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known name, or the list of all of them."""
    names = list(known)
    close = difflib.get_close_matches(name, names, 1)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(names)}" if names else "there are none"


def assignment(text: str, option: str, example: str) -> tuple[str, str]:
    """Split `NAME=VALUE`.

    Args:
        text: the argument.
        option: the command-line option it belongs to, for the message.
        example: a correct argument, for the message.

    Raises:
        BenchkitError: there is no `=`, or no name before it.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise BenchkitError(f"{option} {text!r} is not NAME=VALUE, as in {example}")
    return name.strip(), value.strip()


def parse(fields: Iterable[Field], values: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Convert and check values by the fields they belong to.

    Args:
        fields: the options that exist.
        values: name -> text, or a value that already has a type (from Python or TOML).
        owner: what has the options, for messages, such as `method 'asl'`.

    Returns:
        Name -> typed value, for the names in `values` only.

    Raises:
        BenchkitError: an unknown name (with the nearest known one), a value of the wrong type, a
            number that is not finite or out of range, a value that is not among the choices.
    """
    known = {field.name: field for field in fields}
    parsed = {}
    for name, value in values.items():
        if name not in known:
            raise BenchkitError(f"{owner} has no option '{name}'; {nearest(name, known)}")
        parsed[name] = convert(known[name], value, owner)
    return parsed


def convert(field: Field, value: Any, owner: str) -> Any:
    """One value as the type of its field, checked against choices and range.

    Raises:
        BenchkitError: see `parse`.
    """
    typed = _typed(field, value, owner)
    where = f"{owner}: {field.name}={value}"
    if field.choices is not None and typed not in field.choices:
        allowed = ", ".join(map(str, field.choices))
        raise BenchkitError(f"{where} is not one of {allowed}")
    if isinstance(typed, float) and not math.isfinite(typed):
        raise BenchkitError(f"{where} is not a finite number")
    if (field.low is not None and typed < field.low) or (
        field.high is not None and typed > field.high
    ):
        raise BenchkitError(f"{where} is {_outside(field.low, field.high)}")
    return typed


def _typed(field: Field, value: Any, owner: str) -> Any:
    kind: type = type(field.default)
    try:
        if isinstance(value, str):
            return _SWITCH[value.lower()] if kind is bool else kind(value)
        # Converting 5.7 to 5 or True to 1 would change the value without a message.
        if isinstance(value, bool) is (kind is bool):
            typed = kind(value)
            if typed == value:
                return typed
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    raise BenchkitError(f"{owner}: {field.name}={value!r} is not {_KINDS.get(kind, kind.__name__)}")


def _outside(low: float | None, high: float | None) -> str:
    if high is None:
        return f"less than {low}"
    return f"greater than {high}" if low is None else f"outside [{low}, {high}]"
