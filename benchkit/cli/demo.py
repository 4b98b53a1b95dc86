"""`benchkit demo`: the main workflow end to end, through the commands that a user would type."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import click

from benchkit.base.text import printable
from benchkit.cli.groups import Command
from benchkit.cli.types import FILE

TABLES = {
    "pal:0.5": ("bce", "partial-bce", "asl", "hill", "pal"),
    "candidates:0.05": ("bce-candidates", "cc-pml", "gce", "ndlp"),
}
"""Label regime -> methods that were made for it, and baselines."""


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

    Draws scenes of glyphs, makes two long-tailed splits of them, one with half of the labels
    unknown and one with wrong labels, trains nine methods with three seeds each, and writes a
    leaderboard page. Downloads nothing and takes about a minute on two cores.

    \b
    Example:
      benchkit demo --out demo-out
    """  # noqa: D301 (click looks for the backspace itself)
    from benchkit.cli import benchkit as group

    runs, page = out / "runs", out / "leaderboard.html"
    start = time.perf_counter()
    commands = []
    for regime, methods in TABLES.items():
        kind = regime.partition(":")[0]
        split = str(out / f"scenes-{kind}.h5")
        commands += [
            [
                *("make-split", "scenes", "--out", split, "--long-tail", "pareto"),
                *("--max", "800", "--min", "4", "--tail-quantile", "0.98"),
                *("--regime", regime, "--name", f"scenes-{kind}"),
            ],
            ["show", split],
            [
                *("run", "--split", split, "--method", ",".join(methods)),
                *("--seeds", "3", "--out", str(runs)),
            ],
        ]
    commands += [
        ["report", str(runs)],
        ["report", str(runs), "--format", "html", "--out", str(page)],
    ]
    for arguments in commands:
        click.secho(f"\n$ benchkit {shlex.join(arguments)}", bold=True)
        code = group.main(arguments, prog_name="benchkit", standalone_mode=False)
        if code:
            raise click.exceptions.Exit(code)
    click.echo(
        f"\n{time.perf_counter() - start:.0f} s; the page is {printable(str(page.resolve()))}"
    )
