"""Typed options: parse `NAME=VALUE` text by type, range and choices.

Recipes, hyperparameters and source options describe their options as `Field`s. Values come from the
command line as text, and from Python or TOML with a type of their own.
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
_LONGEST = 120  # characters of a value in a message
_KINDS = {bool: "yes or no", int: "a whole number", float: "a number", str: "text"}


@dataclass(frozen=True)
class Field:
    """One option.

    Attributes:
        name: the name of the option.
        default: the default value. Its type is the type of the option.
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
    """A hint for an unknown name: the nearest known name, or else all known names."""
    names = list(known)
    close = difflib.get_close_matches(name, names, 1)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(names)}" if names else "there are none"


def shown(value: Any) -> str:
    """A value for a message: quoted if it is text, and shortened."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = hex(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def assignment(text: str, option: str, example: str) -> tuple[str, str]:
    """Split `NAME=VALUE`.

    Args:
        text: the argument.
        option: the command-line option of the argument, for the message.
        example: a valid argument, for the message.

    Returns:
        The name and the value, stripped of surrounding spaces.

    Raises:
        BenchkitError: the argument has no `=`, or no name before it.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise BenchkitError(f"{option} {shown(text)} is not NAME=VALUE, as in {example}")
    return name.strip(), value.strip()


def parse(fields: Iterable[Field], values: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Convert and check values by their fields.

    Args:
        fields: the known options.
        values: name -> value, as text or with a type of its own (from Python or TOML).
        owner: the owner of the options, for messages, such as `method 'asl'`.

    Returns:
        Name -> typed value, for the names in `values` only.

    Raises:
        BenchkitError: a name is unknown (the message suggests the nearest known name), or a value
            has the wrong type, is not finite, is out of range or is not among the choices.
    """
    known = {field.name: field for field in fields}
    parsed = {}
    for name, value in values.items():
        if name not in known:
            raise BenchkitError(f"{owner} has no option {shown(name)}; {nearest(name, known)}")
        parsed[name] = convert(known[name], value, owner)
    return parsed


def convert(field: Field, value: Any, owner: str) -> Any:
    """Convert one value to the type of its field, and check it against choices and range.

    Numbers are never rounded: 5.0 is a valid integer, 5.7 is an error. Booleans are not numbers.

    Raises:
        BenchkitError: see `parse`.
    """
    typed = _typed(field, value, owner)
    where = f"{owner}: {field.name}={shown(typed)}"
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
        # `int` would silently turn 5.7 into 5 and True into 1.
        if isinstance(value, bool) is (kind is bool):
            typed = kind(value)
            if typed == value or typed != typed:  # NaN is refused with the infinite numbers
                return typed
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    raise BenchkitError(
        f"{owner}: {field.name}={shown(value)} is not {_KINDS.get(kind, kind.__name__)}"
    )


def _outside(low: float | None, high: float | None) -> str:
    if high is None:
        return f"less than {low}"
    return f"greater than {high}" if low is None else f"outside [{low}, {high}]"
