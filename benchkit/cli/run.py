"""`benchkit run`."""

from __future__ import annotations

from pathlib import Path

import click

from benchkit.base.terminal import bar, log
from benchkit.cli import training_options as options
from benchkit.cli.groups import Command
from benchkit.cli.results import print_results
from benchkit.cli.streams import protected
from benchkit.cli.training_options import check_recipe, parse_settings
from benchkit.cli.types import Whole
from benchkit.runs.options import SELECTIONS


@click.command(cls=Command)
@options.split
@options.methods
@click.option(
    "--seeds",
    "count",
    metavar="N",
    type=Whole(1, hint="; use --seed for single seeds"),
    help="Run seeds 0 to N-1.  [default: 1]",
)
@click.option(
    "--seed",
    "seeds",
    type=Whole(hint="; repeat --seed for several seeds"),
    multiple=True,
    help="Run this seed, in place of --seeds. May be repeated.  [default: 0]",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY.NAME=VALUE[,VALUE...]",
    help="Set a hyperparameter of a method. Several values, as in asl.clip=0,0.05, make a row for "
    "each; several lists make a row for each combination. May be repeated.  "
    "[default: see `benchkit methods KEY`]",
)
@click.option(
    "--paper",
    "papers",
    multiple=True,
    metavar="DATASET",
    help="Use the papers' hyperparameters for a data set, such as coco-lt, where a method has "
    "them. May be repeated: if several data sets define a value, the first wins. --set overrides "
    "it.  [default: none]",
)
@options.recipe
@click.option(
    "--select",
    type=click.Choice(SELECTIONS),
    default="last",
    show_default=True,
    help="The epoch that is scored: the last, the best on the validation part, or the best on the "
    "test part (marked as an oracle).",
)
@options.device
@options.stack
@options.plugins
@options.class_embeddings
@options.out
def run(
    split: Path,
    methods: tuple[str, ...],
    count: int | None,
    seeds: tuple[int, ...],
    settings: tuple[str, ...],
    papers: tuple[str, ...],
    recipe: tuple[str, ...],
    select: str,
    device: str,
    stack: int,
    plugins: tuple[Path, ...],
    class_embeddings: Path | None,
    out: Path,
) -> None:
    """Train methods on a split and record their test scores.

    Runs of one method that differ in their seed train as one program. Existing records are kept:
    the same command again runs only what is missing. A run that fails is recorded as a failure,
    is tried again next time, and makes the exit code 1. Prints the number of runs, and the mAP of
    every method.

    \b
    Examples:
      benchkit run --split s.h5 --method bce,asl,db-focal --seeds 3 --out runs
      benchkit run --split s.h5 --method all --recipe epochs=20 --recipe batch=64 --out runs
      benchkit run --split s.h5 --method asl --set asl.clip=0,0.05,0.1 --out runs
      benchkit run --split voc-lt.h5 --method all --paper voc-lt --paper voc --out runs
    """  # noqa: D301 (click looks for the backspace itself)
    from benchkit import api

    if count is not None and seeds:
        raise click.UsageError("give --seeds N or --seed S, not both")
    with protected():
        outcome = api.run(
            split,
            methods,
            out=out,
            seeds=seeds or count or 1,
            hyperparameters=parse_settings(settings),
            papers=papers,
            recipe=check_recipe(recipe),
            select=select,
            device=device,
            stack=stack,
            plugins=plugins,
            class_embeddings=class_embeddings,
            log=log,
            bar=bar,
        )
    counts = f"{len(outcome.done)} runs done, {len(outcome.cached)} kept"
    click.echo(f"{counts}, {len(outcome.failed)} failed, {len(outcome.skipped)} methods skipped")
    print_results(out, [*outcome.done, *outcome.cached])
    if outcome.failed:
        raise click.exceptions.Exit(1)
