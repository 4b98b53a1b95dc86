"""`benchkit evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from benchkit.base.terminal import log
from benchkit.cli.groups import Command
from benchkit.cli.results import print_results
from benchkit.cli.types import FILE, Whole
from benchkit.runs.options import ORACLES, SCALES, SELECTIONS


@click.command(cls=Command)
@click.option("--split", type=FILE, required=True, help="The split file.")
@click.option(
    "--scores",
    type=FILE,
    required=True,
    help="An .npz file with `scores` [test images, classes] and, if the rows are in another order, "
    "`ids`.",
)
@click.option("--name", required=True, help="The name of the row.")
@click.option(
    "--seed", type=Whole(), default=0, show_default=True, help="The seed of these scores."
)
@click.option(
    "--select",
    type=click.Choice(SELECTIONS),
    default="last",
    show_default=True,
    help="The selection rule that produced these scores.",
)
@click.option(
    "--scale",
    type=click.Choice(SCALES),
    help="The scale of the scores; required if all of them lie between 0 and 1.  [default: logit]",
)
@click.option(
    "--oracle",
    type=click.Choice(ORACLES),
    multiple=True,
    help="Hidden information that the scores used; marks the row. May be repeated.  "
    "[default: none]",
)
@click.option("--note", default="", help="A remark that is shown under the table.  [default: none]")
@click.option("--out", type=FILE, required=True, help="The folder of run records.")
def evaluate(
    split: Path,
    scores: Path,
    name: str,
    seed: int,
    select: str,
    scale: str | None,
    oracle: tuple[str, ...],
    note: str,
    out: Path,
) -> None:
    """Record test scores that were computed elsewhere, for the same leaderboard.

    Probabilities are converted to logits, because the threshold metrics take a logit of 0 as a
    probability of one half. Average precision depends on the order only. Prints the run id and the
    mAP.

    \b
    Examples:
      benchkit evaluate --split s.h5 --scores mine.npz --name mine --out runs
      benchkit evaluate --split s.h5 --scores p.npz --scale probability --name ours --out runs
    """  # noqa: D301 (click looks for the backspace itself)
    from benchkit import api

    run_id = api.evaluate(
        split,
        scores,
        name=name,
        out=out,
        seed=seed,
        select=select,
        scale=scale,
        oracle=oracle,
        note=note,
        log=log,
    )
    click.echo(run_id)
    print_results(out, [run_id])
