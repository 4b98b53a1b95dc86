"""The options that `benchkit run` and `benchkit tune` share."""

from __future__ import annotations

import re

import click

from benchkit.base.errors import UsageError
from benchkit.cli.types import FILE, Whole
from benchkit.runs.options import DEFAULT_WIDTH
from benchkit.training.recipe import RECIPES

_SEVERAL_VALUES = re.compile(r"\w+=[^=,]*,\s*\w+=.*")

split = click.option("--split", type=FILE, required=True, help="The split file.")
methods = click.option(
    "--method",
    "methods",
    required=True,
    multiple=True,
    help="Method keys separated by commas, or `all`. May be repeated. `benchkit methods` lists "
    "them.",
)
recipe = click.option(
    "--recipe",
    multiple=True,
    metavar="NAME|FILE.toml|KEY=VALUE",
    help="Optimiser, schedule, epochs, batch, sampler, head. May be repeated; applied from left to "
    f"right. Names: {', '.join(RECIPES)}.  [default: features]",
)
device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to train.",
)
stack = click.option(
    "--stack",
    type=Whole(1),
    default=DEFAULT_WIDTH,
    show_default=True,
    help="The maximum number of runs that train as one program.",
)
plugins = click.option(
    "--plugin",
    "plugins",
    type=FILE,
    multiple=True,
    help="A Python file with methods of your own. May be repeated.  [default: none]",
)
class_embeddings = click.option(
    "--class-embeddings",
    type=FILE,
    help="An .npy file with one row per class, for methods that use label embeddings.  "
    "[default: identity]",
)
out = click.option("--out", type=FILE, required=True, help="The folder of run records.")


def check_recipe(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The arguments of `--recipe`, each with one value."""
    for text in texts:
        if _SEVERAL_VALUES.fullmatch(text):
            raise UsageError(
                f"--recipe {text!r} has several values; repeat the option, as in "
                "--recipe epochs=20 --recipe batch=64"
            )
    return texts


def parse_settings(texts: tuple[str, ...]) -> dict[str, dict[str, str | list[str]]]:
    """Method -> hyperparameter -> text, or a list of texts, from the arguments of `--set`."""
    settings: dict[str, dict[str, str | list[str]]] = {}
    sources: dict[tuple[str, str], str] = {}
    for text in texts:
        target, equals, value = text.partition("=")
        key, dot, name = target.partition(".")
        if not (equals and dot and name):
            raise UsageError(f"--set {text!r} is not KEY.NAME=VALUE, as in asl.clip=0.1")
        if (key, name) in sources:
            raise UsageError(
                f"{key}.{name} is set twice, by --set {sources[key, name]} and --set {text}; "
                "several values are separated by commas"
            )
        sources[key, name] = text
        settings.setdefault(key, {})[name] = value.split(",") if "," in value else value
    return settings
