"""Recipes as data: optimiser, schedule, epochs, batch, sampler, head. The method never sees one.

A recipe is part of a run's identity. `RECIPES` names the published ones; any field can be replaced
on the command line or by a TOML file.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.core.heads import Head, HiddenHead, LinearHead
from benchkit.base.errors import BenchkitError

_LINEAR = ("linear-scaled", "linear")


@dataclass(frozen=True)
class Recipe:
    """How a run is trained, whatever the method.

    Attributes:
        optimiser: adam, adamw or sgd (Nesterov off).
        lr: the base learning rate.
        momentum: of sgd; the first beta of adam stays 0.9.
        weight_decay: L2 for adam and sgd, decoupled for adamw.
        schedule: constant; cosine (to 0, per step); step (times `factor` at `milestones`).
        milestones: epochs after which the rate is multiplied, as "5,7".
        factor: of the step schedule.
        warmup_steps: linear warm-up from `warmup_ratio` of the rate.
        warmup_ratio: where the warm-up begins.
        epochs: passes over the training set (or sampler lengths).
        batch: images per step; the last partial batch of an epoch is dropped.
        clip: greatest global L2 norm of a run's gradient; 0 for none.
        sampler: method (what the method asks for), shuffle, or class-aware on observed labels.
        head: linear-scaled, linear, or hidden:WIDTH for one hidden layer; see
            `baselines.core.heads`.
        standardise: on or off: features minus the training mean over
            the training standard deviation.
    """

    optimiser: str = "adam"
    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    milestones: str = ""
    factor: float = 0.1
    warmup_steps: int = 0
    warmup_ratio: float = 1.0 / 3.0
    epochs: int = 20
    batch: int = 32
    clip: float = 0.0
    sampler: str = "method"
    head: str = "linear-scaled"
    standardise: str = "on"

    def __post_init__(self) -> None:
        _check(self)

    def rate_factor(self, epoch: int, step: int, steps: int, epochs: int | None = None) -> float:
        """What the base rate is multiplied by at a step.

        Args:
            epoch: from 1.
            step: of the epoch, from 0.
            steps: per epoch.
            epochs: of the stage, where it has a number of its own.
        """
        done = (epoch - 1) * steps + step
        value = 1.0
        if self.schedule == "cosine":
            total = (epochs or self.epochs) * steps
            value = 0.5 * (1.0 + math.cos(math.pi * done / total))
        elif self.schedule == "step":
            value = self.factor ** sum(epoch > m for m in milestones(self.milestones))
        if done < self.warmup_steps:
            value *= 1.0 - (1.0 - done / self.warmup_steps) * (1.0 - self.warmup_ratio)
        return value

    def make_head(self) -> Head:
        """The head that methods without one of their own are given."""
        if self.head in _LINEAR:
            return LinearHead(scaled=self.head == "linear-scaled")
        return HiddenHead(int(self.head.partition(":")[2]))


def milestones(text: str) -> list[int]:
    """The epochs in a text such as "5,7"."""
    return [int(part) for part in text.split(",") if part.strip()]


def _check(recipe: Recipe) -> None:
    choices = {
        "optimiser": ("adam", "adamw", "sgd"),
        "schedule": ("constant", "cosine", "step"),
        "sampler": ("method", "shuffle", "class-aware"),
        "standardise": ("on", "off"),
    }
    for name, allowed in choices.items():
        if getattr(recipe, name) not in allowed:
            value = getattr(recipe, name)
            raise BenchkitError(f"recipe {name}={value!r} is not one of {', '.join(allowed)}")
    least = {"lr": 0.0, "weight_decay": 0.0, "warmup_steps": 0, "epochs": 1, "batch": 1, "clip": 0}
    least |= {"momentum": 0.0, "factor": 0.0, "warmup_ratio": 0.0}
    for name, low in least.items():
        value = getattr(recipe, name)
        if not (math.isfinite(value) and value >= low):
            raise BenchkitError(f"recipe {name}={value} must be a finite number of at least {low}")
    kind, _, width = recipe.head.partition(":")
    hidden = kind == "hidden" and width.isdecimal() and int(width) > 0
    if recipe.head not in _LINEAR and not hidden:
        raise BenchkitError(
            f"recipe head={recipe.head!r} is not {', '.join(_LINEAR)}, hidden:WIDTH"
        )
    try:
        milestones(recipe.milestones)
    except ValueError:
        text = recipe.milestones
        raise BenchkitError(f"recipe milestones={text!r} is not a list such as 5,7") from None


RECIPES: dict[str, tuple[str, Recipe]] = {
    "features": ("a linear head on frozen features, Adam, cosine to zero over 20 epochs", Recipe()),
    "dbl": (
        "the released DB-loss schedule (Wu et al. 2020): SGD, warm-up, steps after epochs 5 and 7",
        Recipe(
            optimiser="sgd",
            lr=0.02,
            schedule="step",
            milestones="5,7",
            warmup_steps=500,
            epochs=8,
            clip=35.0,
        ),
    ),
    "spml-linear": (
        "the linear phase of Cole et al. 2021: Adam for 25 epochs on frozen features",
        Recipe(weight_decay=0.0, schedule="constant", epochs=25, batch=16),
    ),
    "ndlp": (
        "what the released NDLP loop does: SGD at a constant rate for 10 epochs",
        Recipe(optimiser="sgd", lr=0.02, schedule="constant", epochs=10),
    ),
    "comic": (
        "the released COMIC schedule: Adam for 40 epochs, rates that step part by part",
        Recipe(schedule="constant", epochs=40),
    ),
}


def parse(words: Iterable[str]) -> Recipe:
    """A recipe from the words of `--recipe`: names, TOML files, and key=value, left to right."""
    recipe = Recipe()
    for word in words:
        if "=" in word:
            name, _, text = word.partition("=")
            recipe = _replace(recipe, {name: text}, "recipe")
        elif word.endswith(".toml"):
            recipe = _replace(recipe, _read(Path(word)), word)
        elif word in RECIPES:
            recipe = RECIPES[word][1]
        else:
            near = difflib.get_close_matches(word, RECIPES, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(RECIPES)}"
            raise BenchkitError(f"there is no recipe '{word}'; {hint}")
    return recipe


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchkitError(f"recipe {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BenchkitError(f"recipe {path} is not TOML: {error}") from None


def _replace(recipe: Recipe, values: dict[str, Any], where: str) -> Recipe:
    fields = {f.name: f for f in dataclasses.fields(Recipe)}
    typed = {}
    for name, value in values.items():
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"fields: {', '.join(fields)}"
            raise BenchkitError(f"{where} has no field '{name}'; {hint}")
        kind: type = type(fields[name].default)
        try:
            typed[name] = kind(value)
            # A TOML value that the type would silently bend: 5.7 epochs, a batch of true.
            if not isinstance(value, str) and (typed[name] != value or isinstance(value, bool)):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            text = f"{where} {name}={value!r} is not a value of type {kind.__name__}"
            raise BenchkitError(text) from None
    return dataclasses.replace(recipe, **typed)
