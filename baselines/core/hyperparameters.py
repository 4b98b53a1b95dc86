"""Hyperparameters as data: a default, a search range, the papers' values, and a help text."""

from __future__ import annotations

import dataclasses
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
