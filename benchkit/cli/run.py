"""`benchkit run`."""

from __future__ import annotations

from pathlib import Path

import click

from benchkit.base.errors import UsageError
from benchkit.base.terminal import bar, log
from benchkit.cli.results import print_results
from benchkit.cli.types import FILE
from benchkit.runs.options import DEFAULT_WIDTH, SELECTIONS
from benchkit.training.recipe import RECIPES


@click.command()
@click.option("--split", type=FILE, required=True, help="The split file.")
@click.option(
    "--method",
    "methods",
    required=True,
    help="Method keys separated by commas, or `all`. `benchkit methods` lists them.",
)
@click.option(
    "--seeds", "count", type=click.IntRange(min=1), help="Run seeds 0 to N-1.  [default: 1]"
)
@click.option("--seed", "seeds", type=int, multiple=True, help="Run this seed. May be repeated.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY.NAME=VALUE",
    help="Set a hyperparameter of a method. May be repeated.",
)
@click.option(
    "--paper",
    "papers",
    multiple=True,
    metavar="DATASET",
    help="Use the papers' hyperparameters for a data set, such as coco-lt, where a method has "
    "them. May be repeated: if several data sets define a value, the first wins. --set overrides "
    "it.",
)
@click.option(
    "--recipe",
    multiple=True,
    metavar="NAME|FILE.toml|KEY=VALUE",
    help="Optimiser, schedule, epochs, batch, sampler, head. May be repeated; applied from left to "
    f"right. Names: {', '.join(RECIPES)}.  [default: features]",
)
@click.option(
    "--select",
    type=click.Choice(SELECTIONS),
    default="last",
    show_default=True,
    help="The epoch that is scored: the last, the best on the validation part, or the best on the "
    "test part (marked as an oracle).",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to train.",
)
@click.option(
    "--stack",
    type=click.IntRange(min=1),
    default=DEFAULT_WIDTH,
    show_default=True,
    help="The maximum number of runs that train as one program.",
)
@click.option(
    "--plugin",
    "plugins",
    type=FILE,
    multiple=True,
    help="A Python file with methods of your own. May be repeated.",
)
@click.option(
    "--class-embeddings",
    type=FILE,
    help="An .npy file with one row per class, for methods that use label embeddings.  "
    "[default: identity]",
)
@click.option("--out", type=FILE, required=True, help="The folder of run records.")
def run(
    split: Path,
    methods: str,
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
      benchkit run --split s.h5 --method asl --set asl.clip=0.1 --out runs
      benchkit run --split voc-lt.h5 --method all --paper voc-lt --paper voc --out runs
    """  # noqa: D301 (click looks for the backspace itself)
    from benchkit import api

    if count is not None and seeds:
        raise click.UsageError("give --seeds N or --seed S, not both")
    outcome = api.run(
        split,
        methods,
        out=out,
        seeds=seeds or count or 1,
        hyperparameters=_settings(settings),
        papers=papers,
        recipe=recipe,
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


def _settings(texts: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Method -> hyperparameter -> text, from the arguments of `--set`."""
    settings: dict[str, dict[str, str]] = {}
    for text in texts:
        target, equals, value = text.partition("=")
        key, dot, name = target.partition(".")
        if not (equals and dot and name):
            raise UsageError(f"--set {text!r} is not KEY.NAME=VALUE, as in asl.clip=0.1")
        values = settings.setdefault(key, {})
        if name in values:
            raise UsageError(
                f"{key}.{name} is set twice, by --set {key}.{name}={values[name]} and --set {text}"
            )
        values[name] = value
    return settings
