"""`benchkit demo`: the main workflow end to end, through the commands that a user would type."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import click

from benchkit.base.text import printable
from benchkit.cli.groups import Command
from benchkit.cli.types import FILE

METHODS = ("bce", "asl", "db-focal", "role", "pal", "crt", "ml-gcn", "ndlp")


@click.command(cls=Command)
@click.option(
    "--out",
    type=FILE,
    default=Path("demo-out"),
    show_default=True,
    help="The folder for images, split, run records and page.",
)
def demo(out: Path) -> None:
    """Build a data set, train, and render the leaderboard.

    Draws scenes of glyphs, makes a long-tailed split of them with half of the labels unknown,
    trains eight methods with three seeds each, and writes a leaderboard page. Downloads nothing
    and takes about two minutes on two cores.

    \b
    Example:
      benchkit demo --out demo-out
    """  # noqa: D301 (click looks for the backspace itself)
    from benchkit.cli import benchkit as group

    split, runs, page = out / "scenes.h5", out / "runs", out / "leaderboard.html"
    start = time.perf_counter()
    commands = (
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
    )
    for arguments in commands:
        click.secho(f"\n$ benchkit {shlex.join(arguments)}", bold=True)
        code = group.main(arguments, prog_name="benchkit", standalone_mode=False)
        if code:
            raise click.exceptions.Exit(code)
    click.echo(
        f"\n{time.perf_counter() - start:.0f} s; the page is {printable(str(page.resolve()))}"
    )
