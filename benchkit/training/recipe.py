"""Training recipes as data: optimiser, schedule, epochs, batch size, sampler and head.

A recipe is part of a run's identity; a method never sees it. `RECIPES` holds the named recipes, and
the command line or a TOML file can replace any field. This module does not import torch, so that
the command line can list recipes quickly.
"""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchkit.base import fields
from benchkit.base.errors import BenchkitError
from benchkit.base.fields import Field, shown
from benchkit.base.paths import regular_file

if TYPE_CHECKING:
    from baselines.core.heads import Head

LINEAR_HEADS = ("linear-scaled", "linear", "linear-uniform")
FEWEST_EPOCHS = 10
"""The fewest epochs that `Recipe.steps` asks for."""
MOST_EPOCHS = 200
"""The most epochs that `Recipe.steps` asks for."""
LARGEST = (1 << 31) - 1
"""The largest integer in a recipe."""

_WIDEST_HEAD = 1 << 20
_LONGEST_FILE = 1 << 20  # bytes


@dataclass(frozen=True)
class Recipe:
    """How a run is trained, independent of the method.

    Values are checked and converted to the type of their field, so `lr=1` and `lr=1.0` are equal
    recipes.

    The default is a compromise that was chosen for BCE on the validation parts of six real data
    sets in six label regimes; `docs/recipe.md` has the study.

    Attributes:
        optimiser: `adam`, `adamw` or `sgd` (without Nesterov momentum).
        lr: the base learning rate.
        lr_scale: `none`; `classes` multiplies the rate by the number of classes C. Every loss here
            is a mean over images and classes. Released code that trains with sgd on a sum over
            classes needs C times its rate.
        momentum: the momentum of sgd; adam and adamw keep beta_1 = 0.9.
        weight_decay: L2 regularisation for adam and sgd. Decoupled decay for adamw: every step
            multiplies the weights by 1 - lr * weight_decay, whatever the scale of the loss.
        schedule: `constant`; `cosine` (per step, down to 0); `step` (multiply by `factor` after
            each of `milestones`).
        milestones: the epochs after which the step schedule multiplies the rate, such as "5,7".
        factor: the multiplier of the step schedule.
        warmup: the share of a stage's steps in which the rate rises linearly, from `warmup_ratio`
            of it.
        warmup_ratio: see `warmup`.
        steps: the budget of a stage in optimiser steps. The number of epochs is the smallest that
            reaches it, but at least `FEWEST_EPOCHS` and at most `MOST_EPOCHS`.
        epochs: passes over the training set (or over the sampler's epoch length); 0 leaves the
            number to `steps`.
        batch: images per step; the last partial batch of an epoch is dropped.
        clip: maximum global L2 norm of a run's gradient; 0 turns clipping off.
        sampler: `method` (the method decides), `shuffle`, or `class-aware` on the observed labels.
        head: `linear-scaled`, `linear`, `linear-uniform`, or `hidden:WIDTH` for one hidden layer;
            see `baselines.core.heads`.
        standardise: `on` subtracts the mean of the training features and divides by their standard
            deviation; `off` leaves features as they are.
        row_norm: all features are multiplied by one factor, after which the root mean square of the
            norms of the training rows is `row_norm` sqrt(1024 / D), with D features; 0 leaves
            them. One rate and one weight decay then suit few and many features.
        defaults: the version of the defaults that the recipe departs from, a key of `DEFAULTS`. It
            names the recipe in a run id and changes nothing else.

    Raises:
        BenchkitError: a value of the wrong type, out of range, or not among the choices.
    """

    optimiser: str = "adamw"
    lr: float = 1e-3
    lr_scale: str = "none"
    momentum: float = 0.9
    weight_decay: float = 16.0
    schedule: str = "cosine"
    milestones: str = ""
    factor: float = 0.1
    warmup: float = 0.0
    warmup_ratio: float = 1.0 / 3.0
    steps: int = 2000
    epochs: int = 0
    batch: int = 32
    clip: float = 0.0
    sampler: str = "method"
    head: str = "linear-scaled"
    standardise: str = "on"
    row_norm: float = 16.0
    defaults: str = field(default="2", repr=False)

    def __post_init__(self) -> None:
        for name, value in _typed(self.values(), "recipe").items():
            object.__setattr__(self, name, value)

    def values(self) -> dict[str, Any]:
        """Every field of `FIELDS` with its value."""
        return {name: value for name, value in vars(self).items() if name != "defaults"}

    def epochs_of(self, length: int) -> int:
        """The number of epochs of a stage whose epochs visit `length` rows.

        E = `epochs` if it is set, else the smallest number that reaches `steps`, kept between
        `FEWEST_EPOCHS` and `MOST_EPOCHS`. An epoch has floor(length / min(batch, length)) steps.
        """
        if self.epochs:
            return self.epochs
        steps_per_epoch = length // min(self.batch, length)
        return min(max(-(-self.steps // steps_per_epoch), FEWEST_EPOCHS), MOST_EPOCHS)

    def for_classes(self, classes: int) -> Recipe:
        """The same recipe with the learning rate of a number of classes, see `lr_scale`."""
        if self.lr_scale == "none":
            return self
        return dataclasses.replace(self, lr=self.lr * classes, lr_scale="none")

    def rate_factor(self, epoch: int, step: int, steps: int, epochs: int) -> float:
        """The factor that multiplies the base learning rate at one step.

        With t the number of steps done and T the number of steps of the stage:

            constant    1
            cosine      (1 + cos(pi t / T)) / 2
            step        factor ^ (number of milestones before this epoch)

        and during warm-up (t < W = `warmup` T) this is multiplied by
        1 - (1 - t / W) (1 - `warmup_ratio`).

        Args:
            epoch: the epoch of the stage, from 1.
            step: the step of the epoch, from 0.
            steps: steps per epoch.
            epochs: the number of epochs of the stage.
        """
        done, total = (epoch - 1) * steps + step, epochs * steps
        value = 1.0
        if self.schedule == "cosine":
            value = 0.5 * (1.0 + math.cos(math.pi * done / total))
        elif self.schedule == "step":
            value = self.factor ** sum(epoch > m for m in milestones(self.milestones))
        if done < self.warmup * total:
            value *= 1.0 - (1.0 - done / (self.warmup * total)) * (1.0 - self.warmup_ratio)
        return value

    def make_head(self) -> Head:
        """The head of every method that does not bring its own."""
        from baselines.core.heads import HiddenHead, LinearHead

        if self.head == "linear-uniform":
            return LinearHead(uniform=True)
        if self.head in LINEAR_HEADS:
            return LinearHead(scaled=self.head == "linear-scaled", row_norm=self.row_norm)
        return HiddenHead(int(self.head.partition(":")[2]))


def milestones(text: str) -> list[int]:
    """The epochs in a text such as "5,7"."""
    return [int(part) for part in text.split(",") if part.strip()]


# ----------------------------------------------------------------------------- checking

_DIGITS = re.compile(r"[0-9]{1,10}")

_LIMITS: dict[str, dict[str, Any]] = {
    "optimiser": {"choices": ("adam", "adamw", "sgd")},
    "lr": {"low": 0.0},
    "lr_scale": {"choices": ("none", "classes")},
    "momentum": {"low": 0.0},
    "weight_decay": {"low": 0.0},
    "schedule": {"choices": ("constant", "cosine", "step")},
    "factor": {"low": 0.0},
    "warmup": {"low": 0.0, "high": 1.0},
    "warmup_ratio": {"low": 0.0},
    "steps": {"low": 1},
    "epochs": {"low": 0},
    "batch": {"low": 1},
    "clip": {"low": 0.0},
    "sampler": {"choices": ("method", "shuffle", "class-aware")},
    "standardise": {"choices": ("on", "off")},
    "row_norm": {"low": 0.0},
}
FIELDS: tuple[Field, ...] = tuple(
    Field(entry.name, entry.default, **_LIMITS.get(entry.name, {}))
    for entry in dataclasses.fields(Recipe)
    if entry.name != "defaults"
)
"""Every field of `Recipe` with its type, range and choices."""


def _typed(values: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Some fields of a recipe, converted and checked; `owner` starts every message."""
    typed = fields.parse(FIELDS, values, owner)
    for name, value in typed.items():
        if isinstance(value, int) and value > LARGEST:
            raise BenchkitError(f"{owner}: {name}={shown(value)} is greater than {LARGEST}")
    head = typed.get("head", LINEAR_HEADS[0])
    if head not in LINEAR_HEADS:
        kind, _, width = head.partition(":")
        number = int(width) if _DIGITS.fullmatch(width) else 0
        if kind != "hidden" or not 1 <= number <= _WIDEST_HEAD:
            raise BenchkitError(
                f"{owner}: head={shown(head)} is not one of {', '.join(LINEAR_HEADS)}, "
                f"hidden:WIDTH (WIDTH from 1 to {_WIDEST_HEAD})"
            )
    text = typed.get("milestones", "")
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if not all(not part or _DIGITS.fullmatch(part) for part in parts):
        raise BenchkitError(
            f"{owner}: milestones={shown(text)} is not a list of epochs such as 5,7"
        )
    return typed


# ----------------------------------------------------------------------------- versioned defaults

# A run id covers only the fields that depart from DEFAULTS[recipe.defaults], so these values never
# change. A field that is added to `Recipe` later is added here, to every version, with the value
# that reproduces the behaviour from before it existed; existing ids then stay as they are. New
# default values for existing fields need a new version.
DEFAULTS: dict[str, Recipe] = {
    "1": Recipe(
        optimiser="adam",
        lr=1e-3,
        lr_scale="none",
        momentum=0.9,
        weight_decay=1e-4,
        schedule="cosine",
        milestones="",
        factor=0.1,
        warmup=0.0,
        warmup_ratio=1.0 / 3.0,
        steps=2000,
        epochs=20,
        batch=32,
        clip=0.0,
        sampler="method",
        head="linear-scaled",
        standardise="on",
        row_norm=0.0,
        defaults="1",
    ),
    "2": Recipe(
        optimiser="adamw",
        lr=1e-3,
        lr_scale="none",
        momentum=0.9,
        weight_decay=16.0,
        schedule="cosine",
        milestones="",
        factor=0.1,
        warmup=0.0,
        warmup_ratio=1.0 / 3.0,
        steps=2000,
        epochs=0,
        batch=32,
        clip=0.0,
        sampler="method",
        head="linear-scaled",
        standardise="on",
        row_norm=16.0,
        defaults="2",
    ),
}


DEFAULT_NAMES = {"1": "features-v1", "2": "features"}
"""Version of the defaults -> the name of the recipe in `RECIPES`."""


def departures(recipe: Recipe) -> dict[str, Any]:
    """The fields of a recipe that differ from `DEFAULTS[recipe.defaults]`, by name."""
    default = DEFAULTS[recipe.defaults].values()
    return {name: value for name, value in recipe.values().items() if value != default[name]}


# ----------------------------------------------------------------------------- named recipes

RECIPES: dict[str, tuple[str, Recipe]] = {
    "features": (
        "a linear head on frozen features, AdamW, cosine to zero over 2000 steps",
        Recipe(),
    ),
    "features-v1": (
        "the default of version 0.1, which trains too briefly: Adam, 20 epochs, little decay",
        DEFAULTS["1"],
    ),
    "dbl": (
        "the released DB-loss schedule (Wu et al. 2020): SGD, warm-up, steps after epochs 5 and 7",
        Recipe(
            optimiser="sgd",
            lr=0.02,
            lr_scale="classes",
            weight_decay=1e-4,
            schedule="step",
            milestones="5,7",
            warmup=0.09,
            epochs=8,
            clip=35.0,
        ),
    ),
    "spml-linear": (
        "the linear phase of Cole et al. 2021: torch's own linear layer on raw features, Adam",
        Recipe(
            optimiser="adam",
            weight_decay=0.0,
            schedule="constant",
            epochs=25,
            batch=16,
            head="linear-uniform",
            standardise="off",
            row_norm=0.0,
        ),
    ),
    "ndlp": (
        "the released NDLP training loop: SGD at a constant rate for 10 epochs",
        Recipe(
            optimiser="sgd",
            lr=0.02,
            lr_scale="classes",
            weight_decay=1e-4,
            schedule="constant",
            epochs=10,
        ),
    ),
    "comic": (
        "the released COMIC schedule: Adam for 40 epochs, with a step schedule for each branch",
        Recipe(optimiser="adam", weight_decay=1e-4, schedule="constant", epochs=40),
    ),
}
"""Name -> (one line of description, recipe)."""


def parse(arguments: Iterable[str | Mapping[str, Any]]) -> Recipe:
    """Build a recipe from the arguments of `--recipe`, applied from left to right.

    Args:
        arguments: names of `RECIPES`, paths of TOML files (ending in `.toml`), `FIELD=VALUE`, and
            mappings of fields to values. A name replaces everything before it, any other argument
            replaces some fields.

    Raises:
        BenchkitError: an unknown recipe or field (with the nearest known name), an invalid value,
            a rate and a decay that do not fit together, or a file that cannot be read.
    """
    recipe = Recipe()
    for argument in arguments:
        if isinstance(argument, Mapping):
            recipe = dataclasses.replace(recipe, **_typed(argument, "recipe"))
        elif not isinstance(argument, str):
            raise BenchkitError(f"recipe {shown(argument)} is neither a text nor a mapping")
        elif "=" in argument:
            name, value = fields.assignment(argument, "--recipe", "epochs=20")
            recipe = dataclasses.replace(recipe, **_typed({name: value}, "recipe"))
        elif argument.endswith(".toml"):
            values = _typed(read_toml(Path(argument)), f"recipe {argument}")
            recipe = dataclasses.replace(recipe, **values)
        elif argument in RECIPES:
            recipe = RECIPES[argument][1]
        else:
            hint = fields.nearest(argument, RECIPES)
            raise BenchkitError(f"there is no recipe {shown(argument)}; {hint}")
    _check_decay(recipe)
    return recipe


def _check_decay(recipe: Recipe) -> None:
    """Refuse a decoupled decay that changes the sign of the weights in every step."""
    product = recipe.lr * recipe.weight_decay
    if recipe.optimiser == "adamw" and product >= 1:
        raise BenchkitError(
            f"recipe: lr={recipe.lr:g} times weight_decay={recipe.weight_decay:g} is {product:g}, "
            "but adamw multiplies the weights by 1 minus this product in every step, so it must be "
            "less than 1; lower weight_decay as well"
        )


def read_toml(path: Path) -> dict[str, Any]:
    """The fields of a TOML file, not yet checked."""
    regular_file(path, "recipe")
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_FILE + 1)
    except OSError as error:
        raise BenchkitError(f"recipe {path} cannot be read: {error.strerror}") from None
    if len(content) > _LONGEST_FILE:
        raise BenchkitError(f"recipe {path} has more than {_LONGEST_FILE >> 10} KiB")
    try:
        values = tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BenchkitError(f"recipe {path} is not UTF-8 text, at byte {error.start}") from None
    except RecursionError:
        raise BenchkitError(f"recipe {path} is nested too deeply; give FIELD = VALUE") from None
    except tomllib.TOMLDecodeError as error:
        _, at, place = str(error).rpartition(" (at ")
        where = f" at {place.rstrip(')')}" if at else ""
        if "overwrite" in str(error):
            raise BenchkitError(f"recipe {path} sets a field twice{where}") from None
        raise BenchkitError(f"recipe {path} is not valid TOML{where}; give FIELD = VALUE") from None
    except ValueError:  # Python's limit of digits
        raise BenchkitError(f"recipe {path} has a number of too many digits") from None
    for name, value in values.items():
        if isinstance(value, dict):
            raise BenchkitError(f"recipe {path}: [{name}] is a table; give {name} = VALUE")
    return values
