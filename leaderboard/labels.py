"""Row labels: the method key, and the values that tell its rows apart."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from leaderboard.record import Science, canonical

_ABSENT = "–"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONG_FRACTION = re.compile(r"-?\d+\.\d{5,}(e[+-]?\d+)?")
_SHARED = ("split", "method", "seed", "selection", "metric_version")


def row_labels(rows: Sequence[Science]) -> list[str]:
    """Name every row of a table.

    A method that occurs once is called by its key. One that occurs several times also shows the
    hyperparameters and recipe values in which its rows differ, such as `asl (clip=0.1)`; long
    fractions are rounded and digests cut unless that would make two rows look the same. Scores
    from elsewhere under the name of a method say so, and nothing of a recipe that nobody knows.

    Args:
        rows: the scientific arguments of each row, one per row.

    Returns:
        One label per row, all different.
    """
    brief = [_label(row, rows, _rounded) for row in rows]
    return brief if len(set(brief)) == len(rows) else [_label(row, rows, str) for row in rows]


def flatten(science: Science) -> dict[str, str]:
    """The arguments in which rows of a method can differ, as dotted key to shown value."""
    flat: dict[str, str] = {}
    for key, value in science.values.items():
        if key not in _SHARED:
            _flatten_into(flat, key, value)
    return flat


def shown(value: Any) -> str:
    """A JSON value as a reader expects it: strings bare, everything else as JSON."""
    return value if isinstance(value, str) else canonical(value)


def _label(row: Science, rows: Sequence[Science], write: Callable[[str], str]) -> str:
    same = [other for other in rows if other.method == row.method]
    alike = [other for other in same if other.external == row.external]
    mine = flatten(row)
    values = [f"{name}={write(mine.get(key, _ABSENT))}" for key, name in _differing(alike).items()]
    if row.external and len(alike) < len(same):
        values.insert(0, "external")
    return f"{row.method} ({', '.join(values)})" if values else row.method


def _rounded(value: str) -> str:
    """A number with a long fraction in four digits, a digest's first twelve, others as they are."""
    if _DIGEST.fullmatch(value):
        return value[:12]
    return f"{float(value):.4g}" if _LONG_FRACTION.fullmatch(value) else value


def _flatten_into(flat: dict[str, str], key: str, value: Any) -> None:
    if isinstance(value, Mapping) and value:
        for inner, inner_value in value.items():
            _flatten_into(flat, f"{key}.{inner}", inner_value)
    else:
        flat[key] = shown(value)


def _differing(rows: Sequence[Science]) -> dict[str, str]:
    """Dotted keys whose values differ among the rows, each with the name to show."""
    flats = [flatten(row) for row in rows]
    keys = sorted({key for flat in flats for key in flat})
    keys = [key for key in keys if len({flat.get(key) for flat in flats}) > 1]
    short = [key.removeprefix("hyperparameters.").removeprefix("recipe.") for key in keys]
    return {
        key: name if short.count(name) == 1 else key for key, name in zip(keys, short, strict=True)
    }
