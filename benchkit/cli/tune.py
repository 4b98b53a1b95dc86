"""`benchkit tune`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchkit.base.terminal import bar, log
from benchkit.cli import training_options as options
from benchkit.cli.groups import Command
from benchkit.cli.results import print_results
from benchkit.cli.streams import protected
from benchkit.cli.training_options import check_recipe, parse_settings
from benchkit.cli.types import Whole
from benchkit.runs.options import SEARCH_SELECTIONS

if TYPE_CHECKING:
    from benchkit.runs.tune import Choice


@click.command(cls=Command)
@options.split
@options.methods
@click.option(
    "--draws",
    metavar="N",
    type=Whole(1),
    default=16,
    show_default=True,
    help="The number of settings per method: the default, and N-1 random ones.",
)
@click.option(
    "--seeds",
    metavar="N",
    type=Whole(1),
    default=3,
    show_default=True,
    help="Train every draw, and the rows of the table, with seeds 0 to N-1.",
)
@click.option(
    "--select",
    type=click.Choice(SEARCH_SELECTIONS),
    default="val",
    show_default=True,
    help="The score on the validation part that chooses: mAP on its true labels, or an estimate "
    "from the labels that are observed there.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY.NAME=VALUE",
    help="Set a hyperparameter of a method, which is then not drawn. May be repeated.  "
    "[default: see `benchkit methods KEY`]",
)
@options.recipe
@options.device
@options.stack
@options.plugins
@options.class_embeddings
@options.out
def tune(
    split: Path,
    methods: tuple[str, ...],
    draws: int,
    seeds: int,
    select: str,
    settings: tuple[str, ...],
    recipe: tuple[str, ...],
    device: str,
    stack: int,
    plugins: tuple[Path, ...],
    class_embeddings: Path | None,
    out: Path,
) -> None:
    """Choose settings of methods on the validation part, and record their test scores.

    Every method gets the same number of draws: its default, and random values of its
    hyperparameters and of the recipe's lr, weight_decay and steps. Every draw is trained with all
    seeds and scored on the validation part. The best one is trained anew and recorded beside the
    default; no other draw gets a test score. Recipe fields that --recipe sets are not drawn.

    Draws are kept in the folder `draws` of --out: the same command again continues, and a greater
    --draws trains only the new ones. Prints the chosen draw of every method, the number of runs,
    and the mAP of every row.

    \b
    Examples:
      benchkit make-split scenes --long-tail pareto --val-fraction 0.2 --out s.h5
      benchkit tune --split s.h5 --method bce,asl,db-focal --out runs
      benchkit tune --split s.h5 --method all --draws 32 --select val-observed --out runs
      benchkit tune --split s.h5 --method asl --set asl.clip=0 --recipe steps=1000 --out runs
    """  # noqa: D301 (click looks for the backspace itself)
    from benchkit import api

    with protected():
        tuning = api.tune(
            split,
            methods,
            out=out,
            draws=draws,
            seeds=seeds,
            select=select,
            hyperparameters=parse_settings(settings),
            recipe=check_recipe(recipe),
            device=device,
            stack=stack,
            plugins=plugins,
            class_embeddings=class_embeddings,
            log=log,
            bar=bar,
        )
    _print_choices(tuning.choices, "mAP" if select == "val" else "score")
    outcome = tuning.outcome
    counts = f"{len(outcome.done)} runs done, {len(outcome.cached)} kept"
    click.echo(f"{counts}, {len(outcome.failed)} failed, {len(outcome.skipped)} methods skipped")
    print_results(out, [*outcome.done, *outcome.cached])
    if outcome.failed:
        raise click.exceptions.Exit(1)


def _print_choices(choices: Iterable[Choice], kind: str) -> None:
    for choice in choices:
        before = "none" if choice.default_score is None else f"{100 * choice.default_score:.2f}"
        if choice.draw == 0:
            text = f"the default is the best of {choice.draws} draws, validation {kind} {before}"
        else:
            changes = ", ".join(f"{name}={_short(v)}" for name, v in choice.changes.items())
            text = (
                f"draw {choice.draw} of {choice.draws} ({changes}), "
                f"validation {kind} {before} -> {100 * choice.score:.2f}"
            )
        click.echo(f"{choice.method}: {text}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
