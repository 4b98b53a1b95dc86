"""Hyperparameters as data: a default, a search range, the papers' values, and a help text."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

_META = "baselines.hyper"


def hyper(
    default: Any,
    help: str,
    *,
    search: Sequence[Any] | None = None,
    paper: Mapping[str, Any] | None = None,
    choices: Sequence[Any] | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """Declare a field of a method's `Hyper` dataclass.

    Args:
        default: the default value; its type is the type of the field.
        help: one sentence.
        search: values to try, or a pair (low, high) of floats for a range.
        paper: name of a data set -> the paper's value for it.
        choices: the allowed values, if only some are.
        low: the smallest allowed value.
        high: the largest allowed value.
    """
    meta = dict(help=help, search=search, paper=paper, choices=choices, low=low, high=high)
    return dataclasses.field(default=default, metadata={_META: meta})


def describe(hyper_class: type) -> list[dict[str, Any]]:
    """Name, default and the arguments of `hyper` for every hyperparameter of a class."""
    return [
        {"name": f.name, "default": f.default, **f.metadata.get(_META, {"help": ""})}
        for f in dataclasses.fields(hyper_class)
    ]


def published(hyper_class: type, sets: Sequence[str]) -> dict[str, Any]:
    """The papers' values for some data sets; the first data set that has a value wins."""
    values = {}
    for entry in describe(hyper_class):
        stated = [entry["paper"][name] for name in sets if name in (entry.get("paper") or {})]
        if stated:
            values[entry["name"]] = stated[0]
    return values


def parse(
    method: str,
    hyper_class: type,
    values: Mapping[str, str],
    start: Mapping[str, Any] | None = None,
) -> Any:
    """Build a `Hyper` from text values, as in `--set asl.clip=0.1`.

    Args:
        method: its key, for messages.
        hyper_class: its `Hyper`.
        values: name -> text.
        start: name -> value of those that are not in `values`; the others keep their defaults.

    Raises:
        ValueError: a name that the method does not have (with the nearest one), a value of the
            wrong type, one that is not finite, or one outside its range.
    """
    known = {entry["name"]: entry for entry in describe(hyper_class)}
    parsed = dict(start or {})
    for name, text in values.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"it has {sorted(known) or 'none'}"
            raise ValueError(f"method '{method}' has no hyperparameter '{name}'; {hint}")
        parsed[name] = _value(method, known[name], text)
    return hyper_class(**parsed)


_SWITCH = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(
    ("false", "no", "off", "0"), False
)


def _value(method: str, entry: Mapping[str, Any], text: str) -> Any:
    default, where = entry["default"], f"{method}.{entry['name']}"
    try:
        if isinstance(default, bool):
            value: Any = _SWITCH[text.lower()]
        else:
            value = type(default)(text)
    except (ValueError, KeyError):
        kind = type(default).__name__
        raise ValueError(f"{where}={text} is not a value of type {kind}") from None
    if entry.get("choices") and value not in entry["choices"]:
        raise ValueError(f"{where}={text} is not one of {list(entry['choices'])}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}={text} is not a finite number")
    low, high = entry.get("low"), entry.get("high")
    if (low is not None and value < low) or (high is not None and value > high):
        raise ValueError(f"{where}={text} is {_outside(low, high)}")
    return value


def _outside(low: float | None, high: float | None) -> str:
    if high is None:
        return f"less than {low}"
    return f"greater than {high}" if low is None else f"outside [{low}, {high}]"
