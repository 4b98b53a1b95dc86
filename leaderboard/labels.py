"""Row labels: the method key, and the values that tell its rows apart."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from leaderboard.record import RunArguments

_ABSENT = "–"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONG_FRACTION = re.compile(r"-?\d+\.\d{5,}(e[+-]?\d+)?")
_SHARED = ("split", "method", "seed", "selection", "metric_version")


def row_labels(rows: Sequence[RunArguments]) -> list[str]:
    """Name every row of a table.

    A method that occurs once is called by its key. A method that occurs several times also shows
    the hyperparameters and recipe values in which its rows differ, such as `asl (clip=0.1)`. Long
    fractions are rounded and digests are cut, unless two rows would then look the same. Scores
    that were computed elsewhere under the key of a method are labelled `external`; their recipe is
    unknown and not compared.

    Args:
        rows: the arguments of each row, for one of its seeds.

    Returns:
        One label per row, all different.
    """
    brief = [_label(row, rows, _rounded) for row in rows]
    return brief if len(set(brief)) == len(rows) else [_label(row, rows, str) for row in rows]


def json_text(value: Any) -> str:
    """A value as compact JSON for people, with characters outside ASCII as they are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def shown(value: Any) -> str:
    """A value for people: strings without quotes, everything else as JSON."""
    return value if isinstance(value, str) else json_text(value)


def _label(row: RunArguments, rows: Sequence[RunArguments], write: Callable[[str], str]) -> str:
    same_method = [other for other in rows if other.method == row.method]
    same_kind = [other for other in same_method if other.external == row.external]
    values = _shown_values(row)
    texts = [
        f"{name}={write(values.get(key, _ABSENT))}" for key, name in _differing(same_kind).items()
    ]
    if row.external and len(same_kind) < len(same_method):
        texts.insert(0, "external")
    return f"{row.method} ({', '.join(texts)})" if texts else row.method


def _differing(rows: Sequence[RunArguments]) -> dict[str, str]:
    """Dotted keys in which the rows differ, each with the name to show.

    Only the identity counts, so a value that equals its default does not differ from one that a
    record does not hold because it was added later.
    """
    identities = [_flat(row.identity) for row in rows]
    values = [_shown_values(row) for row in rows]
    keys = sorted({key for identity in identities for key in identity})
    keys = [
        key
        for key in keys
        if len({identity.get(key) for identity in identities}) > 1
        and len({value.get(key) for value in values}) > 1
    ]
    short = [key.removeprefix("hyperparameters.").removeprefix("recipe.") for key in keys]
    return {
        key: name if short.count(name) == 1 else key for key, name in zip(keys, short, strict=True)
    }


def _shown_values(arguments: RunArguments) -> dict[str, str]:
    """Dotted key -> text of every value, those at their default included."""
    values = {
        **arguments.identity,
        "hyperparameters": arguments.hyperparameters,
        "recipe": arguments.recipe,
    }
    return _flat(values)


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    """Dotted key -> text of everything in which the rows of a method can differ."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if key in _SHARED:
            continue
        if isinstance(value, Mapping):
            for name, inner in value.items():
                _flatten_into(flat, f"{key}.{name}", inner)
        else:
            flat[key] = shown(value)
    return flat


def _flatten_into(flat: dict[str, str], key: str, value: Any) -> None:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            _flatten_into(flat, f"{key}.{name}", inner)
    else:
        flat[key] = shown(value)


def _rounded(text: str) -> str:
    """A long fraction with four digits, the first twelve digits of a digest, others unchanged."""
    if _DIGEST.fullmatch(text):
        return text[:12]
    return f"{float(text):.4g}" if _LONG_FRACTION.fullmatch(text) else text
