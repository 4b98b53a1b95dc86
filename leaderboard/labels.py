"""Row labels: the method key, and the values that tell its rows apart."""

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leaderboard.arguments import SEARCHED
from leaderboard.record import RunArguments

_ABSENT = "–"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONG_FRACTION = re.compile(r"-?\d+\.\d{5,}(e[+-]?\d+)?")
_RECIPE = "recipe."
_DEFAULTS = "recipe_defaults"
_IN_BUDGET = ("search.draws", "search.draw")
_SHARED = ("split", "method", "seed", "selection", "metric_version")


def row_labels(rows: Sequence[RunArguments]) -> list[str]:
    """Name every row of a table.

    A method that occurs once is called by its key. A method that occurs several times also shows
    the hyperparameters and recipe values in which its rows differ, such as `asl (clip=0.1)`. A row
    whose recipe departs from that of most rows (see `common_recipe`) shows where it departs. Long
    fractions are rounded and digests are cut, unless two rows would then look the same. Scores
    that were computed elsewhere under the key of a method are labelled `external`; their recipe is
    unknown and not compared.

    A row whose setting was chosen by a search shows its budget in place of the chosen values, such
    as `asl (tuned, 16 draws)`; the row of the same method without a search is then labelled
    `default`.

    Args:
        rows: the arguments of each row, for one of its seeds.

    Returns:
        One label per row, all different.
    """
    common = _common_identity(rows)
    labels: list[str] = []
    for write, with_choice in ((rounded, False), (rounded, True), (str, True)):
        labels = [_label(row, rows, common, write, with_choice) for row in rows]
        if len(set(labels)) == len(rows):
            break
    return labels


def budget_text(arguments: RunArguments) -> str:
    """The budget of a search, such as `tuned, 16 draws`; `default` without a search."""
    if not arguments.search:
        return "default"
    return f"tuned, {arguments.draws} {'draw' if arguments.draws == 1 else 'draws'}"


@dataclass(frozen=True)
class CommonRecipe:
    """The recipe of most rows of a table.

    Attributes:
        defaults: the version of the recipe defaults; None if no row tells it.
        values: recipe field -> text, those at their default included.
        departures: the names of the fields that differ from the defaults.
        is_shared: whether it is the recipe of every row with a known recipe.
    """

    defaults: str | None
    values: Mapping[str, str]
    departures: tuple[str, ...]
    is_shared: bool


def common_recipe(rows: Sequence[RunArguments]) -> CommonRecipe | None:
    """The recipe of most rows, field by field; of equally frequent values, the default.

    Args:
        rows: the arguments of each row; scores that were computed elsewhere are ignored.

    Returns:
        The recipe, or `None` if no recipe is known.
    """
    trained = [row for row in rows if not row.external]
    if not trained:
        return None
    common = _common_identity(rows)
    values: dict[str, str] = {}
    for row in trained:
        identity = _recipe_identity(row)
        for key, text in _shown_values(row).items():
            if row.search and key.removeprefix(_RECIPE) in SEARCHED:
                continue
            if key.startswith(_RECIPE) and identity.get(key) == common.get(key):
                values.setdefault(key, text)
    return CommonRecipe(
        defaults=common.get(_DEFAULTS),
        values={key.removeprefix(_RECIPE): text for key, text in values.items()},
        departures=tuple(key.removeprefix(_RECIPE) for key in values if common.get(key)),
        is_shared=not any(_departing(row, common) for row in trained),
    )


def json_text(value: Any) -> str:
    """A value as compact JSON for people, with characters outside ASCII as they are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def shown(value: Any) -> str:
    """A value for people: strings without quotes, everything else as JSON."""
    return value if isinstance(value, str) else json_text(value)


def _label(
    row: RunArguments,
    rows: Sequence[RunArguments],
    common: Mapping[str, str | None],
    write: Callable[[str], str],
    with_choice: bool,
) -> str:
    """The label of one row.

    Args:
        row: the row.
        rows: all rows.
        common: see `_common_identity`.
        write: writes a value.
        with_choice: whether the values that a search chose are shown.
    """
    same_method = [other for other in rows if other.method == row.method]
    same_kind = [other for other in same_method if _kind(other) == _kind(row)]
    values = _shown_values(row)
    keys = sorted({*_differing(same_kind), *_departing(row, common)})
    if row.search:
        keys = [key for key in keys if key not in _IN_BUDGET]
        if not with_choice:
            keys = [key for key in keys if not _is_choice(key)]
    texts = [f"{name}={write(values.get(key, _ABSENT))}" for key, name in _names(keys).items()]
    if row.external and len(same_kind) < len(same_method):
        texts.insert(0, "external")
    is_default = not texts and any(other.search for other in same_method)
    if row.search or is_default:
        texts.insert(0, budget_text(row))
    return f"{row.method} ({', '.join(texts)})" if texts else row.method


def _kind(row: RunArguments) -> tuple[bool, bool]:
    """Rows of one method and one kind show the values in which they differ."""
    return row.external, bool(row.search)


def _is_choice(key: str) -> bool:
    """Whether a dotted key is a value that a search chooses."""
    name = key.removeprefix(_RECIPE)
    return key.startswith("hyperparameters.") or (name != key and name in SEARCHED)


def _differing(rows: Sequence[RunArguments]) -> list[str]:
    """Dotted keys in which the rows differ.

    Only the identity counts, so a value that equals its default does not differ from one that a
    record does not hold because it was added later.
    """
    identities = [_flat(row.identity) for row in rows]
    values = [_shown_values(row) for row in rows]
    keys = {key for identity in identities for key in identity}
    return [
        key
        for key in keys
        if len({identity.get(key) for identity in identities}) > 1
        and len({value.get(key) for value in values}) > 1
    ]


def _departing(row: RunArguments, common: Mapping[str, str | None]) -> list[str]:
    """Dotted keys in which the recipe of a row departs from that of most rows.

    The values that a search chose do not count.
    """
    if row.external:
        return []
    identity = _recipe_identity(row)
    keys = [key for key in common if not (row.search and _is_choice(key))]
    return [key for key in keys if identity.get(key) != common[key]]


def _common_identity(rows: Sequence[RunArguments]) -> dict[str, str | None]:
    """Dotted recipe key -> its value in most rows; `None` is the default.

    Rows of a search do not count for the values that it chose.
    """
    trained = [row for row in rows if not row.external]
    identities = [(row, _recipe_identity(row)) for row in trained]
    common = {}
    for key in sorted({key for _, identity in identities for key in identity}):
        counts = Counter(
            identity.get(key)
            for row, identity in identities
            if not (row.search and _is_choice(key))
        )
        common[key] = min(counts, key=lambda v: (-counts[v], v is not None, v or ""))
    return common


def _recipe_identity(row: RunArguments) -> dict[str, str]:
    """The recipe of a row, without the values that a search chose."""
    identity = _flat(row.identity)
    return {
        key: value
        for key, value in identity.items()
        if (key == _DEFAULTS or key.startswith(_RECIPE)) and not (row.search and _is_choice(key))
    }


def _names(keys: Sequence[str]) -> dict[str, str]:
    """Dotted key -> the name to show, short where it is clear."""
    prefixes = ("hyperparameters.", _RECIPE, "search.")
    short = [functools.reduce(str.removeprefix, prefixes, key) for key in keys]
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


def rounded(text: str) -> str:
    """A long fraction with four digits, the first twelve digits of a digest, others unchanged."""
    if _DIGEST.fullmatch(text):
        return text[:12]
    return f"{float(text):.4g}" if _LONG_FRACTION.fullmatch(text) else text
