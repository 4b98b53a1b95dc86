"""`benchkit demo`: the main job end to end, through the same commands that a user types."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import click

from benchkit.cli import benchkit as commands

METHODS = ("bce", "asl", "db-focal", "role", "pal", "crt", "ml-gcn", "ndlp")


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo-out"),
    show_default=True,
    help="The folder for images, split, runs and page.",
)
def demo(out: Path) -> None:
    """Build, train, score and render: eight methods on a data set that is drawn here.

    Draws scenes of glyphs, takes a long-tailed half-labelled subset, trains eight methods with
    three seeds each, and writes a leaderboard page. No download; about two minutes on two cores.
    """
    split, runs, page = out / "scenes.h5", out / "runs", out / "leaderboard.html"
    began = time.perf_counter()
    for words in (
        [
            *("make-split", "scenes", "--out", str(split), "--long-tail", "pareto"),
            *("--max", "800", "--min", "4", "--tail-quantile", "0.98"),
            *("--regime", "pal:0.5", "--name", "scenes-lt"),
        ],
        ["show", str(split)],
        [
            *("run", "--split", str(split), "--method", ",".join(METHODS)),
            *("--seeds", "3", "--out", str(runs)),
        ],
        ["report", str(runs)],
        ["report", str(runs), "--format", "html", "--out", str(page)],
    ):
        click.secho(f"\n$ benchkit {shlex.join(words)}", bold=True)
        code = commands.main(words, prog_name="benchkit", standalone_mode=False)
        if code:
            raise click.exceptions.Exit(code)
    click.echo(f"\n{time.perf_counter() - began:.0f} s; the page is {page.resolve()}")
