"""`benchkit evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from benchkit.base.terminal import log
from benchkit.runs.options import SELECTIONS

FILE = click.Path(path_type=Path)


@click.command()
@click.option("--split", type=FILE, required=True, help="The split file.")
@click.option(
    "--scores",
    type=FILE,
    required=True,
    help="An .npz file with `scores` [test images, classes] and, if the rows are in another order, "
    "`ids`.",
)
@click.option("--name", required=True, help="The name of the row.")
@click.option("--seed", default=0, show_default=True, help="The seed of these scores.")
@click.option(
    "--select",
    type=click.Choice(SELECTIONS),
    default="last",
    show_default=True,
    help="The selection rule that produced these scores.",
)
@click.option("--out", type=FILE, required=True, help="The folder of run records.")
def evaluate(split: Path, scores: Path, name: str, seed: int, select: str, out: Path) -> None:
    """Record test scores that were computed elsewhere, for the same leaderboard.

    The threshold metrics read scores as logits: 0 is a probability of one half. Average precision
    depends on the order only. Prints the run id.
    """
    from benchkit import api

    run_id = api.evaluate(split, scores, name=name, out=out, seed=seed, select=select, log=log)
    click.echo(run_id)
