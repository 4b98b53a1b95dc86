"""Draws of hyperparameters: nested, keyed by name, within their limits."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.asl import ASL
from baselines.bce import BCE
from baselines.core import Method, MethodInfo, hyperparameters, registry
from baselines.core.hyperparameters import hyper
from benchkit.base.random import uniform
from benchkit.runs import search
from benchkit.runs.options import SEARCH_SELECTIONS
from benchkit.runs.search import RECIPE_VALUES, draw_recipe, draw_value
from benchkit.runs.selection import RULES
from benchkit.training.recipe import Recipe
from leaderboard.arguments import SEARCHED


@dataclass(frozen=True)
class Hyper:
    """Every kind of hyperparameter."""

    linear: float = hyper(1.0, "a range", search=(0.5, 4.0))
    log: float = hyper(0.1, "a range of two powers of ten", search=(0.01, 1.0))
    chosen: float = hyper(0.5, "a list", search=(0.25, 0.5, 0.75))
    depth: int = hyper(2, "whole numbers", search=(1, 2, 3))
    mode: str = hyper("a", "texts", search=("a", "b"))
    still: float = hyper(7.0, "not searched")


@dataclass(frozen=True)
class LongerHyper(Hyper):
    """The same with one more."""

    added: float = hyper(0.0, "added later", search=(0.0, 1.0))


def method_with(hyper_class: type, key: str = "toy") -> type[Method]:
    info = MethodInfo(key, "Toy", "none", 2026, "L = 0", "negative")
    return type("Toy", (Method,), {"info": info, "Hyper": hyper_class})


def drawn(method: type[Method], draws: int, **options: Any) -> list[dict[str, Any]]:
    """The hyperparameters of every draw by name."""
    result = search.settings(method, method.Hyper(), Recipe(), draws, **options)
    return [dataclasses.asdict(setting.hyper) for setting in result]


TOY = method_with(Hyper)


def test_the_first_draw_is_the_default() -> None:
    first, second = search.settings(ASL, ASL.Hyper(clip=0.1), Recipe(batch=7), 2)
    assert (first.draw, first.hyper, first.recipe) == (0, ASL.Hyper(clip=0.1), Recipe(batch=7))
    assert second.draw == 1
    assert second.hyper.clip != 0.1
    assert second.recipe.batch == 7


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 9))
def test_more_draws_extend_fewer(one: int, two: int, seed: int) -> None:
    few, many = sorted((one, two))
    assert drawn(TOY, many, seed=seed)[:few] == drawn(TOY, few, seed=seed)


def test_a_new_hyperparameter_moves_no_other() -> None:
    for old, new in zip(drawn(TOY, 20), drawn(method_with(LongerHyper), 20), strict=True):
        assert {name: new[name] for name in old} == old


def test_a_fixed_hyperparameter_moves_no_other() -> None:
    for free, fixed in zip(drawn(TOY, 20), drawn(TOY, 20, fixed={"log"}), strict=True):
        assert fixed == {**free, "log": 0.1}


def test_draws_depend_on_the_method_and_the_seed() -> None:
    base = drawn(TOY, 8)
    assert drawn(TOY, 8) == base
    assert drawn(method_with(Hyper, "other"), 8)[1:] != base[1:]
    assert drawn(TOY, 8, seed=1)[1:] != base[1:]


def test_the_recipe_has_the_same_draws_for_all_methods() -> None:
    recipes = [[s.recipe for s in search.settings(m, m.Hyper(), Recipe(), 9)] for m in (ASL, BCE)]
    assert recipes[0] == recipes[1]
    assert len(set(recipes[0])) > 6


def test_draws_never_change() -> None:
    rate = {"name": "lr", "default": 0.1, "search": (1.0, 100.0)}
    steps = {"name": "n", "default": 1, "search": (10, 20, 30)}
    assert draw_value(rate, "m", 1) == pytest.approx(100 ** float(uniform(0, "search/m/lr", 1, 0)))
    assert draw_value(rate, "m", 1) == pytest.approx(1.7186251512549569, rel=1e-12)
    assert [draw_value(steps, "m", k) for k in range(1, 19, 3)] == [30, 10, 20, 10, 20, 30]


def test_ranges_are_uniform_and_logarithmic_from_a_factor_of_ten() -> None:
    values = drawn(TOY, 600)[1:]
    linear = np.array([entry["linear"] for entry in values])
    assert 0.5 <= linear.min() < 0.55 and 3.95 < linear.max() < 4.0
    assert linear.mean() == pytest.approx(2.25, abs=0.15)
    logs = np.log10([entry["log"] for entry in values])
    assert -2 <= logs.min() < -1.98 and -0.02 < logs.max() < 0
    assert logs.mean() == pytest.approx(-1.0, abs=0.08)
    assert {entry["still"] for entry in values} == {7.0}


def test_lists_are_balanced() -> None:
    values = drawn(TOY, 19)[1:]
    for start in range(0, 18, 3):
        assert sorted(entry["chosen"] for entry in values[start : start + 3]) == [0.25, 0.5, 0.75]
    assert Counter(entry["depth"] for entry in values) == {1: 6, 2: 6, 3: 6}


def test_values_that_split_stacks_change_with_every_third_draw() -> None:
    values = drawn(TOY, 19)[1:]
    for start in range(0, 18, 3):
        assert len({(e["depth"], e["mode"]) for e in values[start : start + 3]}) == 1
        assert len({e["linear"] for e in values[start : start + 3]}) == 3


def test_a_value_outside_the_limits_is_clipped() -> None:
    entry = {"name": "x", "default": 0.5, "search": (0.0, 1.0), "low": 0.4, "high": 0.6}
    values = [draw_value(entry, "m", draw) for draw in range(1, 60)]
    assert (min(values), max(values)) == (0.4, 0.6)
    assert any(0.4 < value < 0.6 for value in values)


def test_an_impossible_combination_is_drawn_again() -> None:
    free = drawn(TOY, 40)

    def allowed(candidate: Hyper) -> bool:
        return not (candidate.mode == "b" and candidate.depth == 3)

    kept = drawn(TOY, 40, allowed=allowed)
    changed = [k for k in range(40) if kept[k] != free[k]]
    assert changed == [k for k in range(40) if not allowed(Hyper(**free[k]))]
    assert 3 <= len(changed) < 20
    assert all(allowed(Hyper(**entry)) for entry in kept)
    assert drawn(TOY, 4, allowed=lambda _: False) == [dataclasses.asdict(Hyper())] * 4


def test_recipe_fields_that_are_not_drawn() -> None:
    assert draw_recipe(Recipe(), 1).keys() == {"lr", "weight_decay", "steps"}
    assert draw_recipe(Recipe(epochs=5), 1).keys() == {"lr", "weight_decay"}
    assert draw_recipe(Recipe(), 1, {"lr", "steps"}).keys() == {"weight_decay"}
    assert draw_recipe(Recipe(optimiser="sgd"), 1) == {}


def test_a_decay_that_turns_the_weights_round_is_drawn_again() -> None:
    fast = Recipe(lr=0.1, weight_decay=4.0)
    drawn_recipes = search.settings(BCE, BCE.Hyper(), fast, 30, fixed_recipe={"lr"})
    assert {s.recipe.weight_decay for s in drawn_recipes} == {2.0, 4.0, 8.0}


def test_the_recipe_grid_holds_the_default() -> None:
    assert set(RECIPE_VALUES) == set(SEARCHED)
    for name, values in RECIPE_VALUES.items():
        assert getattr(Recipe(), name) in values, name


def test_the_options_name_the_selection_rules() -> None:
    assert SEARCH_SELECTIONS == RULES


@pytest.mark.parametrize("key", registry.builtin())
def test_every_method_has_valid_draws(key: str) -> None:
    method = registry.get(key)
    entries = {entry["name"]: entry for entry in hyperparameters.describe(method.Hyper)}
    for name, entry in entries.items():
        kind = type(entry["default"])
        values = entry.get("search") or ()
        assert all(type(value) is kind for value in values), name
        assert "," not in str(entry["default"]), f"{name}: a comma separates the values of --set"
        assert not any("," in str(value) for value in entry.get("choices") or ()), name
    for values in drawn(method, 12):
        for name, value in values.items():
            entry = entries[name]
            assert type(value) is type(entry["default"]), name
            assert not isinstance(value, float) or math.isfinite(value), name
            assert entry.get("low") is None or value >= entry["low"], name
            assert entry.get("high") is None or value <= entry["high"], name
            assert not entry.get("choices") or value in entry["choices"], name
