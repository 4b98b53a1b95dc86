"""The JSON texts of a split file: recipe, thresholds and provenance, checked as they are read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn, TypeGuard

from splits.regimes import Regime

_DEPTH = 32  # levels of nesting; benchkit writes 5
_COUNT_LIMIT = 1 << 53  # integers below it are exact as floating-point numbers


class WrongTextError(Exception):
    """A text that is not as benchkit writes it; the message is a phrase for `damaged: `."""


def parse(text: str, noun: str) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        text: the JSON text.
        noun: its name in the file, for messages.

    Raises:
        WrongTextError: not JSON, not an object, a number that is not finite, or nested too deeply.
    """
    try:
        value = json.loads(text, parse_constant=_not_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        raise WrongTextError(f"the {noun} is not valid JSON") from None
    if not isinstance(value, dict):
        raise WrongTextError(f"the {noun} is not a JSON object")
    level: list[Any] = [value]
    for _ in range(_DEPTH):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
    if level:
        raise WrongTextError(f"the {noun} is nested in more than {_DEPTH} levels")
    return value


def _not_finite(text: str) -> NoReturn:
    raise ValueError(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def recipe(value: dict[str, Any]) -> dict[str, Any]:
    """Check the keys of a recipe that later readers expect.

    Raises:
        WrongTextError: a key is missing or has a wrong type.
    """
    labels = value.get("labels")
    if not isinstance(labels, dict) or not isinstance(labels.get("regime"), str):
        raise WrongTextError("the recipe has no text 'regime' in the object 'labels'")
    options = labels.get("regime_options", {})
    if not isinstance(options, dict) or not all(_is_option(key, options[key]) for key in options):
        raise WrongTextError("the recipe has wrong options of the regime")
    if not isinstance(value.get("features"), dict):
        raise WrongTextError("the recipe has no object 'features'")
    try:
        Regime.parse(labels["regime"])
    except ValueError:
        raise WrongTextError("the recipe names a regime that does not exist") from None
    return value


def _is_option(name: str, value: Any) -> bool:
    if name == "instance_noise":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if name in ("counts", "noise_by_class", "missing_by_class"):
        return value is None or isinstance(value, str)
    return True


def thresholds(value: dict[str, Any]) -> dict[str, Any]:
    """Check the thresholds of the shot groups.

    Raises:
        WrongTextError: a threshold is missing or is not a valid one.
    """
    few, many = value.get("few"), value.get("many")
    if not _is_count(few) or not _is_count(many) or not 0 < few < many:
        raise WrongTextError("the thresholds 'few' and 'many' are not integers with 0 < few < many")
    if value.get("reference") not in ("true", "observed"):
        raise WrongTextError("the shot reference is neither 'true' nor 'observed'")
    return value


def provenance(value: dict[str, Any]) -> dict[str, Any]:
    """Check the entries of the provenance that are shown.

    Raises:
        WrongTextError: an entry has a wrong type.
    """
    for key in ("sources", "source_options", "versions"):
        if key in value and not isinstance(value[key], dict):
            raise WrongTextError(f"'{key}' in the provenance is not a JSON object")
    return value


def tail_counts(report: Any) -> dict[str, dict[str, int]] | None:
    """The counts of a long-tail report.

    Args:
        report: the entry `long_tail_report` of the provenance.

    Returns:
        Class name -> available and target counts; None for a damaged report.
    """
    if not isinstance(report, Mapping):
        return None
    classes, drift = report.get("classes"), report.get("cooccurrence_drift")
    if not isinstance(classes, list) or not isinstance(report.get("not_met"), list):
        return None
    if not isinstance(drift, int | float) or not 0 <= drift < _COUNT_LIMIT:
        return None
    counts = {}
    for entry in classes:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            return None
        available, target = entry.get("available"), entry.get("target")
        if not _is_count(available) or not _is_count(target):
            return None
        counts[entry["name"]] = {"available": available, "target": target}
    return counts


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _COUNT_LIMIT
