"""Hyperparameters as data: a default, a search range, the papers' values, and a help text."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from baselines.core.info import shown

_META = "baselines.hyper"
_TYPES = (bool, int, float, str)


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


def problems(hyper_class: Any) -> Iterator[str]:
    """What is wrong with the class of a method's hyperparameters, one sentence each."""
    if not (isinstance(hyper_class, type) and dataclasses.is_dataclass(hyper_class)):
        yield "Hyper must be a dataclass"
        return
    if not hyper_class.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        yield "Hyper must be frozen; decorate it with @dataclass(frozen=True)"
        return
    for field in dataclasses.fields(hyper_class):
        where, default = f"the hyperparameter {field.name}", field.default
        meta = field.metadata.get(_META, {})
        if type(default) not in _TYPES or (
            isinstance(default, float) and not math.isfinite(default)
        ):
            value = (
                "no default" if default is dataclasses.MISSING else f"the default {shown(default)}"
            )
            yield f"{where} has {value}; it must be a number, a text or True or False"
        elif not isinstance(meta.get("help", ""), str):
            yield f"{where} has the help {shown(meta['help'])}; it must be a text"
        elif not isinstance(meta.get("paper") or {}, Mapping):
            yield f"{where} has paper={shown(meta['paper'])}; it must map data sets to values"
        for name in ("search", "choices"):
            values = meta.get(name)
            if values is not None and (isinstance(values, str) or not isinstance(values, Sequence)):
                yield f"{where} has {name}={shown(values)}; it must be a tuple of values"
        for name in ("low", "high"):
            if type(meta.get(name)) not in (int, float, type(None)):
                yield f"{where} has {name}={shown(meta[name])}; it must be a number"


def default_problems(hyper_class: type, defaults: Any) -> Iterator[str]:
    """What is wrong with the defaults of a label regime, see `Method.defaults_for`."""
    if not isinstance(defaults, dict):
        yield f"returns {shown(defaults)}; it must return a dictionary of hyperparameters"
        return
    types = {field.name: type(field.default) for field in dataclasses.fields(hyper_class)}
    for name, value in defaults.items():
        if name not in types:
            yield f"names {shown(name)}; the hyperparameters are {', '.join(types) or 'none'}"
        elif type(value) is not types[name]:
            yield f"returns {name}={shown(value)}; it must have the type of the default"
