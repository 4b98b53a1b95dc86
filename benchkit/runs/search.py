"""Random draws of hyperparameters and recipes: pure functions of names and numbers.

Protocol `random-1`. Draw 0 is the default. Draw k >= 1 draws every hyperparameter with a search
range, and the recipe fields of `RECIPE_VALUES`. A value depends only on the seed of the search, the
method m, its own name n, and k: more draws extend fewer, and a new hyperparameter moves no other
value. Recipe fields have m = `recipe`, so draw k has the same recipe for all methods.

    a range (a pair of floats)     low + u (high - low), or low (high / low)^u if low > 0 and
                                   high >= 10 low, with u = uniform(seed, "search/m/n", j, a)
    a list of L values             the value at position (j - 1) mod L of a random permutation
                                   that is keyed by (seed, "search/m/n", floor((j - 1) / L), a),
                                   so L consecutive j have L different values

where a = 0, 1, ... counts attempts, and j = k for floats. Runs that differ in other values cannot
train as one program. Such values, which are whole numbers, switches and texts, therefore change
only with every third draw: j = floor((k - 1) / 3) + 1.

A value outside the limits of its hyperparameter is clipped to them. A combination for which
`allowed` is false is drawn again with the next attempt, and so is a recipe whose learning rate
times weight decay is 1 or more, which would turn the weights round in a step. After
`MOST_ATTEMPTS`, the default takes its place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from baselines.core import Method, hyperparameters
from benchkit.base.random import uniform
from benchkit.training.recipe import Recipe

PROTOCOL = "random-1"
"""The name of these rules in a record; another set of rules needs another name."""

MOST_ATTEMPTS = 100

RECIPE_VALUES: Mapping[str, tuple[Any, ...]] = {
    "lr": (3e-4, 1e-3, 3e-3, 1e-2),
    "weight_decay": (2.0, 4.0, 8.0, 16.0, 32.0),
    "steps": (1000, 2000, 4000),
}
"""Recipe field -> the values to try. The rates and decays are meant for AdamW."""

_RECIPE = "recipe"  # no method has this key
_LOG_SPAN = 10.0  # the smallest high / low of a range that is searched on a logarithmic scale
_SHARED_DRAWS = 3  # consecutive draws with equal values of other types than float


@dataclass(frozen=True)
class Setting:
    """One draw.

    Attributes:
        draw: its number; 0 is the default.
        hyper: an instance of the method's `Hyper`.
        recipe: the recipe.
    """

    draw: int
    hyper: Any
    recipe: Recipe


def settings(
    method: type[Method],
    hyper: Any,
    recipe: Recipe,
    draws: int,
    *,
    fixed: Collection[str] = (),
    fixed_recipe: Collection[str] = (),
    allowed: Callable[[Any], bool] = lambda hyper: True,
    seed: int = 0,
) -> list[Setting]:
    """The settings to compare for one method.

    Args:
        method: the class.
        hyper: its default hyperparameters, draw 0.
        recipe: the default recipe, draw 0.
        draws: the number of settings, including the default.
        fixed: hyperparameters that keep their default in all draws.
        fixed_recipe: recipe fields that keep their default in all draws.
        allowed: whether the method can be run with an instance of its `Hyper`.
        seed: the seed of the search.

    Returns:
        `draws` settings in the order of their numbers. Some may be equal.
    """
    result = [Setting(0, hyper, recipe)]
    for draw in range(1, draws):
        drawn_recipe = recipe
        for attempt in range(MOST_ATTEMPTS):
            fields = draw_recipe(recipe, draw, fixed_recipe, attempt, seed)
            candidate_recipe = dataclasses.replace(recipe, **fields)
            if candidate_recipe.lr * candidate_recipe.weight_decay < 1:
                drawn_recipe = candidate_recipe
                break
        drawn_hyper = hyper
        for values in _attempts(method, draw, fixed, seed):
            candidate = dataclasses.replace(hyper, **values)
            if allowed(candidate):
                drawn_hyper = candidate
                break
        result.append(Setting(draw, drawn_hyper, drawn_recipe))
    return result


def draw_recipe(
    recipe: Recipe, draw: int, fixed: Collection[str] = (), attempt: int = 0, seed: int = 0
) -> dict[str, Any]:
    """The drawn recipe fields by name.

    Nothing is drawn for another optimiser than AdamW, and no `steps` if `epochs` is set.
    """
    if recipe.optimiser != "adamw":
        return {}
    ignored = {*fixed, *(["steps"] if recipe.epochs else [])}
    return {
        name: draw_value(
            {"name": name, "default": getattr(recipe, name), "search": values},
            _RECIPE,
            draw,
            attempt,
            seed,
        )
        for name, values in RECIPE_VALUES.items()
        if name not in ignored
    }


def draw_value(
    entry: Mapping[str, Any], owner: str, draw: int, attempt: int = 0, seed: int = 0
) -> Any:
    """A value of one hyperparameter or recipe field.

    Args:
        entry: its description, see `baselines.core.hyperparameters.describe`.
        owner: the key of the method, or `recipe`.
        draw: k, from 1.
        attempt: a, from 0.
        seed: the seed of the search.
    """
    search, stream = tuple(entry["search"]), f"search/{owner}/{entry['name']}"
    position = draw - 1 if isinstance(entry["default"], float) else (draw - 1) // _SHARED_DRAWS
    if not is_range(search):
        turn, place = divmod(position, len(search))
        numbers = uniform(seed, stream, turn, attempt, np.arange(len(search)))
        return search[int(np.argsort(numbers, kind="stable")[place])]
    low, high = search
    number = float(uniform(seed, stream, position + 1, attempt))
    if low > 0 and high >= _LOG_SPAN * low:
        value = low * (high / low) ** number
    else:
        value = low + number * (high - low)
    least, most = entry.get("low"), entry.get("high")
    value = value if least is None else max(value, float(least))
    return value if most is None else min(value, float(most))


def is_range(search: tuple[Any, ...]) -> bool:
    """Whether a tuple is a range (low, high) and not a list of values."""
    return len(search) == 2 and all(type(value) is float for value in search)


def _attempts(
    method: type[Method], draw: int, fixed: Collection[str], seed: int
) -> Iterator[dict[str, Any]]:
    """The hyperparameters of a draw by name, attempt by attempt."""
    entries = [
        entry
        for entry in hyperparameters.describe(method.Hyper)
        if entry.get("search") and entry["name"] not in fixed
    ]
    for attempt in range(MOST_ATTEMPTS if entries else 0):
        yield {
            entry["name"]: draw_value(entry, method.info.key, draw, attempt, seed)
            for entry in entries
        }
