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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchkit.base import fields
from benchkit.base.errors import BenchkitError
from benchkit.base.fields import Field, shown
from benchkit.base.paths import regular_file

if TYPE_CHECKING:
    from baselines.core.heads import Head

LINEAR_HEADS = ("linear-scaled", "linear")
LARGEST = (1 << 31) - 1
"""The largest integer in a recipe."""

_WIDEST_HEAD = 1 << 20
_LONGEST_FILE = 1 << 20  # bytes


@dataclass(frozen=True)
class Recipe:
    """How a run is trained, independent of the method.

    Values are checked and converted to the type of their field, so `lr=1` and `lr=1.0` are equal
    recipes.

    Attributes:
        optimiser: `adam`, `adamw` or `sgd` (without Nesterov momentum).
        lr: the base learning rate.
        momentum: the momentum of sgd; adam and adamw keep beta_1 = 0.9.
        weight_decay: L2 regularisation for adam and sgd, decoupled decay for adamw.
        schedule: `constant`; `cosine` (per step, down to 0); `step` (multiply by `factor` after
            each of `milestones`).
        milestones: the epochs after which the step schedule multiplies the rate, such as "5,7".
        factor: the multiplier of the step schedule.
        warmup_steps: number of steps of linear warm-up, starting at `warmup_ratio` of the rate.
        warmup_ratio: see `warmup_steps`.
        epochs: passes over the training set (or over the sampler's epoch length).
        batch: images per step; the last partial batch of an epoch is dropped.
        clip: maximum global L2 norm of a run's gradient; 0 turns clipping off.
        sampler: `method` (the method decides), `shuffle`, or `class-aware` on the observed labels.
        head: `linear-scaled`, `linear`, or `hidden:WIDTH` for one hidden layer; see
            `baselines.core.heads`.
        standardise: `on` subtracts the mean of the training features and divides by their standard
            deviation; `off` leaves features as they are.

    Raises:
        BenchkitError: a value of the wrong type, out of range, or not among the choices.
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
        for name, value in _typed(vars(self), "recipe").items():
            object.__setattr__(self, name, value)

    def rate_factor(self, epoch: int, step: int, steps: int, epochs: int | None = None) -> float:
        """The factor that multiplies the base learning rate at one step.

        With t the number of steps done and T the number of steps of the stage:

            constant    1
            cosine      (1 + cos(pi t / T)) / 2
            step        factor ^ (number of milestones before this epoch)

        and during warm-up (t < W = `warmup_steps`) this is multiplied by
        1 - (1 - t / W) (1 - `warmup_ratio`).

        Args:
            epoch: the epoch of the stage, from 1.
            step: the step of the epoch, from 0.
            steps: steps per epoch.
            epochs: the number of epochs of the stage; None takes the recipe's.
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
        """The head of every method that does not bring its own."""
        from baselines.core.heads import HiddenHead, LinearHead

        if self.head in LINEAR_HEADS:
            return LinearHead(scaled=self.head == "linear-scaled")
        return HiddenHead(int(self.head.partition(":")[2]))


def milestones(text: str) -> list[int]:
    """The epochs in a text such as "5,7"."""
    return [int(part) for part in text.split(",") if part.strip()]


# ----------------------------------------------------------------------------- checking

_DIGITS = re.compile(r"[0-9]{1,10}")

_LIMITS: dict[str, dict[str, Any]] = {
    "optimiser": {"choices": ("adam", "adamw", "sgd")},
    "lr": {"low": 0.0},
    "momentum": {"low": 0.0},
    "weight_decay": {"low": 0.0},
    "schedule": {"choices": ("constant", "cosine", "step")},
    "factor": {"low": 0.0},
    "warmup_steps": {"low": 0},
    "warmup_ratio": {"low": 0.0},
    "epochs": {"low": 1},
    "batch": {"low": 1},
    "clip": {"low": 0.0},
    "sampler": {"choices": ("method", "shuffle", "class-aware")},
    "standardise": {"choices": ("on", "off")},
}
FIELDS: tuple[Field, ...] = tuple(
    Field(field.name, field.default, **_LIMITS.get(field.name, {}))
    for field in dataclasses.fields(Recipe)
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

# A run id covers only the fields that depart from DEFAULTS[DEFAULTS_VERSION], so these values never
# change. A field that is added to `Recipe` later is added here, to every version, with the value
# that reproduces the behaviour from before it existed; existing ids then stay as they are. New
# default values for existing fields need a new version.
DEFAULTS_VERSION = "1"
DEFAULTS: dict[str, Recipe] = {
    "1": Recipe(
        optimiser="adam",
        lr=1e-3,
        momentum=0.9,
        weight_decay=1e-4,
        schedule="cosine",
        milestones="",
        factor=0.1,
        warmup_steps=0,
        warmup_ratio=1.0 / 3.0,
        epochs=20,
        batch=32,
        clip=0.0,
        sampler="method",
        head="linear-scaled",
        standardise="on",
    ),
}


def departures(recipe: Recipe) -> dict[str, Any]:
    """The fields of a recipe that differ from `DEFAULTS[DEFAULTS_VERSION]`, by name."""
    default = dataclasses.asdict(DEFAULTS[DEFAULTS_VERSION])
    values = dataclasses.asdict(recipe)
    return {name: value for name, value in values.items() if value != default[name]}


# ----------------------------------------------------------------------------- named recipes

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
        "the released NDLP training loop: SGD at a constant rate for 10 epochs",
        Recipe(optimiser="sgd", lr=0.02, schedule="constant", epochs=10),
    ),
    "comic": (
        "the released COMIC schedule: Adam for 40 epochs, with a step schedule for each branch",
        Recipe(schedule="constant", epochs=40),
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
            or a file that cannot be read.
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
            values = _typed(_read_toml(Path(argument)), f"recipe {argument}")
            recipe = dataclasses.replace(recipe, **values)
        elif argument in RECIPES:
            recipe = RECIPES[argument][1]
        else:
            hint = fields.nearest(argument, RECIPES)
            raise BenchkitError(f"there is no recipe {shown(argument)}; {hint}")
    return recipe


def _read_toml(path: Path) -> dict[str, Any]:
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
        raise BenchkitError(f"recipe {path} is not valid TOML: {error}") from None
    except ValueError:  # Python's limit of digits
        raise BenchkitError(f"recipe {path} has a number of too many digits") from None
    for name, value in values.items():
        if isinstance(value, dict):
            raise BenchkitError(f"recipe {path}: [{name}] is a table; give {name} = VALUE")
    return values
